// passthrough, linear, slerp. Formulas: semantics.md 1.1; roundings: PART 0 item 17.
#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "merging/arithmetic.h"

namespace bm {

// out = x · scale; without `scale` a copy.
Result<BlockFunction> prepare_passthrough(const TensorProblem& p) {
  auto scale = p.per_input[0].find("scale");
  if (scale == p.per_input[0].end())
    return BlockFunction([&p](int64_t begin, int64_t end, float* out) { p.inputs[0].read(begin, end, out); });
  auto factor = static_cast<float>(scale->second);
  return BlockFunction([&p, factor](int64_t begin, int64_t end, float* out) {
    p.inputs[0].read(begin, end, out);
    with_rounding(p.working, [&](auto w) {
      for (int64_t i = 0; i < end - begin; ++i) out[i] = w.r(out[i] * factor);
    });
  });
}

// out = Σ w·x [/ Σ w], accumulated in float32 with a fused multiply-add, in listed order, rounded once.
Result<BlockFunction> prepare_linear(const TensorProblem& p) {
  std::vector<float> weights;
  float total = 0;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    weights.push_back(static_cast<float>(p.input_parameter(i, "weight")));
    total += weights.back();
  }
  bool normalize = p.parameter("normalize") != 0;
  return BlockFunction([&p, weights, total, normalize](int64_t begin, int64_t end, float* out) {
    int64_t n = end - begin;
    float* x = merge_scratch(0, n);
    std::fill(out, out + n, 0.0f);
    for (size_t k = 0; k < weights.size(); ++k) {
      p.inputs[k].read(begin, end, x);
      // The product of two floats is exact in double, so this is a fused multiply-add (but for a
      // double rounding that takes a tie in the 53rd bit).
      kernels().merge->accumulate(n, static_cast<double>(weights[k]), x, out);
    }
    with_rounding(p.working, [&](auto w) {
      for (int64_t i = 0; i < n; ++i) out[i] = w.r(normalize ? out[i] / total : out[i]);
    });
  });
}

namespace {

struct SlerpFactors {
  float base, other;
};

// a·a, b·b, a·b over the whole tensor → factors of the two vectors.
SlerpFactors slerp_factors(const TensorProblem& p, double aa, double bb, double ab) {
  constexpr double epsilon = 1e-8, threshold = 0.9995;
  auto f = [&](double value) {
    return p.switches.float_scalars ? static_cast<double>(static_cast<float>(value)) : value;
  };
  double na = f(std::sqrt(aa)), nb = f(std::sqrt(bb)), t = f(p.parameter("t"));
  if (na <= epsilon) na = 1;
  if (nb <= epsilon) nb = 1;
  double d = f(std::clamp(ab / (na * nb), -1.0, 1.0));
  if (std::abs(d) > threshold) return {static_cast<float>(f(1 - t)), static_cast<float>(t)};
  if (p.switches.float_scalars) {
    float theta = std::acos(static_cast<float>(d)), sine = std::sin(theta), tf = static_cast<float>(t);
    return {std::sin((1.0f - tf) * theta) / sine, std::sin(tf * theta) / sine};
  }
  double theta = std::acos(d), sine = std::sin(theta);
  return {static_cast<float>(std::sin((1 - t) * theta) / sine),
          static_cast<float>(std::sin(t * theta) / sine)};
}

}  // namespace

// Both vectors are the whole flattened tensors; t = 0 is the base whatever the order of listing.
// Statistics and combination in float32 also in bf16 merges, one rounding at the end.
Result<BlockFunction> prepare_slerp(const TensorProblem& p) {
  if (p.inputs.size() == 1)
    return BlockFunction([&p](int64_t begin, int64_t end, float* out) { p.inputs[0].read(begin, end, out); });
  size_t base = static_cast<size_t>(p.base), other = p.others()[0];
  auto sums = sum_blocks(p.count(), merge_block, 3, [&](int64_t begin, int64_t end, double* acc) {
    int64_t n = end - begin;
    float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
    p.inputs[base].read(begin, end, a);
    p.inputs[other].read(begin, end, b);
    kernels().merge->moments(n, a, b, acc);
  });
  SlerpFactors factors = slerp_factors(p, sums[0], sums[1], sums[2]);
  return BlockFunction([&p, base, other, factors](int64_t begin, int64_t end, float* out) {
    int64_t n = end - begin;
    float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
    p.inputs[base].read(begin, end, a);
    p.inputs[other].read(begin, end, b);
    kernels().merge->blend(n, factors.base, a, factors.other, b, out);
    round_values(p.working, n, out);
  });
}

}  // namespace bm
