// sce, nearswap, ram, ramplus_tl: element by element rules around the base.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "merging/arithmetic.h"
#include "merging/select.h"

namespace bm {
namespace {

// Differences of all other inputs from the base in scratch slots 1…; the base in slot 0.
std::vector<float*> deltas(const TensorProblem& p, const std::vector<size_t>& others, int64_t begin,
                           int64_t end) {
  int64_t n = end - begin;
  float* base = merge_scratch(0, n);
  p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
  std::vector<float*> out;
  for (size_t k = 0; k < others.size(); ++k) {
    float* x = merge_scratch(k + 1, n);
    p.inputs[others[k]].read(begin, end, x);
    with_rounding(p.working, [&](auto w) {
      for (int64_t i = 0; i < n; ++i) x[i] = w.r(x[i] - base[i]);
    });
    out.push_back(x);
  }
  return out;
}

class SceMerge {
 public:
  explicit SceMerge(const TensorProblem& p) : p_(p), others_(p.others()) {}
  void prepare();
  void block(int64_t begin, int64_t end, float* out) const;

 private:
  double variance(const std::vector<float*>& d, int64_t i) const;
  std::vector<float*> selected(int64_t begin, int64_t end) const;
  void select(double share);

  const TensorProblem& p_;
  std::vector<size_t> others_;
  std::vector<float> weights_;
  std::vector<RankCut> cut_;
  bool none_ = false;
};

// Population variance over the models.
double SceMerge::variance(const std::vector<float*>& d, int64_t i) const {
  auto count = static_cast<double>(d.size());
  double mean = 0, sum = 0;
  for (const float* x : d) mean += static_cast<double>(x[i]);
  mean /= count;
  for (const float* x : d) sum += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  return p_.q(sum / count);
}

void SceMerge::select(double share) {
  none_ = share <= 0;
  if (none_) return;
  // Keys: the variance's own bits, of a float or of a double as the mode computes it.
  bool narrow = p_.switches.float_scalars;
  KeyFunction keys = [&](int64_t begin, int64_t end, uint64_t* out) {
    auto d = deltas(p_, others_, begin, end);
    for (int64_t i = 0; i < end - begin; ++i) {
      double v = variance(d, i);
      out[i] = narrow ? std::bit_cast<uint32_t>(static_cast<float>(v)) : std::bit_cast<uint64_t>(v);
    }
  };
  double nonzero = sum_blocks(p_.count(), merge_block, 1, [&](int64_t begin, int64_t end, double* acc) {
    std::vector<uint64_t> key(static_cast<size_t>(end - begin));
    keys(begin, end, key.data());
    acc[0] = static_cast<double>(end - begin - std::count(key.begin(), key.end(), uint64_t{0}));
  })[0];
  auto k = static_cast<int64_t>(static_cast<float>(nonzero) * static_cast<float>(share));
  none_ = k <= 0;
  if (!none_) cut_ = select_ranks(p_.count(), merge_block, narrow ? 2 : 4, true, {k}, keys);
}

std::vector<float*> SceMerge::selected(int64_t begin, int64_t end) const {
  auto d = deltas(p_, others_, begin, end);
  int64_t n = end - begin;
  if (none_)
    for (float* x : d) std::fill(x, x + n, 0.0f);
  if (cut_.empty()) return d;
  RankWalker kept(cut_[0], true, begin);
  for (int64_t i = 0; i < n; ++i) {
    double v = variance(d, i);
    uint64_t key = p_.switches.float_scalars ? std::bit_cast<uint32_t>(static_cast<float>(v))
                                             : std::bit_cast<uint64_t>(v);
    if (kept.below(key)) continue;
    for (float* x : d) x[i] = 0;
  }
  return d;
}

void SceMerge::prepare() {
  double share = p_.parameter("select_topk");
  if (share < 1) select(share);
  size_t n = others_.size();
  auto squares = sum_blocks(p_.count(), merge_block, n, [&](int64_t begin, int64_t end, double* acc) {
    auto d = selected(begin, end);
    for (size_t k = 0; k < n; ++k)
      for (int64_t i = 0; i < end - begin; ++i) acc[k] += p_.q(static_cast<double>(d[k][i]) * d[k][i]);
  });
  double total = 0;
  for (double& s : squares) total += s = p_.q(s / static_cast<double>(p_.count()));
  total = p_.q(total);
  for (double s : squares)
    weights_.push_back(
        static_cast<float>(std::abs(total) < 1e-6 ? p_.q(1.0 / static_cast<double>(n)) : p_.q(s / total)));
}

void SceMerge::block(int64_t begin, int64_t end, float* out) const {
  auto d = selected(begin, end);
  const float* base = merge_scratch(0, end - begin);
  with_rounding(p_.working, [&](auto w) {
    for (int64_t i = 0; i < end - begin; ++i) {
      float sum = 0, merged = 0, weights = 0;
      for (const float* x : d) sum += x[i];
      bool positive = w.r(sum) >= 0;
      for (size_t k = 0; k < d.size(); ++k) {
        float x = d[k][i];
        if (!(positive ? x > 0 : x < 0)) continue;
        merged += w.r(x * weights_[k]);
        weights += weights_[k];
      }
      out[i] = w.r(base[i] + w.r(w.r(merged) / std::max(w.r(weights), w.r(1e-6f))));
    }
  });
}

}  // namespace

Result<BlockFunction> prepare_sce(const TensorProblem& p) {
  auto merge = std::make_shared<SceMerge>(p);
  merge->prepare();
  return BlockFunction([merge](int64_t begin, int64_t end, float* out) { merge->block(begin, end, out); });
}

// w = clamp(t / max(|a − b|, 1e-6), 0, 1); out = w·b + (1 − w)·a. torch divides a number by a tensor as
// reciprocal times number: two roundings.
Result<BlockFunction> prepare_nearswap(const TensorProblem& p) {
  size_t base = static_cast<size_t>(p.base), other = p.others()[0];
  auto t = static_cast<float>(p.parameter("t"));
  return BlockFunction([&p, base, other, t](int64_t begin, int64_t end, float* out) {
    int64_t n = end - begin;
    float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
    p.inputs[base].read(begin, end, a);
    p.inputs[other].read(begin, end, b);
    bool reciprocal = p.switches.round_every_operation;
    with_rounding(p.working, [&](auto w) {
      float least = w.r(1e-6f);
      for (int64_t i = 0; i < n; ++i) {
        float gap = std::max(std::fabs(w.r(a[i] - b[i])), least);
        float share = std::clamp(reciprocal ? w.r(w.r(1.0f / gap) * t) : t / gap, 0.0f, 1.0f);
        out[i] = w.r(w.r(share * b[i]) + w.r(w.r(1.0f - share) * a[i]));
      }
    });
  });
}

// Differences above epsilon: those of one model alone are added (ramplus_tl: times 1 + r·clamp(shared /
// unique, 0, alpha)), those of several averaged over the models that have one.
Result<BlockFunction> prepare_ram(const TensorProblem& p) {
  auto others = std::make_shared<std::vector<size_t>>(p.others());
  auto epsilon = static_cast<float>(p.parameter("epsilon"));
  size_t n = others->size();
  auto factors = std::make_shared<std::vector<float>>(n, 1.0f);
  if (p.method->kind == MethodKind::ramplus_tl) {
    auto counts = sum_blocks(p.count(), merge_block, 2 * n, [&](int64_t begin, int64_t end, double* acc) {
      auto d = deltas(p, *others, begin, end);
      for (int64_t i = 0; i < end - begin; ++i) {
        size_t have = 0;
        for (const float* x : d) have += std::fabs(x[i]) > epsilon;
        for (size_t k = 0; k < n; ++k)
          if (std::fabs(d[k][i]) > epsilon) acc[2 * k + (have == 1)] += 1;
      }
    });
    double r = p.parameter("r"), alpha = p.parameter("alpha");
    for (size_t k = 0; k < n; ++k) {
      double unique = std::max(counts[2 * k + 1], p.parameter("epsilon"));
      (*factors)[k] = static_cast<float>(1 + r * std::clamp(counts[2 * k] / unique, 0.0, alpha));
    }
  }
  return BlockFunction([&p, others, factors, epsilon](int64_t begin, int64_t end, float* out) {
    auto d = deltas(p, *others, begin, end);
    const float* base = merge_scratch(0, end - begin);
    with_rounding(p.working, [&](auto w) {
      for (int64_t i = 0; i < end - begin; ++i) {
        float have = 0, sum = 0;
        for (const float* x : d) have += std::fabs(x[i]) > epsilon ? 1.0f : 0.0f;
        for (size_t k = 0; k < d.size(); ++k) {
          float x = d[k][i];
          if (std::fabs(x) > epsilon) sum += have > 1 ? w.r(x / have) : w.r(x * (*factors)[k]);
        }
        out[i] = w.r(base[i] + w.r(sum));
      }
    });
  });
}

}  // namespace bm
