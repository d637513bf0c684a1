// Encoders of every instruction set: the same bytes, no worse than a plain search, edge values.
#include "kernels/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/values.h"
#include "tensor/nf4_blocks.h"
#include "tensor/quantized_blocks.h"

namespace bm {
namespace {

using testing::usable_isas;
using testing::values;

struct Format {
  BlockType type;
  int bytes;
  void (*EncodeKernels::*encode)(int64_t, const float*, const float*, uint8_t*);
};
constexpr Format formats[] = {{BlockType::q4_k, 144, &EncodeKernels::q4_k},
                              {BlockType::q5_k, 176, &EncodeKernels::q5_k},
                              {BlockType::q6_k, 210, &EncodeKernels::q6_k}};

std::vector<uint8_t> encoded(const Format& format, const std::vector<float>& x, const float* importance) {
  auto blocks = static_cast<int64_t>(x.size()) / 256;
  std::vector<uint8_t> out(x.size() / 256 * static_cast<size_t>(format.bytes));
  (encode_kernels().*format.encode)(blocks, x.data(), importance, out.data());
  return out;
}

std::vector<float> decoded(const Format& format, const std::vector<uint8_t>& bytes, size_t count) {
  std::vector<float> out(count);
  dequantize_blocks(format.type, reinterpret_cast<const std::byte*>(bytes.data()), out.data(),
                    static_cast<int64_t>(count));
  return out;
}

double error(const std::vector<float>& x, const std::vector<float>& y,
             const std::vector<float>& weight = {}) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double miss = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += miss * miss * (weight.empty() ? 1.0 : static_cast<double>(weight[i]));
  }
  return sum;
}

// Roughly normal values, as weights are.
std::vector<float> bell(int64_t count, uint64_t seed) {
  std::vector<float> a = values(count, seed), b = values(count, seed + 1), c = values(count, seed + 2);
  for (size_t i = 0; i < a.size(); ++i) a[i] = 0.02f * (a[i] + b[i] + c[i]);
  return a;
}

TEST(Encode, SameBytesOnEveryInstructionSet) {
  std::vector<float> x = bell(256 * 7, 5), importance = values(256 * 7, 9);
  for (float& w : importance) w = w * w + 0.01f;
  for (const Format& format : formats)
    for (bool weighted : {false, true}) {
      const float* weights = weighted ? importance.data() : nullptr;
      std::vector<uint8_t> first;
      for (const std::string& isa : usable_isas()) {
        ASSERT_TRUE(select_isa(isa).ok());
        auto bytes = encoded(format, x, weights);
        if (first.empty()) first = bytes;
        EXPECT_EQ(bytes, first) << isa << " " << block_name(format.type);
      }
      ASSERT_TRUE(select_isa("auto").ok());
    }
}

// A block does not depend on its neighbours.
TEST(Encode, BlocksAreIndependent) {
  std::vector<float> x = bell(256 * 3, 15);
  for (const Format& format : formats) {
    auto all = encoded(format, x, nullptr);
    for (size_t b = 0; b < 3; ++b) {
      std::vector<float> one(x.begin() + static_cast<ptrdiff_t>(256 * b),
                             x.begin() + static_cast<ptrdiff_t>(256 * (b + 1)));
      auto bytes = encoded(format, one, nullptr);
      EXPECT_TRUE(
          std::equal(bytes.begin(), bytes.end(), all.begin() + static_cast<ptrdiff_t>(b * bytes.size())))
          << block_name(format.type) << " block " << b;
    }
  }
}

// The plain way: minimum and maximum of a sub-block, scales rounded to 6 bits of the largest.
double plain_affine_error(const std::vector<float>& x, int top) {
  double sum = 0;
  for (size_t begin = 0; begin < x.size(); begin += 256) {
    double scale[8], minimum[8], most = 0, most_min = 0;
    for (size_t j = 0; j < 8; ++j) {
      auto first = x.begin() + static_cast<ptrdiff_t>(begin + 32 * j);
      double low = std::min(0.0, static_cast<double>(*std::min_element(first, first + 32)));
      double high = static_cast<double>(*std::max_element(first, first + 32));
      scale[j] = (high - low) / top;
      minimum[j] = -low;
      most = std::max(most, scale[j]);
      most_min = std::max(most_min, minimum[j]);
    }
    double d = most / 63, dmin = most_min / 63;
    for (size_t j = 0; j < 8; ++j) {
      double s = d * std::round(scale[j] / d), m = dmin > 0 ? dmin * std::round(minimum[j] / dmin) : 0;
      for (size_t i = begin + 32 * j; i < begin + 32 * j + 32; ++i) {
        double v = static_cast<double>(x[i]);
        double q = std::clamp(std::round((v + m) / s), 0.0, static_cast<double>(top));
        sum += (v - s * q + m) * (v - s * q + m);
      }
    }
  }
  return sum;
}

TEST(Encode, BeatsThePlainWay) {
  std::vector<float> x = bell(256 * 20, 25);
  double four = error(x, decoded(formats[0], encoded(formats[0], x, nullptr), x.size()));
  double five = error(x, decoded(formats[1], encoded(formats[1], x, nullptr), x.size()));
  double six = error(x, decoded(formats[2], encoded(formats[2], x, nullptr), x.size()));
  EXPECT_LT(four, 0.85 * plain_affine_error(x, 15));
  EXPECT_LT(five, 0.9 * plain_affine_error(x, 31));
  EXPECT_LT(six, 0.5 * five);
}

