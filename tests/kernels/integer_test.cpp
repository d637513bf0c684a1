// Integer products of every instruction set against plain loops over the codes in the documented order
// (bits).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/isa.h"
#include "kernels/kernels.h"
#include "kernels/values.h"
#include "tensor/dtype.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::values;

std::vector<uint8_t> random_bytes(int64_t count, uint64_t seed) {
  std::vector<uint8_t> out(static_cast<size_t>(count));
  uint64_t state = seed * 2654435761u + 12345;
  for (uint8_t& b : out) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    b = static_cast<uint8_t>(state >> 56);
  }
  return out;
}

struct Case {
  CodeForm form;
  int64_t rows, columns, groups, group;
  bool offset, accumulate;
  uint8_t largest = 255;  // of byte codes
};

// Weights and activations of a case in the kernels' layout, and the codes they hold.
struct Data {
  Case c;
  std::vector<uint8_t> w, table;
  std::vector<int8_t> a;
  std::vector<float> a_scale, a_offset, x, scale, offset, y;
  std::vector<int32_t> a_start;
  int64_t inputs, y_row;

  explicit Data(const Case& in) : c(in), inputs(in.groups * in.group), y_row(in.columns + 3) {
    const int64_t tiles = (c.rows + kIntegerRows - 1) / kIntegerRows;
    w = random_bytes(inputs * 32 / (c.form == CodeForm::bytes ? 1 : 2), 1);
    for (uint8_t& code : w) code = c.form == CodeForm::bytes && code > c.largest ? c.largest : code;
    table = random_bytes(16, 2);
    a.resize(static_cast<size_t>(tiles * inputs * kIntegerRows));
    a_scale.resize(static_cast<size_t>(tiles * c.groups * kIntegerRows));
    a_start.resize(a_scale.size());
    a_offset.resize(a_scale.size());
    x = values(c.rows * (inputs + 1), 3);
    scale = values(c.groups * kIntegerColumns, 4);
    offset = values(c.groups * kIntegerColumns, 5);
    y = values(c.rows * y_row, 6);
  }

  bool wide() const { return c.form == CodeForm::lookup || (c.form == CodeForm::bytes && c.largest > 127); }

  void quantize(int32_t zero) {
    for (int64_t row = 0; row < c.rows; row += kIntegerRows) {
      const int64_t at = row * c.groups;
      kernels().integer->quantize(
          std::min<int64_t>(kIntegerRows, c.rows - row), inputs, c.group, x.data() + row * (inputs + 1),
          inputs + 1, zero, wide(),
          {a.data() + row * inputs, a_scale.data() + at, a_start.data() + at, a_offset.data() + at});
    }
  }

  int code(int64_t column, int64_t i) const {
    if (c.form == CodeForm::bytes) return w[static_cast<size_t>(i / 4 * 128 + column * 4 + i % 4)];
    const uint8_t byte = w[static_cast<size_t>(i / 8 * 128 + column * 4 + i % 4)];
    const int nibble = i % 8 < 4 ? byte & 15 : byte >> 4;
    return c.form == CodeForm::lookup ? table[static_cast<size_t>(nibble)] : nibble;
  }

  static size_t scale_at(int64_t g, int64_t j) { return static_cast<size_t>(g * kIntegerColumns + j); }

  IntegerStrip strip() {
    IntegerStrip t;
    t.rows = c.rows;
    t.groups = c.groups;
    t.group = c.group;
    t.a = a.data();
    t.a_scale = a_scale.data();
    t.a_start = a_start.data();
    t.a_offset = a_offset.data();
    t.a_tile = inputs * kIntegerRows;
    t.a_scale_tile = c.groups * kIntegerRows;
    t.form = c.form;
    t.wide = wide();
    t.table = table.data();
    t.w = w.data();
    t.scale = scale.data();
    t.offset = c.offset ? offset.data() : nullptr;
    t.y = y.data();
    t.y_row = y_row;
    t.columns = c.columns;
    t.accumulate = c.accumulate;
    return t;
  }

