// Row kernels of every instruction set against double, and against each other bit for bit.
#include <gtest/gtest.h>

#include <limits>

#include "kernels/kernels.h"
#include "kernels/values.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::usable_isas;
using testing::values;

constexpr float kInf = std::numeric_limits<float>::infinity();

double ulp(double value) {
  auto rounded = static_cast<float>(value);
  return static_cast<double>(std::nextafter(rounded, kInf)) - static_cast<double>(rounded);
}

// One result per instruction set, all with the same bits.
template <class F>
std::vector<float> every_isa(F compute) {
  std::vector<float> first;
  for (const std::string& isa : usable_isas()) {
    EXPECT_TRUE(select_isa(isa).ok());
    std::vector<float> out = compute();
    if (first.empty()) first = out;
    EXPECT_TRUE(same_bits(first, out)) << isa;
  }
  EXPECT_TRUE(select_isa("auto").ok());
  return first;
}

TEST(Rows, ExponentialWithinOneUlp) {
  std::vector<float> x;
  for (float v = -87.336f; v < 88.72f; v += 0.000831f) x.push_back(v);
  for (float v : values(100000, 1)) x.push_back(v);
  std::vector<float> out = every_isa([&] {
    std::vector<float> y(x.size());
    kernels().rows->exponential(static_cast<int64_t>(x.size()), x.data(), y.data());
    return y;
  });
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    worst = std::max(worst, std::abs(static_cast<double>(out[i]) - exact) / ulp(exact));
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LT(worst, 1.0);
}

TEST(Rows, ExponentialAtTheEnds) {
  std::vector<float> x = {0, -0.0f, -87.34f, -200, -kInf, 88.7229f, 1e30f, kInf, 1};
  std::vector<float> out = every_isa([&] {
    std::vector<float> y(x.size());
    kernels().rows->exponential(static_cast<int64_t>(x.size()), x.data(), y.data());
    return y;
  });
  EXPECT_EQ(out, (std::vector<float>{1, 1, 0, 0, 0, kInf, kInf, kInf, out[8]}));
  float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::string& isa : usable_isas()) {
    ASSERT_TRUE(select_isa(isa).ok());
    float y = 0;
    kernels().rows->exponential(1, &nan, &y);
    EXPECT_TRUE(std::isnan(y)) << isa;
  }
  ASSERT_TRUE(select_isa("auto").ok());
}

TEST(Rows, Sums) {
  for (int64_t n : {0, 1, 7, 16, 17, 259, 1000, 2500}) {
    std::vector<float> x = values(n, 1), y = values(n, 2), z = values(n, 3);
    std::vector<float> out = every_isa([&] {
      const RowKernels& k = *kernels().rows;
      return std::vector<float>{k.sum_of_squares(n, x.data()), k.dot(n, x.data(), y.data()),
                                k.dot3(n, x.data(), y.data(), z.data()), k.maximum(n, x.data()),
                                static_cast<float>(k.sum_exponentials(n, x.data(), 0.5f))};
    });
    double squares = 0, dot = 0, dot3 = 0, exponentials = 0, size = 0;
    float largest = -kInf;
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = static_cast<double>(x[i]), b = static_cast<double>(y[i]);
      squares += a * a;
      dot += a * b;
      dot3 += a * b * static_cast<double>(z[i]);
      size += std::abs(a * b);
      largest = std::max(largest, x[i]);
      exponentials += std::exp(a - 0.5);
    }
    const double eps = 6e-8 * static_cast<double>(n / 16 + 6);
    EXPECT_NEAR(static_cast<double>(out[0]), squares, eps * squares + 1e-30);
    EXPECT_NEAR(static_cast<double>(out[1]), dot, eps * size + 1e-30);
    EXPECT_NEAR(static_cast<double>(out[2]), dot3, eps * size + 1e-30);
    EXPECT_EQ(out[3], largest);
    EXPECT_NEAR(static_cast<double>(out[4]), exponentials, 5e-6 * exponentials + 1e-30);
  }
}