TEST(Encode, ImportanceDecidesWhereTheErrorGoes) {
  std::vector<float> x = bell(256 * 10, 35), importance(x.size());
  for (size_t i = 0; i < x.size(); ++i) importance[i] = i % 8 == 0 ? 100.0f : 1.0f;
  for (const Format& format : formats) {
    double without = error(x, decoded(format, encoded(format, x, nullptr), x.size()), importance);
    double with = error(x, decoded(format, encoded(format, x, importance.data()), x.size()), importance);
    EXPECT_LT(with, 0.9 * without) << block_name(format.type);
  }
}

TEST(Encode, EdgeBlocks) {
  auto check = [](const char* name, const std::function<float(size_t)>& value, double most_relative) {
    std::vector<float> x(512);
    for (size_t i = 0; i < x.size(); ++i) x[i] = value(i);
    for (const Format& format : formats) {
      auto y = decoded(format, encoded(format, x, nullptr), x.size());
      double top = 0;
      for (float v : x) top = std::max(top, std::abs(static_cast<double>(v)));
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_TRUE(std::isfinite(y[i])) << name << " " << block_name(format.type);
        ASSERT_LE(std::abs(static_cast<double>(y[i]) - static_cast<double>(x[i])), most_relative * top)
            << name << " " << block_name(format.type) << " " << i;
      }
    }
  };
  check(
      "zeros", [](size_t) { return 0.0f; }, 0);
  check(
      "constant", [](size_t) { return 0.5f; }, 0.01);
  check(
      "negative constant", [](size_t) { return -0.5f; }, 0.01);
  check(
      "one outlier", [](size_t i) { return i == 100 ? 3.0f : 0.001f * static_cast<float>(i % 3); }, 0.04);
  check(
      "subnormal", [](size_t i) { return i % 2 ? 1e-40f : -1e-41f; }, 1);
  check(
      "large", [](size_t i) { return i % 2 ? 60000.0f : -60000.0f; }, 0.04);
  check(
      "far from zero", [](size_t i) { return 1.0f + 0.001f * static_cast<float>(i % 32); }, 0.04);
}

FourBitTables tables_of_nf4() {
  FourBitTables tables{};
  const auto& map = four_bit_map(FourBitKind::nf4);
  for (size_t i = 0; i < 16; ++i) {
    tables.midpoints[i] = i < 15 ? (map[i] + map[i + 1]) / 2.0f : std::numeric_limits<float>::infinity();
    tables.codes[i] = static_cast<uint8_t>(i);
  }
  return tables;
}

TEST(Encode, FourBitBlocksMatchTheReference) {
  std::vector<float> x = bell(64 * 33, 45);
  const FourBitTables tables = tables_of_nf4();
  for (size_t i = 0; i < 16; ++i) x[64 + i] = tables.midpoints[i < 15 ? i : 0];  // ties
  x[64 + 20] = 1.0f;
  for (size_t i = 128; i < 192; ++i) x[i] = 0;
  for (int64_t block : {int64_t{32}, int64_t{64}}) {
    auto blocks = static_cast<int64_t>(x.size()) / block;
    std::vector<float> absmax(static_cast<size_t>(blocks)), expected_max(absmax.size());
    std::vector<uint8_t> packed(x.size() / 2), expected(x.size() / 2);
    for (size_t b = 0; b < absmax.size(); ++b) {  // written out: most |x|, y > midpoint strictly
      float top = 0;
      for (size_t i = b * static_cast<size_t>(block); i < (b + 1) * static_cast<size_t>(block); ++i)
        top = std::max(top, std::fabs(x[i]));
      expected_max[b] = top;
      float inverse = 1.0f / std::max(top, 1e-38f);
      for (size_t i = b * static_cast<size_t>(block); i < (b + 1) * static_cast<size_t>(block); i += 2) {
        auto code = [&](float v) {
          float y = std::clamp(v * inverse, -1.0f, 1.0f);
          int rank = 0;
          while (rank < 15 && y > tables.midpoints[rank]) ++rank;
          return rank;
        };
        expected[i / 2] = static_cast<uint8_t>(code(x[i]) << 4 | code(x[i + 1]));
      }
    }
    for (const std::string& isa : usable_isas()) {
      ASSERT_TRUE(select_isa(isa).ok());
      encode_kernels().four_bit(tables, EncodeSource::f32, x.data(), blocks, block, absmax.data(),
                                packed.data());
      EXPECT_EQ(absmax, expected_max) << isa;
      EXPECT_EQ(packed, expected) << isa;
      std::vector<uint16_t> halves(x.size());
      std::vector<float> widened(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        halves[i] = f32_to_bf16(x[i]);
        widened[i] = bf16_to_f32(halves[i]);
      }
      std::vector<uint8_t> from_f32(packed.size());
      encode_kernels().four_bit(tables, EncodeSource::bf16, halves.data(), blocks, block, nullptr,
                                packed.data());
      encode_kernels().four_bit(tables, EncodeSource::f32, widened.data(), blocks, block, nullptr,
                                from_f32.data());
      EXPECT_EQ(packed, from_f32) << isa;
    }
    ASSERT_TRUE(select_isa("auto").ok());
  }
}

TEST(Encode, NonFiniteValuesShowInTheMaximum) {
  const FourBitTables tables = tables_of_nf4();
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
    for (size_t place : {size_t{0}, size_t{17}, size_t{63}}) {
      std::vector<float> x(64, 0.5f);
      x[place] = bad;
      for (const std::string& isa : usable_isas()) {
        ASSERT_TRUE(select_isa(isa).ok());
        float absmax = 0;
        encode_kernels().four_bit(tables, EncodeSource::f32, x.data(), 1, 64, &absmax, nullptr);
        EXPECT_FALSE(std::isfinite(absmax)) << isa;
      }
    }
  ASSERT_TRUE(select_isa("auto").ok());
}

}  // namespace
}  // namespace bm
