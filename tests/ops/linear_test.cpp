#include "ops/linear.h"

#include "kernels/values.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::same_everywhere;
using testing::values;

TensorView view_of(const std::vector<float>& v, int64_t rows, int64_t columns) {
  return {DType::f32, {rows, columns}, reinterpret_cast<const std::byte*>(v.data()), nullptr};
}

// The documented order: blocks of kSumBlock, each one chain of fused multiply-adds.
float ordered_dot(const float* x, int64_t x_step, const float* w, int64_t w_step, int64_t k,
                  const float* before) {
  float total = before ? *before : 0.0f;
  for (int64_t begin = 0; begin < k; begin += kSumBlock) {
    float sum = 0;
    for (int64_t i = begin; i < std::min(k, begin + kSumBlock); ++i)
      sum = std::fma(x[i * x_step], w[i * w_step], sum);
    total = begin == 0 && !before ? sum : total + sum;
  }
  return total;
}

TEST(Linear, EveryShapeHasTheDocumentedBits) {
  for (int64_t k : {1, 3, 256, 576, 1000}) {
    for (int64_t n : {1, 7, 259}) {
      std::vector<float> w = values(n * k, 1), x = values(100 * k, 2), bias = values(n, 3);
      auto packed = PackedWeights::pack(view_of(w, n, k));
      ASSERT_TRUE(packed.ok());
      std::vector<float> want;
      for (int64_t r = 0; r < 100; ++r) {
        for (int64_t j = 0; j < n; ++j) {
          want.push_back(
              ordered_dot(&x[static_cast<size_t>(r * k)], 1, &w[static_cast<size_t>(j * k)], 1, k, nullptr) +
              bias[static_cast<size_t>(j)]);
        }
      }
      for (int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 100}) {
        std::vector<float> got = same_everywhere([&] {
          std::vector<float> y(static_cast<size_t>(m * n));
          linear(x.data(), m, *packed, y.data(), {.bias = bias.data()});
          return y;
        });
        ASSERT_TRUE(same_bits(got, {want.begin(), want.begin() + m * n})) << m << "x" << n << "x" << k;
      }
    }
  }
}

TEST(Linear, CloseToDouble) {
  const int64_t m = 9, n = 50, k = 4096;
  std::vector<float> w = values(n * k, 1), x = values(m * k, 2), y(static_cast<size_t>(m * n));
  linear_forward(x.data(), w.data(), y.data(), m, n, k);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < k; ++i) {
        const double p = static_cast<double>(x[static_cast<size_t>(r * k + i)]) *
                         static_cast<double>(w[static_cast<size_t>(j * k + i)]);
        sum += p;
        size += p * p;
      }
      // Rounding errors add like a random walk: 256 steps a block, then 16 blocks.
      EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(r * n + j)]), sum,
                  6e-8 * 8 * std::sqrt(size * 272));
    }
  }
}

TEST(Linear, NarrowWeightsEqualTheirWidenedCopy) {
  for (DType dtype : {DType::bf16, DType::f16}) {
    const int64_t n = 83, k = 300;
    auto narrow = convert(view_of(values(n * k, 1), n, k), dtype);
    ASSERT_TRUE(narrow.ok());
    auto wide = convert(narrow->view(), DType::f32);
    auto packed = PackedWeights::pack(narrow->view()), packed_wide = PackedWeights::pack(wide->view());
    ASSERT_TRUE(packed.ok() && packed_wide.ok());
    EXPECT_EQ(packed->bytes() * 2, packed_wide->bytes());
    for (int64_t m : {1, 3, 13, 40}) {
      std::vector<float> x = values(m * k, 2), a(static_cast<size_t>(m * n)), b = a;
      linear(x.data(), m, *packed_wide, a.data());
      std::vector<float> got = same_everywhere([&] {
        linear(x.data(), m, *packed, b.data());
        return b;
      });
      EXPECT_TRUE(same_bits(a, got)) << m;
    }
    std::vector<float> row(static_cast<size_t>(k));
    packed->read_row(n - 1, row.data());
    EXPECT_TRUE(same_bits(row, {wide->as<float>() + (n - 1) * k, wide->as<float>() + n * k}));
  }
}

