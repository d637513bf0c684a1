// multislerp and karcher: means on the sphere. Every vector that occurs is a combination of the inputs,
// so one pass for their inner products is enough; the iterations run on the coefficients, in double.
#include <algorithm>
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

double length(const Matrix& m, const std::vector<double>& a) { return std::sqrt(std::max(0.0, product(m, a, a))); }

// out = Σ factor · (x − base) [+ base].
BlockFunction combination(const TensorProblem& p, std::vector<size_t> inputs, const std::vector<double>& factors, bool around_base) {
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
        out[i] = w.r(static_cast<float>(around_base ? static_cast<double>(base[i]) + sum[static_cast<size_t>(i)] : sum[static_cast<size_t>(i)]));
    });
  };
}

}  // namespace

// Barycentre on the sphere: tangent vectors at the normalized weighted mean of the unit vectors,
// averaged, mapped back, scaled by the weighted mean of the lengths.
Result<BlockFunction> prepare_multislerp(const TensorProblem& p) {
  bool around_base = p.base >= 0;
  std::vector<size_t> inputs = p.others();
  size_t n = inputs.size();
  if (n == 1) {
    size_t only = inputs[0];
    return BlockFunction([&p, only](int64_t begin, int64_t end, float* out) { p.inputs[only].read(begin, end, out); });
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
    return bad_input("the weighted sum of the models' directions is zero", "Choose other weights: opposite vectors cancel with these.");
  }
  std::vector<double> mean(n), tangent(n), factors(n);
  for (size_t k = 0; k < n; ++k) mean[k] = w[k] / mean_length;
  double along = product(m, w, mean), average = 0;
  for (size_t k = 0; k < n; ++k) tangent[k] = w[k] - along * mean[k];
  double angle = length(m, tangent) + epsilon;
  for (size_t k = 0; k < n; ++k) average += norms[k] * w[k];
  for (size_t k = 0; k < n; ++k)
    factors[k] = average * (mean[k] * std::cos(angle) + tangent[k] * std::sin(angle) / angle) / (norms[k] + epsilon);
  return combination(p, inputs, factors, around_base);
}

// Karcher mean of the directions with equal weights, scaled by the mean length. Vectors of zero length
// are left out of the mean of directions but count in the mean length.
Result<BlockFunction> prepare_karcher(const TensorProblem& p) {
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
