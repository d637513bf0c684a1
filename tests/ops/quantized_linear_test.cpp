// Linear layers over integer codes: exact arithmetic against linear() on the decoded weights (bits), fast
// arithmetic against its definition in the order it documents (bits) and against exact (error bound).
#include "ops/quantized_linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/values.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::same_everywhere;
using testing::values;

struct Example {
  std::string name;
  QuantizedForm form;
};

QuantizedForm form_of(int64_t inputs, int64_t group, int bits, OffsetKind offsets) {
  QuantizedForm form;
  form.inputs = inputs;
  form.group = group;
  form.bits = bits;
  form.offsets = offsets;
  return form;
}

std::vector<Example> examples() {
  std::vector<Example> list;
  QuantizedForm awq = form_of(256, 64, 4, OffsetKind::zeros);
  awq.rounding = DecodeRounding::f16;
  list.push_back({"awq", awq});
  awq.group = 256;  // a whole row
  list.push_back({"awq_row", awq});
  awq.inputs = 576;
  awq.group = 192;  // three sums a scale
  list.push_back({"awq_192", awq});
  QuantizedForm q40 = form_of(96, 32, 4, OffsetKind::constant);
  q40.zero = 8;
  list.push_back({"q4_0", q40});
  list.push_back({"q4_1", form_of(320, 32, 4, OffsetKind::halves)});
  QuantizedForm q80 = form_of(64, 32, 8, OffsetKind::constant);
  q80.zero = 128;
  q80.wide = true;
  list.push_back({"q8_0", q80});
  QuantizedForm q4k = form_of(512, 32, 4, OffsetKind::halves);
  q4k.super = 8;
  list.push_back({"q4_k", q4k});
  QuantizedForm q6k = form_of(512, 16, 8, OffsetKind::constant);
  q6k.zero = 32;
  q6k.super = 16;
  q6k.signed_sub = true;
  list.push_back({"q6_k", q6k});
  QuantizedForm nf4 = form_of(192, 64, 4, OffsetKind::constant);
  nf4.rule = DecodeRule::lookup;
  nf4.half_scales = false;
  nf4.rounding = DecodeRounding::bf16;
  for (size_t i = 0; i < 16; ++i) nf4.values[i] = -1.0f + static_cast<float>(i) * 0.133f;
  list.push_back({"nf4", nf4});
  QuantizedForm int8 = form_of(300, 300, 8, OffsetKind::constant);
  int8.rule = DecodeRule::product;
  int8.half_scales = false;
  int8.wide = true;
  int8.factor = 1.0f / 127.0f;
  list.push_back({"int8", int8});
  return list;
}

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  return (x ^ (x >> 27)) * 0x94d049bb133111ebu;
}

QuantizedRows rows_of(const QuantizedForm& form, int64_t outputs) {
  QuantizedRows rows;
  rows.form = form;
  rows.outputs = outputs;
  rows.codes = [form](int64_t row, uint8_t* codes) {
    for (int64_t i = 0; i < form.inputs; ++i) {
      const auto x = static_cast<uint8_t>(mix(static_cast<uint64_t>(row * 10007 + i)) >> 33);
      codes[i] = form.bits == 4 ? x & 15 : form.signed_sub ? x & 63 : x;
    }
  };
  rows.groups = [form](int64_t row, CodeGroup* groups) {
    for (int64_t g = 0; g < (form.inputs + form.group - 1) / form.group; ++g) {
      const uint64_t x = mix(static_cast<uint64_t>(row * 977 + g + 5)) >> 20;
      groups[g].scale = round_to_f16(0.01f + 0.001f * static_cast<float>(x % 97));
      groups[g].offset =
          form.offsets == OffsetKind::halves ? round_to_f16(0.003f * static_cast<float>(x % 31)) : 0.0f;
      groups[g].sub_scale =
          form.signed_sub ? static_cast<int32_t>(x % 200) - 100 : static_cast<int32_t>(x % 64);
      groups[g].sub_offset =
          form.offsets == OffsetKind::zeros ? static_cast<int32_t>(x % 16) : static_cast<int32_t>(x % 63);
    }
  };
  return rows;
}

