// multislerp and karcher: means on the sphere. Every vector that occurs is a combination of the inputs,
// so one pass for their inner products is enough; the iterations run on the coefficients, in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "merging/arithmetic.h"

namespace bm {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Inner products of the vectors (inputs, minus the base when there is one to subtract).
Matrix inner_products(const TensorProblem& p, const std::vector<size_t>& inputs, bool minus_base) {
  size_t n = inputs.size();
  auto sums = sum_blocks(p.count(), merge_block, n * n, [&](int64_t begin, int64_t end, double* acc) {
    int64_t size = end - begin;
    float* base = merge_scratch(n, size);
    if (minus_base) p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
    for (size_t k = 0; k < n; ++k) {
      float* x = merge_scratch(k, size);
      p.inputs[inputs[k]].read(begin, end, x);
      for (int64_t i = 0; minus_base && i < size; ++i) x[i] -= base[i];
    }
    for (size_t j = 0; j < n; ++j)
      for (size_t k = j; k < n; ++k) {
        const float *x = merge_scratch(j, size), *y = merge_scratch(k, size);
        double dot = 0;
        for (int64_t i = 0; i < size; ++i) dot += static_cast<double>(x[i]) * y[i];
        acc[j * n + k] = dot;
      }
  });
  Matrix out(n, std::vector<double>(n));
  for (size_t j = 0; j < n; ++j)
    for (size_t k = 0; k < n; ++k) out[j][k] = sums[std::min(j, k) * n + std::max(j, k)];
  return out;
}

double product(const Matrix& m, const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j)
    for (size_t k = 0; k < b.size(); ++k) sum += a[j] * m[j][k] * b[k];
  return sum;
}

double length(const Matrix& m, const std::vector<double>& a) {
  return std::sqrt(std::max(0.0, product(m, a, a)));
}

// out = Σ factor · (x − base) [+ base].
BlockFunction combination(const TensorProblem& p, std::vector<size_t> inputs,
                          const std::vector<double>& factors, bool around_base) {
  return [&p, inputs = std::move(inputs), factors, around_base](int64_t begin, int64_t end, float* out) {
    int64_t n = end - begin;
    float *x = merge_scratch(0, n), *base = merge_scratch(1, n);
    thread_local std::vector<double> sum;
    sum.assign(static_cast<size_t>(n), 0.0);
    if (around_base) p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
    for (size_t k = 0; k < inputs.size(); ++k) {
      p.inputs[inputs[k]].read(begin, end, x);
      for (int64_t i = 0; i < n; ++i)
        sum[static_cast<size_t>(i)] += factors[k] * static_cast<double>(around_base ? x[i] - base[i] : x[i]);
    }
    with_rounding(p.working, [&](auto w) {
      for (int64_t i = 0; i < n; ++i)
        out[i] =
            w.r(static_cast<float>(around_base ? static_cast<double>(base[i]) + sum[static_cast<size_t>(i)]
                                               : sum[static_cast<size_t>(i)]));
    });
  };
}

// The peer's own course, every vector rounded to the working type: near-parallel vectors make the float32
// angles so coarse that only the same roundings give the same result. Holds a unit vector per input and
// two more, 4 bytes an element each.
class RoundedKarcher {
 public:
  RoundedKarcher(const TensorProblem& p, double tolerance) : p_(p), tolerance_(tolerance) {}

  void run(int rounds) {
    load();
    if (units_.empty()) return;
    start();
    for (int round = 0; round < rounds && advance(); ++round) {
    }
  }
  void block(int64_t begin, int64_t end, float* out) const {
    auto scale = static_cast<float>(scale_);
    with_rounding(p_.working, [&](auto w) {
      for (int64_t i = begin; i < end; ++i)
        out[i - begin] = units_.empty() ? 0.0f : w.r(scale * u_[static_cast<size_t>(i)]);
    });
  }

 private:
  using Vector = std::vector<float>;

