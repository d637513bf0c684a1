// Block products of every instruction set against a plain loop in the documented order (bits) and in double.
#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/values.h"
#include "tensor/dtype.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::values;

std::vector<float> in_order(const BlockArguments& g, const std::vector<float>& b,
                            const std::vector<float>& before) {
  std::vector<float> c = before;
  for (int64_t r = 0; r < g.m; ++r) {
    for (int64_t j = 0; j < g.n; ++j) {
      float sum = 0;
      for (int64_t i = 0; i < g.k; ++i) {
        sum = std::fma(g.a[r * g.a_row + i * g.a_k],
                       b[static_cast<size_t>(j / kLanes * g.b_panel + i * g.b_k + j % kLanes)], sum);
      }
      float& out = c[static_cast<size_t>(r * g.c_row + j)];
      out = g.accumulate ? out + sum : sum;
    }
  }
  return c;
}

class Products : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(select_isa(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(select_isa("auto").ok()); }
};

TEST_P(Products, AnyShapeHasTheDocumentedBits) {
  for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 17, 25}) {
    for (int64_t n : {1, 7, 16, 31, 32, 48, 67, 83}) {
      for (int64_t k : {1, 3, 8, 41}) {
        for (bool accumulate : {false, true}) {
          const int64_t panels = (n + kLanes - 1) / kLanes;
          BlockArguments g{.m = m, .n = n, .k = k, .accumulate = accumulate};
          const auto seed = static_cast<uint64_t>(m * 10007 + n * 101 + k);
          std::vector<float> a = values((m + 1) * (k + 5), seed), b = values(panels * k * kLanes, seed + 1);
          g.a = a.data();
          g.a_row = k + 5;
          g.b = b.data();
          g.b_panel = k * kLanes;
          g.c_row = n + 3;
          std::vector<float> c = values((m + 1) * g.c_row, seed + 2), want = in_order(g, b, c);
          g.c = c.data();
          kernels().products->f32(g);
          ASSERT_TRUE(same_bits(c, want)) << m << "x" << n << "x" << k;  // and nothing beside C was written
        }
      }
    }
  }
}

TEST_P(Products, TransposedAAndStridedB) {
  const int64_t m = 64, n = 48, k = 37;
  std::vector<float> a = values(k * 70, 1), b = values(k * 51, 2);
  BlockArguments g{.m = m, .n = n, .k = k, .a = a.data(), .a_row = 1, .a_k = 70, .b = b.data(), .b_k = 51};
  g.b_panel = kLanes;
  g.c_row = n;
  std::vector<float> c(static_cast<size_t>(m * n)), want = in_order(g, b, c);
  g.c = c.data();
  kernels().products->f32(g);
  EXPECT_TRUE(same_bits(c, want));
}

TEST_P(Products, NarrowWeightsAreWidenedExactly) {
  for (bool bf16 : {true, false}) {
    for (int64_t m : {1, 2, 3, 4, 5, 6, 13}) {
      const int64_t n = 71, k = 33, panels = 5;
      std::vector<float> a = values(m * k, 3), wide = values(panels * k * kLanes, 4);
      std::vector<uint16_t> words(wide.size());
      for (size_t i = 0; i < wide.size(); ++i) {
        words[i] = bf16 ? f32_to_bf16(wide[i]) : f32_to_f16(wide[i]);
        wide[i] = bf16 ? bf16_to_f32(words[i]) : f16_to_f32(words[i]);
      }
      BlockArguments g{.m = m, .n = n, .k = k, .a = a.data(), .a_row = k, .b = words.data()};
      g.b_panel = k * kLanes;
      g.c_row = n;
      std::vector<float> c(static_cast<size_t>(m * n)), want = in_order(g, wide, c);
      g.c = c.data();
      (bf16 ? kernels().products->bf16 : kernels().products->f16)(g);
      ASSERT_TRUE(same_bits(c, want)) << (bf16 ? "bf16 " : "f16 ") << m;
    }
  }
}

TEST_P(Products, WideningEveryFiniteWord) {
  std::vector<uint16_t> words;
  for (uint32_t w = 0; w < 65536; ++w) {
    if (std::isfinite(bf16_to_f32(static_cast<uint16_t>(w))) &&
        std::isfinite(f16_to_f32(static_cast<uint16_t>(w)))) {
      words.push_back(static_cast<uint16_t>(w));
    }
  }
  words.resize(words.size() - words.size() % kLanes + 3);  // a tail too
  std::vector<float> bf16(words.size()), f16(words.size()), want_bf16(words.size()), want_f16(words.size());
  kernels().products->widen_bf16(static_cast<int64_t>(words.size()), words.data(), bf16.data());
  kernels().products->widen_f16(static_cast<int64_t>(words.size()), words.data(), f16.data());
  for (size_t i = 0; i < words.size(); ++i) {
    want_bf16[i] = bf16_to_f32(words[i]);
    want_f16[i] = f16_to_f32(words[i]);
  }
  EXPECT_TRUE(same_bits(bf16, want_bf16));
  EXPECT_TRUE(same_bits(f16, want_f16));
}

TEST_P(Products, PackTransposed) {
  for (int64_t rows : {1, 5, 16}) {
    for (int64_t k : {1, 8, 29, 64}) {
      std::vector<float> src = values(16 * 70, 5), dst(static_cast<size_t>(k * kLanes), -7.0f);
      kernels().products->pack_transposed(rows, k, src.data(), 70, dst.data());
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t r = 0; r < kLanes; ++r) {
          ASSERT_EQ(dst[static_cast<size_t>(i * kLanes + r)],
                    r < rows ? src[static_cast<size_t>(r * 70 + i)] : 0.0f);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Products, ::testing::ValuesIn(testing::usable_isas()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace bm