std::vector<float> decoded(const QuantizedRows& rows) {
  const QuantizedForm& form = rows.form;
  std::vector<float> out(static_cast<size_t>(rows.outputs * form.inputs));
  std::vector<uint8_t> codes(static_cast<size_t>(form.inputs));
  std::vector<CodeGroup> groups(static_cast<size_t>((form.inputs + form.group - 1) / form.group));
  for (int64_t r = 0; r < rows.outputs; ++r) {
    rows.codes(r, codes.data());
    rows.groups(r, groups.data());
    for (int64_t i = 0; i < form.inputs; ++i) {
      const auto g = static_cast<size_t>(i / form.group),
                 run = form.super ? g - g % static_cast<size_t>(form.super) : g;
      const int code = codes[static_cast<size_t>(i)];
      // In double: every product here is exact, so one rounding at the end is what the formats' readers do.
      double scale = groups[run].scale, value = 0;
      if (form.super) scale *= groups[g].sub_scale;
      if (form.rule == DecodeRule::lookup) {
        value = static_cast<double>(form.values[static_cast<size_t>(code)] * groups[g].scale);
      } else if (form.rule == DecodeRule::product) {
        value = static_cast<double>(static_cast<float>(code - 128) * groups[g].scale * form.factor);
      } else if (form.offsets == OffsetKind::halves) {
        value = scale * code +
                (form.super ? -double{groups[run].offset} * groups[g].sub_offset : double{groups[g].offset});
      } else {
        value = scale * (code - (form.offsets == OffsetKind::zeros ? groups[g].sub_offset : form.zero));
      }
      auto single = static_cast<float>(value == 0 ? 0.0 : value);  // no negative zeros
      if (form.rounding == DecodeRounding::f16) single = round_to_f16(single);
      if (form.rounding == DecodeRounding::bf16) single = round_to_bf16(single);
      out[static_cast<size_t>(r * form.inputs + i)] = single;
    }
  }
  return out;
}

QuantizedWeights packed(const QuantizedRows& rows) {
  auto weights = QuantizedWeights::pack({&rows, 1});
  EXPECT_TRUE(weights.ok());
  return weights.ok() ? std::move(*weights) : QuantizedWeights();
}

TEST(QuantizedLinear, ReadsRowsAsTheFormatDoes) {
  for (const Example& e : examples()) {
    const QuantizedRows rows = rows_of(e.form, 37);
    const QuantizedWeights weights = packed(rows);
    const std::vector<float> want = decoded(rows);
    std::vector<float> got(want.size());
    for (int64_t r = 0; r < 37; ++r) weights.read_row(r, got.data() + r * e.form.inputs);
    EXPECT_TRUE(same_bits(got, want)) << e.name;
  }
}

TEST(QuantizedLinear, ExactHasTheBitsOfTheDecodedWeights) {
  for (const Example& e : examples()) {
    for (int64_t outputs : {5, 16, 83}) {
      const QuantizedRows rows = rows_of(e.form, outputs);
      const QuantizedWeights weights = packed(rows);
      const std::vector<float> dense = decoded(rows), bias = values(outputs, 4);
      auto plain = PackedWeights::pack(
          {DType::f32, {outputs, e.form.inputs}, reinterpret_cast<const std::byte*>(dense.data()), {}});
      ASSERT_TRUE(plain.ok());
      for (int64_t m : {1, 7, 30}) {
        const std::vector<float> x = values(m * e.form.inputs, 3);
        std::vector<float> want(static_cast<size_t>(m * outputs));
        linear(x.data(), m, *plain, want.data(), {.bias = bias.data()});
        const std::vector<float> got = same_everywhere([&] {
          std::vector<float> y(want.size());
          linear_exact(x.data(), m, weights, y.data(), {.bias = bias.data()});
          return y;
        });
        EXPECT_TRUE(same_bits(got, want)) << e.name << " " << outputs << " rows " << m;
      }
    }
  }
}