  template <class F>
  void each(F&& function) const {  // function(rounding, i)
    parallel_chunks(static_cast<size_t>(p_.count()), static_cast<size_t>(merge_block),
                    [&](size_t begin, size_t end) {
                      with_rounding(p_.working, [&](auto w) {
                        for (size_t i = begin; i < end; ++i) function(w, i);
                      });
                    });
  }
  // The order of torch 2's float32 sums on AVX-512 machines, found by matching its results: products in
  // 4 × 16 lanes with fused multiply-add, folded in halves; the last up to 31 elements in double.
  static float dot(const Vector& a, const Vector& b) {
    constexpr size_t lanes = 16, accumulators = 4, step = lanes * accumulators;
    std::array<float, step> sum{};
    size_t n = a.size(), i = 0;
    auto add = [&](size_t to, size_t at) {
      sum[to] = static_cast<float>(static_cast<double>(sum[to]) +
                                   static_cast<double>(a[at]) * static_cast<double>(b[at]));
    };
    for (; i + step <= n; i += step)
      for (size_t k = 0; k < step; ++k) add(k, i + k);
    for (; i + 2 * lanes <= n; i += 2 * lanes)
      for (size_t k = 0; k < 2 * lanes; ++k) add(k, i + k);
    for (size_t k = 0; k < lanes; ++k)
      sum[k] = (sum[k] + sum[lanes + k]) + (sum[2 * lanes + k] + sum[3 * lanes + k]);
    for (size_t width = lanes / 2; width > 0; width /= 2)
      for (size_t k = 0; k < width; ++k) sum[k] += sum[width + k];
    double tail = 0;
    for (; i < n; ++i) tail += static_cast<double>(a[i] * b[i]);
    return static_cast<float>(tail + static_cast<double>(sum[0]));
  }
  // Squares in 8 lanes, without fusing, added from the first lane to the last.
  static float norm(const Vector& a) {
    std::array<float, 8> sum{};
    size_t n = a.size(), i = 0;
    for (; i + 8 <= n; i += 8)
      for (size_t k = 0; k < 8; ++k) sum[k] += a[i + k] * a[i + k];
    float total = sum[0];
    for (size_t k = 1; k < 8; ++k) total += sum[k];
    for (; i < n; ++i) total += a[i] * a[i];
    return std::sqrt(total);
  }

  void load() {
    auto count = static_cast<size_t>(p_.count());
    for (const Source& input : p_.inputs) {
      Vector x(count);
      parallel_chunks(count, static_cast<size_t>(merge_block), [&](size_t begin, size_t end) {
        input.read(static_cast<int64_t>(begin), static_cast<int64_t>(end), x.data() + begin);
      });
      float length = norm(x);
      scale_ += static_cast<double>(length) / static_cast<double>(p_.inputs.size());
      if (static_cast<double>(length) <= tolerance_) continue;
      each([&](auto w, size_t i) { x[i] = w.r(x[i] / length); });
      units_.push_back(std::move(x));
    }
  }

  void start() {
    u_.assign(static_cast<size_t>(p_.count()), 0.0f);
    auto share = static_cast<float>(1.0 / static_cast<double>(units_.size()));
    for (const Vector& x : units_) each([&](auto w, size_t i) { u_[i] = w.r(u_[i] + w.r(share * x[i])); });
    float length = norm(u_);
    if (static_cast<double>(length) < tolerance_)
      u_ = units_[0];
    else
      each([&](auto w, size_t i) { u_[i] = w.r(u_[i] / length); });
  }

  // One step along the mean tangent; false when it is short enough.
  bool advance() {
    Vector step(u_.size(), 0.0f);
    double share = 1.0 / static_cast<double>(units_.size());
    for (const Vector& x : units_) {
      auto q = [&](float value) { return static_cast<float>(p_.q(static_cast<double>(value))); };
      float along = std::clamp(q(dot(u_, x)), -1.0f, 1.0f);
      float theta = q(std::acos(along));
      if (static_cast<double>(theta) < tolerance_) continue;
      float factor = q(static_cast<float>(share) * q(theta / q(std::sin(theta))));
      each([&](auto w, size_t i) { step[i] = w.r(step[i] + w.r(factor * w.r(x[i] - w.r(along * u_[i])))); });
    }
    float length = norm(step);
    if (static_cast<double>(length) < tolerance_) return false;
    float cosine = std::cos(length), sine = std::sin(length);
    each([&](auto w, size_t i) { u_[i] = w.r(w.r(cosine * u_[i]) + w.r(sine * w.r(step[i] / length))); });
    float size = norm(u_);
    if (static_cast<double>(size) > tolerance_) each([&](auto w, size_t i) { u_[i] = w.r(u_[i] / size); });
    return true;
  }

  const TensorProblem& p_;
  double tolerance_, scale_ = 0;
  std::vector<Vector> units_;
  Vector u_;
};

}  // namespace

