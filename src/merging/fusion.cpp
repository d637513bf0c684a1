// arcee_fusion: takes the differences whose importance, |difference| times the row's KL divergence of
// softmaxed weights, is above median + 1.5 · interquartile range. Quantiles are exact here whatever the
// size; the peer estimates them from a random million of a larger tensor.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>

#include "merging/arithmetic.h"
#include "merging/select.h"

namespace bm {
namespace {

class Fusion {
 public:
  explicit Fusion(const TensorProblem& p)
      : p_(p), base_(static_cast<size_t>(p.base)), other_(p.others()[0]) {}
  void prepare();
  void block(int64_t begin, int64_t end, float* out) const;

 private:
  void softmax(const float* x, int64_t n, std::vector<double>& out) const;
  double divergence(int64_t row) const;
  // Importance of elements begin..end; slot 0 holds the base, slot 1 the differences afterwards.
  void importance(int64_t begin, int64_t end, float* out) const;

  const TensorProblem& p_;
  size_t base_, other_;
  std::vector<float> divergence_;  // per row
  float threshold_ = 0;
};

void Fusion::softmax(const float* x, int64_t n, std::vector<double>& out) const {
  out.resize(static_cast<size_t>(n));
  float largest = *std::max_element(x, x + n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    double e = p_.switches.float_scalars ? static_cast<double>(std::exp(x[i] - largest))
                                         : std::exp(static_cast<double>(x[i]) - static_cast<double>(largest));
    total += out[static_cast<size_t>(i)] = e;
  }
  for (double& e : out) e = p_.q(p_.q(e / total) + 1e-8);
}

double Fusion::divergence(int64_t row) const {
  int64_t n = p_.row();
  thread_local std::vector<float> x;
  thread_local std::vector<double> a, b;
  x.resize(static_cast<size_t>(n));
  p_.inputs[other_].read(row * n, row * n + n, x.data());
  softmax(x.data(), n, a);
  p_.inputs[base_].read(row * n, row * n + n, x.data());
  softmax(x.data(), n, b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double ratio = p_.q(a[i] / b[i]);
    double log = p_.switches.float_scalars ? p_.q(static_cast<double>(std::log(static_cast<float>(ratio))))
                                           : std::log(ratio);
    sum += p_.q(a[i] * log);
  }
  return p_.q(sum);
}

void Fusion::importance(int64_t begin, int64_t end, float* out) const {
  int64_t n = end - begin;
  float *base = merge_scratch(0, n), *d = merge_scratch(1, n);
  p_.inputs[base_].read(begin, end, base);
  p_.inputs[other_].read(begin, end, d);
  with_rounding(p_.working, [&](auto w) {
    for (int64_t i = 0; i < n; ++i) {
      d[i] = w.r(d[i] - base[i]);
      out[i] = w.r(std::fabs(d[i]) * divergence_[static_cast<size_t>((begin + i) / p_.row())]);
    }
  });
}

// Bits of a float in an order that agrees with its value, negative ones included.
uint64_t ordered_bits(float value) {
  auto bits = std::bit_cast<uint32_t>(value + 0.0f);
  return bits & 0x80000000u ? static_cast<uint32_t>(~bits) : bits | 0x80000000u;
}
float from_ordered_bits(uint64_t key) {
  auto bits = static_cast<uint32_t>(key);
  return std::bit_cast<float>(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

void Fusion::prepare() {
  int64_t rows = p_.count() / std::max<int64_t>(1, p_.row());
  divergence_.resize(static_cast<size_t>(rows));
  parallel_for(static_cast<size_t>(rows),
               [&](size_t r) { divergence_[r] = static_cast<float>(divergence(static_cast<int64_t>(r))); });
  std::vector<int64_t> ranks;
  for (float share : {0.25f, 0.5f, 0.75f})
    ranks.push_back(static_cast<int64_t>(share * static_cast<float>(p_.count() - 1)));
  auto cuts =
      select_ranks(p_.count(), merge_block, 2, false, ranks, [&](int64_t begin, int64_t end, uint64_t* keys) {
        float* values = merge_scratch(2, end - begin);
        importance(begin, end, values);
        for (int64_t i = 0; i < end - begin; ++i) keys[i] = ordered_bits(values[i]);
      });
  float low = from_ordered_bits(cuts[0].key), middle = from_ordered_bits(cuts[1].key),
        high = from_ordered_bits(cuts[2].key);
  threshold_ = with_rounding(p_.working, [&](auto w) { return w.r(middle + w.r(1.5f * w.r(high - low))); });
}

void Fusion::block(int64_t begin, int64_t end, float* out) const {
  importance(begin, end, out);
  const float *base = merge_scratch(0, end - begin), *d = merge_scratch(1, end - begin);
  // The peer's mask is float32, which promotes the sum: no rounding to the working type.
  for (int64_t i = 0; i < end - begin; ++i) out[i] = base[i] + (out[i] >= threshold_ ? d[i] : 0.0f);
}

}  // namespace

Result<BlockFunction> prepare_arcee_fusion(const TensorProblem& p) {
  auto fusion = std::make_shared<Fusion>(p);
  fusion->prepare();
  return BlockFunction([fusion](int64_t begin, int64_t end, float* out) { fusion->block(begin, end, out); });
}

}  // namespace bm