  std::vector<float> expected(int32_t zero) const {
    std::vector<float> out = y;
    for (int64_t r = 0; r < c.rows; ++r) {
      for (int64_t j = 0; j < c.columns; ++j) {
        float sum = c.accumulate ? y[static_cast<size_t>(r * y_row + j)] : 0.0f;
        for (int64_t g = 0; g < c.groups; ++g) {
          const int64_t tile = r / kIntegerRows, lane = r % kIntegerRows;
          int64_t total = 0, plain = 0;
          for (int64_t i = g * c.group; i < (g + 1) * c.group; ++i) {
            int code_a =
                a[static_cast<size_t>((tile * inputs + i / 4 * 4) * kIntegerRows + lane * 4 + i % 4)];
            total += code(j, i) * code_a;
            plain += code_a;
          }
          const auto at = static_cast<size_t>((tile * c.groups + g) * kIntegerRows + lane);
          total -= zero * plain;
          const float s = a_scale[at];
          sum = std::fma(static_cast<float>(total) * scale[scale_at(g, j)], s, sum);
          if (c.offset) {
            sum = std::fma(offset[scale_at(g, j)], s * static_cast<float>(plain), sum);
          }
        }
        out[static_cast<size_t>(r * y_row + j)] = sum;
      }
    }
    return out;
  }
};

class Integer : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(select_isa(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(select_isa("auto").ok()); }
};

TEST_P(Integer, AnyShapeHasTheDocumentedBits) {
  for (CodeForm form : {CodeForm::bytes, CodeForm::nibbles, CodeForm::lookup}) {
    for (int64_t rows : {1, 2, 3, 5, 6, 7, 13}) {
      for (int64_t columns : {1, 15, 16, 17, 32}) {
        for (int64_t group : {8, 16, 32, 40}) {
          for (bool offset : {false, true}) {
            for (uint8_t largest : {uint8_t{63}, uint8_t{255}}) {
              if (form != CodeForm::bytes && largest == 63) continue;
              Data d({form, rows, columns, 3, group, offset, (rows + columns) % 2 == 0, largest});
              for (int32_t zero : {0, 8, 128}) {
                if (offset && zero != 0) continue;
                d.quantize(zero);
                std::vector<float> want = d.expected(zero), before = d.y;
                kernels().integer->product(d.strip());
                ASSERT_TRUE(same_bits(d.y, want))
                    << static_cast<int>(form) << " " << rows << "x" << columns << " group " << group
                    << " offset " << offset << " zero " << zero;
                d.y = before;
              }
            }
          }
        }
      }
    }
  }
}

// 16-bit pairs overflow at 32,767: the largest codes there are, in every position.
TEST_P(Integer, ExtremeCodesDoNotSaturate) {
  for (uint8_t code : {uint8_t{0}, uint8_t{127}, uint8_t{128}, uint8_t{255}}) {
    for (int8_t activation : {int8_t{-127}, int8_t{127}}) {
      Data d({CodeForm::bytes, 6, 32, 1, 128, false, false, 255});
      std::fill(d.w.begin(), d.w.end(), code);
      std::fill(d.x.begin(), d.x.end(), static_cast<float>(activation));
      std::fill(d.scale.begin(), d.scale.end(), 1.0f);
      d.quantize(0);
      kernels().integer->product(d.strip());
      for (int64_t r = 0; r < 6; ++r) {
        for (int64_t j = 0; j < 32; ++j) {
          ASSERT_EQ(d.y[static_cast<size_t>(r * d.y_row + j)], static_cast<float>(128 * code * activation));
        }
      }
    }
  }
}