TEST(LinearBf16, DocumentedBitsInEveryShape) {
  for (int64_t k : {1, 3, 256, 577}) {
    for (int64_t n : {7, 83}) {
      const int64_t rows = 40;
      std::vector<float> x = values(rows * (k + 2), 2), bias = values(n, 3);
      auto narrow = convert(view_of(values(n * k, 1), n, k), DType::bf16);
      auto packed = PackedWeights::pack(narrow->view());
      auto wide = convert(narrow->view(), DType::f32);
      std::vector<float> want;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < n; ++j) {
          float total = 0;
          for (int64_t begin = 0; begin < k; begin += kSumBlock) {
            float sum = 0;
            for (int64_t i = begin; i < std::min(k, begin + kSumBlock); i += 2) {
              for (int64_t one : {i + 1, i}) {
                if (one >= k) continue;
                sum = std::fma(round_to_bf16(x[static_cast<size_t>(r * (k + 2) + one)]),
                               wide->as<float>()[j * k + one], sum);
              }
            }
            total = begin == 0 ? sum : total + sum;
          }
          want.push_back(total + bias[static_cast<size_t>(j)]);
        }
      }
      for (int64_t m : {1, 5, 25, 40}) {
        std::vector<float> got = same_everywhere([&] {
          std::vector<float> y(static_cast<size_t>(m * n));
          linear_bf16(x.data(), m, *packed, y.data(), {.bias = bias.data(), .x_stride = k + 2});
          return y;
        });
        ASSERT_TRUE(same_bits(got, {want.begin(), want.begin() + m * n})) << m << "x" << n << "x" << k;
      }
    }
  }
}

TEST(LinearBf16, WeightsRoundedInTheirPanels) {
  const int64_t n = 37, k = 300;
  std::vector<float> w = values(n * k, 1), a(static_cast<size_t>(k)), b = a;
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    auto stored = convert(view_of(w, n, k), dtype);
    auto want = PackedWeights::pack(convert(stored->view(), DType::bf16)->view());
    PackedWeights got = PackedWeights::pack(stored->view())->rounded_to_bf16();
    EXPECT_EQ(got.dtype(), DType::bf16);
    for (int64_t row = 0; row < n; ++row) {
      want->read_row(row, a.data());
      got.read_row(row, b.data());
      ASSERT_TRUE(same_bits(a, b)) << row;
    }
  }
}

TEST(LinearBf16, NothingToDoAndAccumulate) {
  std::vector<float> none;
  auto no_inputs = PackedWeights::pack(view_of(none, 3, 0))->rounded_to_bf16();
  std::vector<float> y = {7, 7, 7}, bias = {1, 2, 3};
  linear_bf16(y.data(), 1, no_inputs, y.data(), {.bias = bias.data()});
  EXPECT_EQ(y, bias);
  linear_bf16(y.data(), 1, no_inputs, y.data(), {.bias = bias.data(), .accumulate = true});
  EXPECT_EQ(y, (std::vector<float>{2, 4, 6}));
}

TEST(Linear, StackedStridesAndAccumulate) {
  const int64_t m = 21, k = 512, n = 70;  // K a multiple of 512: rows of x are copied apart
  std::vector<float> w1 = values(40 * k, 1), w2 = values(30 * k, 2), x = values(m * 1024, 3);
  TensorView views[] = {view_of(w1, 40, k), view_of(w2, 30, k)};
  auto packed = PackedWeights::pack_stacked(views);
  ASSERT_TRUE(packed.ok());
  ASSERT_EQ(packed->outputs(), n);
  std::vector<float> w = w1;
  w.insert(w.end(), w2.begin(), w2.end());
  const std::vector<float> before = values(m * 100, 4);
  for (int64_t rows : {3, 21}) {
    std::vector<float> want = before;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < n; ++j) {
        float& y = want[static_cast<size_t>(r * 100 + j)];
        y = ordered_dot(&x[static_cast<size_t>(r * 1024)], 1, &w[static_cast<size_t>(j * k)], 1, k, &y);
      }
    }
    std::vector<float> got = same_everywhere([&] {
      std::vector<float> y = before;
      linear(x.data(), rows, *packed, y.data(), {.accumulate = true, .x_stride = 1024, .y_stride = 100});
      return y;
    });
    EXPECT_TRUE(same_bits(got, want));
  }
}

TEST(Linear, RefusesWhatItCannotPack) {
  std::vector<float> v(12);
  EXPECT_FALSE(
      PackedWeights::pack({DType::f32, {12}, reinterpret_cast<const std::byte*>(v.data()), nullptr}).ok());
  EXPECT_FALSE(
      PackedWeights::pack({DType::i8, {3, 4}, reinterpret_cast<const std::byte*>(v.data()), nullptr}).ok());
  TensorView different[] = {view_of(v, 3, 4), view_of(v, 4, 3)};
  EXPECT_FALSE(PackedWeights::pack_stacked(different).ok());
  EXPECT_FALSE(PackedWeights::pack_stacked({}).ok());
}

