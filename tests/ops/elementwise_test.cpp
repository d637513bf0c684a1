// Embedding, RMSNorm, rotary, SwiGLU and sums against double, gradients against finite differences of the
// double form.
#include <functional>
#include <limits>

#include "kernels/values.h"
#include "ops/activation.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rotary.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::same_everywhere;
using testing::values;
using Doubles = std::vector<double>;

Doubles doubles(const std::vector<float>& v) { return {v.begin(), v.end()}; }

// d(Σ weight·f(x))/dx by central differences in double, against `gradient`.
void check_gradient(const Doubles& x, const std::vector<float>& weight,
                    const std::function<Doubles(const Doubles&)>& f, const float* gradient,
                    double tolerance) {
  auto loss = [&](const Doubles& at) {
    Doubles y = f(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * static_cast<double>(weight[i]);
    return sum;
  };
  for (size_t i = 0; i < x.size(); ++i) {
    Doubles above = x, below = x;
    above[i] += 1e-5;
    below[i] -= 1e-5;
    EXPECT_NEAR(static_cast<double>(gradient[i]), (loss(above) - loss(below)) / 2e-5, tolerance) << i;
  }
}

TEST(Embedding, LookupOfEveryWidth) {
  std::vector<float> table = values(11 * 37, 1);
  const std::vector<int32_t> tokens = {3, 0, 10, 3};
  TensorView view{DType::f32, {11, 37}, reinterpret_cast<const std::byte*>(table.data()), nullptr};
  for (DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    auto stored = convert(view, dtype), wide = convert(stored->view(), DType::f32);
    std::vector<float> want;
    for (int32_t t : tokens)
      want.insert(want.end(), wide->as<float>() + t * 37, wide->as<float>() + (t + 1) * 37);
    std::vector<float> out(want.size()), row(37);
    embedding_lookup(stored->view(), tokens, out.data());
    EXPECT_TRUE(same_bits(out, want));
    auto packed = PackedWeights::pack(stored->view());
    packed->read_row(10, row.data());  // a tied embedding is read from the packed head
    EXPECT_TRUE(same_bits(row, std::vector<float>(want.begin() + 2 * 37, want.begin() + 3 * 37)));
  }
}

TEST(Embedding, GradientAddsInTokenOrder) {
  const std::vector<int32_t> tokens = {2, 0, 2, 2};
  std::vector<float> d = values(4 * 70, 1), want(3 * 70, 0.5f);
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < 70; ++j) want[static_cast<size_t>(tokens[i]) * 70 + j] += d[i * 70 + j];
  }
  std::vector<float> got = same_everywhere([&] {
    std::vector<float> table(3 * 70, 0.5f);
    embedding_backward(tokens, d.data(), table.data(), 3, 70);
    return table;
  });
  EXPECT_TRUE(same_bits(got, want));
}

Doubles rms_norm_double(const Doubles& x, const Doubles& w, double epsilon) {
  Doubles y(x.size());
  for (size_t r = 0; r < x.size() / w.size(); ++r) {
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += x[r * w.size() + i] * x[r * w.size() + i];
    const double inverse = 1 / std::sqrt(sum / static_cast<double>(w.size()) + epsilon);
    for (size_t i = 0; i < w.size(); ++i) y[r * w.size() + i] = x[r * w.size() + i] * inverse * w[i];
  }
  return y;
}

TEST(RmsNorm, ForwardAndBackward) {
  const int64_t rows = 19, width = 29;
  std::vector<float> x = values(rows * width, 1), w = values(width, 2), d_y = values(rows * width, 3);
  std::vector<float> inverse(static_cast<size_t>(rows));
  std::vector<float> y = same_everywhere([&] {
    std::vector<float> out(x.size());
    rms_norm(x.data(), w.data(), 1e-5f, out.data(), rows, width, inverse.data());
    return out;
  });
  Doubles want = rms_norm_double(doubles(x), doubles(w), 1e-5);
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(static_cast<double>(y[i]), want[i], 5e-7);
  std::vector<float> gradients = same_everywhere([&] {
    std::vector<float> all(x.size() + w.size(), 0.0f);
    rms_norm_backward(x.data(), w.data(), inverse.data(), d_y.data(), all.data(), all.data() + x.size(), rows,
                      width);
    return all;
  });
  check_gradient(
      doubles(x), d_y, [&](const Doubles& at) { return rms_norm_double(at, doubles(w), 1e-5); },
      gradients.data(), 5e-6);
  check_gradient(
      doubles(w), d_y, [&](const Doubles& at) { return rms_norm_double(doubles(x), at, 1e-5); },
      gradients.data() + x.size(), 5e-6);
  // In place, and added to a residual's gradient.
  std::vector<float> in_place = d_y;
  rms_norm_backward(x.data(), w.data(), inverse.data(), d_y.data(), in_place.data(), nullptr, rows, width,
                    true);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_FLOAT_EQ(in_place[i], d_y[i] + gradients[i]);
  std::vector<float> same = x;
  rms_norm(same.data(), w.data(), 1e-5f, same.data(), rows, width);
  EXPECT_TRUE(same_bits(same, y));
}

TEST(RmsNorm, RowOfZeros) {
  std::vector<float> x(8, 0.0f), w(8, 1.0f), y(8);
  rms_norm(x.data(), w.data(), 1e-6f, y.data(), 1, 8);
  EXPECT_EQ(y, x);
}