TEST(QuantizedLinear, FastIsCloseToExactAndTheSameForAnyBatch) {
  for (const Example& e : examples()) {
    const int64_t outputs = 83, k = e.form.inputs, m = 29;
    const QuantizedRows rows = rows_of(e.form, outputs);
    const QuantizedWeights weights = packed(rows);
    const std::vector<float> x = values(m * k, 3), dense = decoded(rows);
    std::vector<float> exact(static_cast<size_t>(m * outputs));
    linear_exact(x.data(), m, weights, exact.data());
    const std::vector<float> fast = same_everywhere([&] {
      std::vector<float> y(exact.size());
      linear_fast(x.data(), m, weights, y.data());
      return y;
    });
    // Activations: half a step of max/127 each; lookup codes: half a step of 1/127 of the scale; rounding of
    // decoded weights to 16 bits.
    const double step = e.form.rule == DecodeRule::lookup ? 0.5 / 127 : 0.0;
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t j = 0; j < outputs; ++j) {
        double bound = 1e-4;
        for (int64_t i = 0; i < k; ++i) {
          const double w = std::fabs(dense[static_cast<size_t>(j * k + i)]),
                       v = std::fabs(x[static_cast<size_t>(r * k + i)]);
          bound += w * 0.5 / 127 + v * step * 0.2 +
                   (e.form.rounding == DecodeRounding::none ? 0.0 : v * w * 0x1p-8);
        }
        ASSERT_NEAR(fast[static_cast<size_t>(r * outputs + j)], exact[static_cast<size_t>(r * outputs + j)],
                    bound)
            << e.name;
      }
    }
    for (int64_t r = 0; r < m; ++r) {  // one row alone, and in another place
      std::vector<float> one(static_cast<size_t>(outputs));
      linear_fast(x.data() + r * k, 1, weights, one.data());
      const std::vector<float> in_batch(fast.begin() + r * outputs, fast.begin() + (r + 1) * outputs);
      ASSERT_TRUE(same_bits(one, in_batch)) << e.name << " row " << r;
    }
  }
}

// Few rows unpack codes in registers, many rows through memory: the same bits.
TEST(QuantizedLinear, FastWithManyRowsHasTheBitsOfFew) {
  for (const Example& e : examples()) {
    const int64_t outputs = 40, k = e.form.inputs, m = 205;
    const QuantizedWeights weights = packed(rows_of(e.form, outputs));
    const std::vector<float> x = values(m * k, 9), bias = values(outputs, 10);
    std::vector<float> many(static_cast<size_t>(m * outputs), 0.25f), few = many;
    linear_fast(x.data(), m, weights, many.data(), {.bias = bias.data(), .accumulate = true});
    for (int64_t r = 0; r < m; r += 5) {
      linear_fast(x.data() + r * k, 5, weights, few.data() + r * outputs,
                  {.bias = bias.data(), .accumulate = true});
    }
    EXPECT_TRUE(same_bits(many, few)) << e.name;
  }
}