TEST_P(Integer, QuantizesToNearestEven) {
  const int64_t inputs = 45, group = 16, groups = 3, rows = 4;
  std::vector<float> x = values(rows * 50, 7);
  x[0] = 127.0f;  // scale 1: halves go to even
  for (size_t i = 1; i < 16; ++i) x[i] = static_cast<float>(i) - 4.5f;
  for (size_t i = 16; i < 32; ++i) x[50 + i] = 0.0f;
  x[2 * 50 + 40] = std::numeric_limits<float>::infinity();
  x[3 * 50 + 3] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int8_t> a(static_cast<size_t>(groups * group * kIntegerRows), 99);
  std::vector<float> scale(static_cast<size_t>(groups * kIntegerRows), 9.0f);
  std::vector<float> offset = scale;
  std::vector<int32_t> start(scale.size(), 9);
  kernels().integer->quantize(rows, inputs, group, x.data(), 50, 3, false,
                              {a.data(), scale.data(), start.data(), offset.data()});
  for (int64_t r = 0; r < kIntegerRows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto at = static_cast<size_t>(g * kIntegerRows + r);
      float largest = 0;
      bool finite = true;
      int32_t total = 0;
      for (int64_t i = g * group; i < std::min(inputs, (g + 1) * group) && r < rows; ++i) {
        const float v = x[static_cast<size_t>(r * 50 + i)];
        finite = finite && std::isfinite(v);
        largest = std::max(largest, std::fabs(v));
      }
      for (int64_t i = g * group; i < (g + 1) * group; ++i) {
        const int code = a[static_cast<size_t>(i / 4 * 4 * kIntegerRows + r * 4 + i % 4)];
        total += code;
        if (!finite) continue;
        const float v = r < rows && i < inputs ? x[static_cast<size_t>(r * 50 + i)] : 0.0f;
        const int want = largest > 0 ? static_cast<int>(std::nearbyintf(v * (127.0f / largest))) : 0;
        ASSERT_EQ(code, want) << r << " " << i;
      }
      EXPECT_EQ(start[at], -3 * total);
      if (finite) {
        EXPECT_EQ(scale[at], largest / 127.0f);
        EXPECT_EQ(offset[at], scale[at] * static_cast<float>(total));
      } else {
        EXPECT_TRUE(std::isnan(scale[at]));
      }
    }
  }
}

TEST_P(Integer, DecodesPanels) {
  const int64_t group = 24, groups = 2, inputs = group * groups;
  const std::vector<float> scale = values(groups * kIntegerColumns, 8),
                           offset = values(groups * kIntegerColumns, 9);
  const std::vector<float> table = values(16, 10);
  for (CodeForm form : {CodeForm::bytes, CodeForm::nibbles}) {
    for (DecodeRule rule : {DecodeRule::affine, DecodeRule::lookup, DecodeRule::product}) {
      if (rule == DecodeRule::lookup && form == CodeForm::bytes) continue;
      for (DecodeRounding rounding : {DecodeRounding::none, DecodeRounding::f16, DecodeRounding::bf16}) {
        Data d({form, 1, 32, groups, group, false, false, 255});
        for (int64_t first : {0, 16}) {
          std::vector<float> out(static_cast<size_t>(inputs * 16));
          IntegerDecode decode{groups,
                               group,
                               form,
                               rule,
                               rounding,
                               d.w.data() + first * 4,
                               scale.data() + first,
                               offset.data() + first,
                               table.data(),
                               1.0f / 127.0f,
                               out.data()};
          kernels().integer->decode(decode);
          for (int64_t i = 0; i < inputs; ++i) {
            for (int64_t j = 0; j < 16; ++j) {
              const size_t at = Data::scale_at(i / group, first + j);
              const int code = d.code(first + j, i);
              float want =
                  rule == DecodeRule::affine   ? std::fma(static_cast<float>(code), scale[at], offset[at])
                  : rule == DecodeRule::lookup ? table[static_cast<size_t>(code)] * scale[at]
                                               : static_cast<float>(code - 128) * scale[at] * (1.0f / 127.0f);
              if (rounding == DecodeRounding::f16) want = round_to_f16(want);
              if (rounding == DecodeRounding::bf16) want = round_to_bf16(want);
              ASSERT_EQ(out[static_cast<size_t>(i * 16 + j)], want);
            }
          }
        }
      }
    }
  }
}

TEST_P(Integer, UnpacksWhatTheProductReads) {
  for (CodeForm form : {CodeForm::nibbles, CodeForm::lookup}) {
    Data d({form, 1, 32, 2, 24, false, false, 255});
    std::vector<uint8_t> bytes(static_cast<size_t>(48 * 32));
    kernels().integer->unpack(form, 48, d.table.data(), d.w.data(), bytes.data());
    for (int64_t i = 0; i < 48; ++i) {
      for (int64_t j = 0; j < 32; ++j) {
        ASSERT_EQ(bytes[static_cast<size_t>(i / 4 * 128 + j * 4 + i % 4)], d.code(j, i));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Integer, ::testing::ValuesIn(testing::usable_isas()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace bm