// Barycentre on the sphere: tangent vectors at the normalized weighted mean of the unit vectors,
// averaged, mapped back, scaled by the weighted mean of the lengths.
Result<BlockFunction> prepare_multislerp(const TensorProblem& p) {
  bool around_base = p.base >= 0;
  std::vector<size_t> inputs = p.others();
  size_t n = inputs.size();
  if (n == 1) {
    size_t only = inputs[0];
    return BlockFunction(
        [&p, only](int64_t begin, int64_t end, float* out) { p.inputs[only].read(begin, end, out); });
  }
  std::vector<double> w;
  double total = 0, epsilon = p.parameter("eps");
  for (size_t input : inputs) total += w.emplace_back(p.input_parameter(input, "weight"));
  if (p.parameter("normalize_weights") != 0)
    for (double& x : w) x /= total;
  Matrix m = inner_products(p, inputs, around_base);
  std::vector<double> norms(n);
  for (size_t k = 0; k < n; ++k) norms[k] = std::sqrt(m[k][k]);
  for (size_t j = 0; j < n; ++j)
    for (size_t k = 0; k < n; ++k) m[j][k] /= (norms[j] + epsilon) * (norms[k] + epsilon);
  double mean_length = length(m, w);
  if (mean_length < epsilon) {
    if (n == 2) return combination(p, inputs, w, around_base);
    return bad_input("the weighted sum of the models' directions is zero",
                     "Choose other weights: opposite vectors cancel with these.");
  }
  std::vector<double> mean(n), tangent(n), factors(n);
  for (size_t k = 0; k < n; ++k) mean[k] = w[k] / mean_length;
  double along = product(m, w, mean), average = 0;
  for (size_t k = 0; k < n; ++k) tangent[k] = w[k] - along * mean[k];
  double angle = length(m, tangent) + epsilon;
  for (size_t k = 0; k < n; ++k) average += norms[k] * w[k];
  for (size_t k = 0; k < n; ++k)
    factors[k] =
        average * (mean[k] * std::cos(angle) + tangent[k] * std::sin(angle) / angle) / (norms[k] + epsilon);
  return combination(p, inputs, factors, around_base);
}

// Karcher mean of the directions with equal weights, scaled by the mean length. Vectors of zero length
// are left out of the mean of directions but count in the mean length.
Result<BlockFunction> prepare_karcher(const TensorProblem& p) {
  if (p.switches.float_scalars) {
    auto rounded = std::make_shared<RoundedKarcher>(p, p.parameter("tol"));
    rounded->run(static_cast<int>(p.parameter("max_iter")));
    return BlockFunction(
        [rounded](int64_t begin, int64_t end, float* out) { rounded->block(begin, end, out); });
  }
  std::vector<size_t> inputs(p.inputs.size()), valid;
  for (size_t k = 0; k < inputs.size(); ++k) inputs[k] = k;
  Matrix all = inner_products(p, inputs, false);
  double tolerance = p.parameter("tol"), scale = 0;
  for (size_t k : inputs) {
    double norm = std::sqrt(all[k][k]);
    scale += norm / static_cast<double>(inputs.size());
    if (norm > tolerance) valid.push_back(k);
  }
  size_t n = valid.size();
  std::vector<double> factors(inputs.size(), 0.0);
  if (n == 0) return combination(p, inputs, factors, false);
  Matrix m(n, std::vector<double>(n));
  for (size_t j = 0; j < n; ++j)
    for (size_t k = 0; k < n; ++k)
      m[j][k] = all[valid[j]][valid[k]] / std::sqrt(all[valid[j]][valid[j]] * all[valid[k]][valid[k]]);
  double share = 1.0 / static_cast<double>(n);
  std::vector<double> u(n, share);
  double norm = length(m, u);
  if (norm < tolerance) {
    std::fill(u.begin(), u.end(), 0.0);
    u[0] = 1;
  } else {
    for (double& x : u) x /= norm;
  }
  auto rounds = static_cast<int>(p.parameter("max_iter"));
  for (int round = 0; round < rounds; ++round) {
    std::vector<double> step(n, 0.0);
    for (size_t k = 0; k < n; ++k) {
      double dot = 0;
      for (size_t j = 0; j < n; ++j) dot += u[j] * m[j][k];
      dot = std::clamp(dot, -1.0, 1.0);
      double theta = std::acos(dot);
      if (theta < tolerance) continue;
      double factor = share * theta / std::sin(theta);
      step[k] += factor;
      for (size_t j = 0; j < n; ++j) step[j] -= factor * dot * u[j];
    }
    double distance = length(m, step);
    if (distance < tolerance) break;
    for (size_t j = 0; j < n; ++j) u[j] = std::cos(distance) * u[j] + std::sin(distance) * step[j] / distance;
    norm = length(m, u);
    if (norm > tolerance)
      for (double& x : u) x /= norm;
  }
  for (size_t k = 0; k < n; ++k) factors[valid[k]] = scale * u[k] / std::sqrt(all[valid[k]][valid[k]]);
  return combination(p, inputs, factors, false);
}

}  // namespace bm