TEST(Linear, NothingToDo) {
  std::vector<float> none;
  auto no_inputs = PackedWeights::pack(view_of(none, 3, 0)),
       no_outputs = PackedWeights::pack(view_of(none, 0, 3));
  ASSERT_TRUE(no_inputs.ok() && no_outputs.ok());
  std::vector<float> y = {7, 7, 7}, bias = {1, 2, 3};
  linear(y.data(), 1, *no_inputs, y.data(), {.bias = bias.data()});
  EXPECT_EQ(y, bias);
  linear(y.data(), 1, *no_outputs, nullptr);
  linear(nullptr, 0, *no_inputs, nullptr);
  sgemm(Transpose::no, Transpose::no, 1, 3, 0, nullptr, 1, nullptr, 1, y.data(), 3, false);
  EXPECT_EQ(y, (std::vector<float>{0, 0, 0}));
}

struct Product {
  int64_t m, n, k;
};

TEST(Sgemm, AllTransposesHaveTheDocumentedBits) {
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      for (bool accumulate : {false, true}) {
        for (const Product& p : {Product{1, 1, 1}, Product{5, 7, 3}, Product{17, 259, 576},
                                 Product{70, 33, 300}, Product{201, 210, 30}}) {
          const int64_t m = p.m, n = p.n, k = p.k;
          const int64_t lda = (ta ? m : k) + 1, ldb = (tb ? k : n) + 2, ldc = n + 3;
          std::vector<float> a = values((ta ? k : m) * lda, 1), b = values((tb ? n : k) * ldb, 2);
          const std::vector<float> before = values(m * ldc, 3);
          std::vector<float> want = before;
          for (int64_t r = 0; r < m; ++r) {
            for (int64_t j = 0; j < n; ++j) {
              float& c = want[static_cast<size_t>(r * ldc + j)];
              c = ordered_dot(&a[static_cast<size_t>(ta ? r : r * lda)], ta ? lda : 1,
                              &b[static_cast<size_t>(tb ? j * ldb : j)], tb ? 1 : ldb, k,
                              accumulate ? &c : nullptr);
            }
          }
          std::vector<float> got = same_everywhere([&] {
            std::vector<float> c = before;
            sgemm(static_cast<Transpose>(ta), static_cast<Transpose>(tb), m, n, k, a.data(), lda, b.data(),
                  ldb, c.data(), ldc, accumulate);
            return c;
          });
          ASSERT_TRUE(same_bits(got, want)) << ta << tb << accumulate << " " << m << "x" << n << "x" << k;
        }
      }
    }
  }
}

TEST(Sgemm, RowsThatShareCacheSets) {
  const int64_t m = 40, n = 20, k = 512;
  std::vector<float> a = values(m * k, 1), b = values(k * n, 2), c(static_cast<size_t>(m * n)), want = c;
  sgemm(Transpose::no, Transpose::no, m, n, k, a.data(), k, b.data(), n, c.data(), n, false);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      want[static_cast<size_t>(r * n + j)] =
          ordered_dot(&a[static_cast<size_t>(r * k)], 1, &b[static_cast<size_t>(j)], n, k, nullptr);
    }
  }
  EXPECT_TRUE(same_bits(c, want));
}

// The three products of a linear layer against each other: <dy, x·Wᵀ> = <dy·W, x> = <dyᵀ·x, W>.
TEST(Linear, GradientsAreTheAdjoints) {
  const int64_t m = 37, n = 45, k = 301;
  std::vector<float> x = values(m * k, 1), w = values(n * k, 2), dy = values(m * n, 3);
  std::vector<float> y(static_cast<size_t>(m * n)), dx(x.size()), dw(w.size()), db(static_cast<size_t>(n));
  linear_forward(x.data(), w.data(), y.data(), m, n, k);
  linear_backward_input(dy.data(), w.data(), dx.data(), m, n, k);
  linear_backward_weight(dy.data(), x.data(), dw.data(), m, n, k);
  linear_backward_bias(dy.data(), db.data(), m, n);
  auto dot = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
  };
  const double want = dot(dy, y);
  EXPECT_NEAR(dot(dx, x), want, 1e-4 * std::sqrt(static_cast<double>(m * n * k)) * 0.05);
  EXPECT_NEAR(dot(dw, w), want, 1e-4 * std::sqrt(static_cast<double>(m * n * k)) * 0.05);
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t r = 0; r < m; ++r) sum += static_cast<double>(dy[static_cast<size_t>(r * n + j)]);
    EXPECT_NEAR(static_cast<double>(db[static_cast<size_t>(j)]), sum, 1e-5);
  }
  // dW is added to, not overwritten.
  std::vector<float> twice = dw;
  linear_backward_weight(dy.data(), x.data(), twice.data(), m, n, k);
  for (size_t i = 0; i < dw.size(); ++i) ASSERT_NEAR(twice[i], 2 * dw[i], 1e-5);
}

}  // namespace
}  // namespace bm