TEST(Rows, SoftmaxTilesInTwoStepsAreOneSoftmax) {
  const int64_t rows = 19, stride = 64;
  for (int64_t second : {16, 32, 48, 64}) {
    std::vector<float> scores = values(rows * 2 * stride, 7, 9.0f);
    std::vector<int32_t> low, high, low2, high2;
    for (int64_t r = 0; r < rows; ++r) {  // row 0 sees nothing in the first tile
      low.push_back(static_cast<int32_t>(r == 0 ? 0 : r % 5));
      high.push_back(static_cast<int32_t>(r == 0 ? 0 : 64 - r));
      low2.push_back(r == 3 ? 4 : 0);
      high2.push_back(static_cast<int32_t>(r == 5 ? 0 : second - r % 7));
    }
    std::vector<float> out = every_isa([&] {
      std::vector<float> s = scores, maximum(rows, -kInf), sum(rows, 0.0f), rescale(rows), scratch(rows);
      SoftmaxTile t{.rows = rows, .columns = 64, .stride = stride};
      t.scale = 0.125f;
      t.maximum = maximum.data();
      t.sum = sum.data();
      t.rescale = rescale.data();
      t.scratch = scratch.data();
      t.scores = s.data();
      t.low = low.data();
      t.high = high.data();
      kernels().rows->softmax_tile(t);
      t.columns = second;
      t.scores = s.data() + rows * stride;
      t.low = low2.data();
      t.high = high2.data();
      kernels().rows->softmax_tile(t);
      s.insert(s.end(), maximum.begin(), maximum.end());
      s.insert(s.end(), sum.begin(), sum.end());
      s.insert(s.end(), rescale.begin(), rescale.end());
      return s;
    });
    const float* tail = out.data() + 2 * rows * stride;
    for (int64_t r = 0; r < rows; ++r) {
      const auto i = static_cast<size_t>(r);
      double largest = -1e300, total = 0;
      auto score = [&](int64_t tile, int64_t c) {
        return 0.125 * static_cast<double>(scores[static_cast<size_t>((tile * rows + r) * stride + c)]);
      };
      for (int64_t c = low[i]; c < high[i]; ++c) largest = std::max(largest, score(0, c));
      for (int64_t c = low2[i]; c < high2[i]; ++c) largest = std::max(largest, score(1, c));
      for (int64_t c = low[i]; c < high[i]; ++c) total += std::exp(score(0, c) - largest);
      for (int64_t c = low2[i]; c < high2[i]; ++c) total += std::exp(score(1, c) - largest);
      EXPECT_NEAR(static_cast<double>(tail[r]), largest, 1e-6) << r;
      EXPECT_NEAR(static_cast<double>(tail[rows + r]), total, 3e-6 * total) << r;
      for (int64_t c = 0; c < second; ++c) {
        const bool seen = c >= low2[i] && c < high2[i];
        const double want = seen ? std::exp(score(1, c) - largest) : 0;
        EXPECT_NEAR(static_cast<double>(out[static_cast<size_t>((rows + r) * stride + c)]), want, 2e-6);
      }
    }
  }
}

TEST(Rows, ElementwiseHaveTheSameBits) {
  for (int64_t n : {1, 7, 16, 259}) {
    std::vector<float> x = values(n, 1, 4.0f), y = values(n, 2), z = values(n, 3), w = values(n, 4);
    every_isa([&] {
      const RowKernels& k = *kernels().rows;
      std::vector<float> all;
      auto keep = [&](const std::vector<float>& v) { all.insert(all.end(), v.begin(), v.end()); };
      std::vector<float> a(x.size()), b(x.size());
      k.swiglu(n, x.data(), y.data(), a.data());
      keep(a);
      k.swiglu_backward(n, x.data(), y.data(), z.data(), a.data(), b.data());
      keep(a);
      keep(b);
      a = x;
      k.softmax_scaled(n, a.data(), 3.5f, 0.25f);
      keep(a);
      k.scale_by_weight(n, x.data(), 0.7f, y.data(), a.data());
      keep(a);
      k.norm_gradient(n, x.data(), y.data(), z.data(), 0.7f, 0.3f, a.data(), false);
      k.norm_gradient(n, x.data(), y.data(), w.data(), 0.9f, 0.1f, a.data(), true);
      keep(a);
      k.add(n, x.data(), a.data());
      k.add_scaled(n, y.data(), 0.3f, a.data());
      k.scale(n, 1.7f, a.data());
      keep(a);
      b = y;
      k.rotate(n, z.data(), w.data(), -1.0f, a.data(), b.data());
      keep(a);
      keep(b);
      return all;
    });
  }
}

}  // namespace
}  // namespace bm