TEST(Rotary, TableIsRoundedFromDouble) {
  auto frequencies = rotary_inverse_frequencies(1e6, 128);
  ASSERT_EQ(frequencies.size(), 64u);
  EXPECT_EQ(frequencies[0], 1.0);
  EXPECT_DOUBLE_EQ(frequencies[32], 1e-3);
  RotaryTable table(frequencies, 32768);
  for (int64_t p : {0, 1, 1000, 32767}) {
    for (size_t i : {0u, 1u, 40u, 63u}) {
      const double angle = static_cast<double>(p) * frequencies[i];
      EXPECT_EQ(table.cosines(p)[i], static_cast<float>(std::cos(angle)));
      EXPECT_EQ(table.sines(p)[i], static_cast<float>(std::sin(angle)));
    }
  }
}

TEST(Rotary, HalfSplitAndItsInverse) {
  const int64_t rows = 21, heads = 3, dim = 10;
  RotaryTable table(rotary_inverse_frequencies(100, dim), 40);
  std::vector<float> x = values(rows * heads * dim, 1);
  std::vector<float> y = same_everywhere([&] {
    std::vector<float> out = x;
    rotary_apply(table, out.data(), rows, heads, 7);
    return out;
  });
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < dim / 2; ++i) {
        const auto a = static_cast<size_t>((r * heads + h) * dim + i), b = a + 5;
        const float c = table.cosines(7 + r)[i], s = table.sines(7 + r)[i];
        ASSERT_EQ(y[a], x[a] * c - x[b] * s);
        ASSERT_EQ(y[b], x[b] * c + x[a] * s);
      }
    }
  }
  // The gradient of a rotation is the rotation back: <R x, z> = <x, Rᵀ z>.
  rotary_backward(table, y.data(), rows, heads, 7);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 5e-7);
  // One row alone, and a wider stride, give the same bits.
  std::vector<float> whole = x, wide(static_cast<size_t>(rows * 50), 9.0f);
  rotary_apply(table, whole.data(), rows, heads, 7);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x.begin() + r * 30, 30, wide.begin() + r * 50);
  rotary_apply(table, wide.data(), rows, heads, 7, 50);
  for (int64_t r = 0; r < rows; ++r) {
    EXPECT_TRUE(same_bits({wide.begin() + r * 50, wide.begin() + r * 50 + 30},
                          {whole.begin() + r * 30, whole.begin() + (r + 1) * 30}));
    EXPECT_EQ(wide[static_cast<size_t>(r * 50 + 30)], 9.0f);
  }
}

Doubles swiglu_double(const Doubles& gate, const Doubles& up) {
  Doubles y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return y;
}

TEST(SwiGlu, ForwardAndBackward) {
  const int64_t rows = 9, width = 37;
  std::vector<float> gate = values(rows * width, 1, 6.0f), up = values(rows * width, 2),
                     d = values(rows * width, 3);
  gate[0] = 95;  // e^-95 and e^95 are beyond float
  gate[1] = -95;
  std::vector<float> y = same_everywhere([&] {
    std::vector<float> out(gate.size());
    swiglu(gate.data(), up.data(), out.data(), rows, width);
    return out;
  });
  Doubles want = swiglu_double(doubles(gate), doubles(up));
  for (size_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(static_cast<double>(y[i]), want[i], 1e-6 * std::abs(want[i]) + 1e-37);
  std::vector<float> gradients = same_everywhere([&] {
    std::vector<float> out(2 * gate.size());
    swiglu_backward(gate.data(), up.data(), d.data(), out.data(), out.data() + gate.size(), rows * width);
    return out;
  });
  check_gradient(
      doubles(gate), d, [&](const Doubles& at) { return swiglu_double(at, doubles(up)); }, gradients.data(),
      3e-6);
  check_gradient(
      doubles(up), d, [&](const Doubles& at) { return swiglu_double(doubles(gate), at); },
      gradients.data() + gate.size(), 5e-5);  // |d·silu| reaches 95: the difference quotient's own rounding
  // Gate and up side by side in one buffer.
  std::vector<float> both, out(gate.size());
  for (int64_t r = 0; r < rows; ++r) {
    both.insert(both.end(), gate.begin() + r * width, gate.begin() + (r + 1) * width);
    both.insert(both.end(), up.begin() + r * width, up.begin() + (r + 1) * width);
  }
  swiglu(both.data(), both.data() + width, out.data(), rows, width, 2 * width, 2 * width);
  EXPECT_TRUE(same_bits(out, y));
}

TEST(Sums, DoubleAndTheSameForAnyThreadCount) {
  const int64_t n = 200003;
  std::vector<float> x = values(n, 1), y = values(n, 2);
  double want = 0;
  for (size_t i = 0; i < x.size(); ++i) want += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  set_thread_count(1);
  const double one = dot_double(x.data(), y.data(), n);
  set_thread_count(3);
  const double three = dot_double(x.data(), y.data(), n);
  set_thread_count(0);
  EXPECT_EQ(one, three);
  EXPECT_NEAR(one, want, 1e-10);
  EXPECT_GT(sum_of_squares(x.data(), n), 0);
}

TEST(Sums, AddScaleAndFirstNonFinite) {
  std::vector<float> x = values(10001, 1), y = values(10001, 2), want = y;
  for (size_t i = 0; i < x.size(); ++i) want[i] = (want[i] + x[i] + 0.3f * x[i]) * 2.5f;
  std::vector<float> got = same_everywhere([&] {
    std::vector<float> out = y;
    add_into(out.data(), x.data(), 10001);
    add_scaled(out.data(), x.data(), 0.3f, 10001);
    scale_in_place(out.data(), 2.5f, 10001);
    return out;
  });
  EXPECT_TRUE(same_bits(got, want));
  std::vector<float> big = values(200000, 3);
  EXPECT_EQ(first_non_finite(big.data(), 200000), -1);
  big[190000] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_non_finite(big.data(), 200000), 190000);
  big[70001] = std::numeric_limits<float>::quiet_NaN();
  big[70007] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_non_finite(big.data(), 200000), 70001);
}

}  // namespace
}  // namespace bm