TEST(QuantizedLinear, PartsOfSeveralStoragesStandSideBySide) {
  const int64_t k = 512;
  QuantizedRows first = rows_of(examples()[6].form, 21), second = rows_of(examples()[7].form, 33);
  const std::vector<float> dense = values(9 * k, 2), x = values(4 * k, 3), bias = values(63, 5);
  auto plain =
      PackedWeights::pack({DType::f32, {9, k}, reinterpret_cast<const std::byte*>(dense.data()), {}});
  ASSERT_TRUE(plain.ok());
  LinearWeights all;
  all.add(packed(first));
  all.add(std::move(*plain));
  all.add(packed(second));
  ASSERT_EQ(all.outputs(), 63);
  EXPECT_FALSE(all.quantized());
  std::vector<float> weight = decoded(first);
  weight.insert(weight.end(), dense.begin(), dense.end());
  const std::vector<float> tail = decoded(second);
  weight.insert(weight.end(), tail.begin(), tail.end());
  auto stacked =
      PackedWeights::pack({DType::f32, {63, k}, reinterpret_cast<const std::byte*>(weight.data()), {}});
  ASSERT_TRUE(stacked.ok());
  std::vector<float> got(4 * 63), want(4 * 63), row(static_cast<size_t>(k));
  linear(x.data(), 4, all, got.data(), {.bias = bias.data()});
  linear(x.data(), 4, *stacked, want.data(), {.bias = bias.data()});
  EXPECT_TRUE(same_bits(got, want));
  for (int64_t n : {0, 20, 21, 29, 30, 62}) {
    all.read_row(n, row.data());
    EXPECT_TRUE(same_bits(row, std::vector<float>(weight.begin() + n * k, weight.begin() + (n + 1) * k)));
  }
}

// Each part in the arithmetic it has a form for, else exact.
TEST(QuantizedLinear, ArithmeticsOfParts) {
  const int64_t k = 512, rows = 4;
  const std::vector<float> dense = values(9 * k, 2), x = values(rows * k, 3);
  auto bf16 =
      convert({DType::f32, {9, k}, reinterpret_cast<const std::byte*>(dense.data()), {}}, DType::bf16);
  ASSERT_TRUE(bf16.ok());
  auto plain = PackedWeights::pack(bf16->view()), twin = PackedWeights::pack(bf16->view());
  ASSERT_TRUE(plain.ok() && twin.ok());
  const QuantizedWeights codes = packed(rows_of(examples()[6].form, 21));
  std::vector<float> exact(rows * 9), pairs(rows * 9), decoded_sums(rows * 21), integer(rows * 21);
  linear(x.data(), rows, *twin, exact.data());
  linear_bf16(x.data(), rows, *twin, pairs.data());
  linear_exact(x.data(), rows, codes, decoded_sums.data());
  linear_fast(x.data(), rows, codes, integer.data());
  LinearWeights both;
  both.add(std::move(*plain));
  both.add(packed(rows_of(examples()[6].form, 21)));
  for (auto arithmetic : {LinearArithmetic::exact, LinearArithmetic::bf16, LinearArithmetic::fast}) {
    both.set_arithmetic(arithmetic);
    std::vector<float> y(rows * 30), want(rows * 30);
    linear(x.data(), rows, both, y.data());
    const std::vector<float>& first = arithmetic == LinearArithmetic::bf16 ? pairs : exact;
    const std::vector<float>& second = arithmetic == LinearArithmetic::fast ? integer : decoded_sums;
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(first.begin() + r * 9, 9, want.begin() + r * 30);
      std::copy_n(second.begin() + r * 21, 21, want.begin() + r * 30 + 9);
    }
    EXPECT_TRUE(same_bits(y, want)) << static_cast<int>(arithmetic);
  }
  EXPECT_FALSE(same_bits(exact, pairs));
  EXPECT_FALSE(same_bits(decoded_sums, integer));
}

TEST(QuantizedLinear, NamesWhatItCannotHold) {
  EXPECT_EQ(QuantizedWeights::misfit(form_of(256, 64, 4, OffsetKind::zeros)), "");
  EXPECT_NE(QuantizedWeights::misfit(form_of(256, 12, 4, OffsetKind::zeros)), "");
  EXPECT_NE(QuantizedWeights::misfit(form_of(256, 64, 3, OffsetKind::zeros)), "");
  QuantizedRows rows = rows_of(form_of(64, 32, 4, OffsetKind::zeros), 20);
  rows.groups = [](int64_t row, CodeGroup* groups) {
    groups[0].scale = groups[1].scale = row == 17 ? std::nanf("") : 1.0f;
  };
  auto result = QuantizedWeights::pack({&rows, 1});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().paragraph().find("row 1"), std::string::npos);
}

}  // namespace
}  // namespace bm
