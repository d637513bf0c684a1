// task_arithmetic, ties, dare_*, breadcrumbs*, della*: base + λ · consensus of weighted, sparsified
// differences from the base. Formulas: semantics.md 1.1 and PART 0 items 15 to 18.
#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/hash.h"
#include "kernels/kernels.h"
#include "merging/arithmetic.h"
#include "merging/select.h"

namespace bm {
namespace {

struct TaskVector {
  enum class Keep { all, none, top, middle, bits };
  size_t input = 0;
  double density = 1;
  float weight = 0;         // rounded to the working type
  double exact_weight = 0;  // as written
  Keep keep = Keep::all;
  std::vector<RankCut> cuts;   // top: one cut, largest first; middle: two cuts, smallest first
  std::vector<uint64_t> bits;  // one per element
  bool rescaled = false;
  bool divided = false;  // by ratio, instead of multiplied
  float ratio = 1;

  bool bit(int64_t i) const { return (bits[static_cast<size_t>(i >> 6)] >> (i & 63)) & 1; }
};

class TaskVectorMerge {
 public:
  explicit TaskVectorMerge(const TensorProblem& p) : p_(p), base_(static_cast<size_t>(p.base)) {}

  void prepare();
  void block(int64_t begin, int64_t end, float* out) const;

 private:
  // Difference from the base, rounded to the working type. Slot 0 of the scratch holds the base.
  void delta(const TaskVector& v, int64_t begin, int64_t end, float* out) const;
  void mask(const TaskVector& v, int64_t begin, int64_t end, float* d) const;
  void sparsify(TaskVector& v);
  void draw_bits(TaskVector& v);
  void draw_della_bits(TaskVector& v, double epsilon);
  void della_row(const TaskVector& v, double epsilon, int64_t begin, int64_t end, float* probability) const;
  void rescale(TaskVector& v);
  ValueFunction differences(const TaskVector& v) const;
  void difference(const TaskVector& v, int64_t begin, int64_t end, const float* base, float* out) const;
  uint64_t purpose(const TaskVector& v) const { return hash64(p_.name + '\n' + p_.models[v.input]); }
  void combine_exact(int64_t n, const std::vector<float*>& d, const float* base, float* out) const;
  template <class W>
  void combine(W w, int64_t n, const std::vector<float*>& d, const float* base, float* out) const;

  const TensorProblem& p_;
  size_t base_;
  std::vector<TaskVector> vectors_;
  bool normalize_ = false, rescale_ = false;
  double lambda_ = 1;
};

void TaskVectorMerge::prepare() {
  normalize_ = p_.parameter("normalize") != 0;
  rescale_ = p_.parameter("rescale") != 0;
  lambda_ = p_.parameter("lambda");
  for (size_t input : p_.others()) {
    TaskVector v;
    v.input = input;
    v.density = p_.input_parameter(input, "density");
    float weight = static_cast<float>(p_.input_parameter(input, "weight"));
    v.weight = with_rounding(p_.working, [&](auto w) { return w.r(weight); });
    v.exact_weight = p_.input_parameter(input, "weight");
    vectors_.push_back(std::move(v));
  }
  for (TaskVector& v : vectors_) {
    sparsify(v);
    if (rescale_ && v.keep != TaskVector::Keep::all) rescale(v);
  }
}

void TaskVectorMerge::delta(const TaskVector& v, int64_t begin, int64_t end, float* out) const {
  float* base = merge_scratch(0, end - begin);
  p_.inputs[base_].read(begin, end, base);
  difference(v, begin, end, base, out);
}

void TaskVectorMerge::difference(const TaskVector& v, int64_t begin, int64_t end, const float* base,
                                 float* out) const {
  int64_t n = end - begin;
  p_.inputs[v.input].read(begin, end, out);
  kernels().merge->subtract(n, out, base, out);
  round_values(p_.working, n, out);
}

void TaskVectorMerge::mask(const TaskVector& v, int64_t begin, int64_t end, float* d) const {
  int64_t n = end - begin;
  switch (v.keep) {
    case TaskVector::Keep::all:
      return;
    case TaskVector::Keep::none:
      std::fill(d, d + n, 0.0f);
      return;
    case TaskVector::Keep::top: {
      const RankCut& cut = v.cuts[0];
      if (cut.all_below) return;
      auto block = static_cast<size_t>(begin / cut.block);
      // Mostly all of the block's elements that equal the cut are on one side of it.
      bool all_kept = cut.equal_before[block + 1] <= cut.equal_below,
           none_kept = cut.equal_before[block] >= cut.equal_below;
      if (all_kept || none_kept) {
        kernels().merge->keep_from(n, static_cast<uint32_t>(cut.key) + (all_kept ? 0 : 1), d);
        return;
      }
      RankWalker kept(v.cuts[0], true, begin);
      for (int64_t i = 0; i < n; ++i)
        if (!kept.below(std::bit_cast<uint32_t>(std::fabs(d[i])))) d[i] = 0;
      return;
    }
    case TaskVector::Keep::middle: {
      RankWalker bottom(v.cuts[0], false, begin), inside(v.cuts[1], false, begin);
      for (int64_t i = 0; i < n; ++i) {
        uint32_t key = std::bit_cast<uint32_t>(std::fabs(d[i]));
        bool small = bottom.below(key), kept = inside.below(key);
        if (small || !kept) d[i] = 0;
      }
      return;
    }
    case TaskVector::Keep::bits:
      kernels().merge->keep_bits(n, v.bits.data() + begin / 64, d);  // blocks begin on a word
  }
}

ValueFunction TaskVectorMerge::differences(const TaskVector& v) const {
  return [this, &v](int64_t begin, int64_t end) {
    float* d = merge_scratch(1, end - begin);
    delta(v, begin, end, d);
    return const_cast<const float*>(d);
  };
}

void TaskVectorMerge::sparsify(TaskVector& v) {
  using Keep = TaskVector::Keep;
  int64_t n = p_.count();
  if (p_.method->sparsifier == Sparsifier::none || v.density >= 1 || n == 0) return;
  auto target = static_cast<int64_t>(v.density * static_cast<double>(n));
  switch (p_.method->sparsifier) {
    case Sparsifier::none:
      return;
    case Sparsifier::magnitude:
      if (v.density <= 0) {
        v.keep = Keep::none;
        return;
      }
      v.keep = Keep::top;
      v.cuts = select_magnitudes(n, merge_block, true, {std::max<int64_t>(1, target)}, differences(v));
      return;
    case Sparsifier::magnitude_outliers: {
      if (target <= 0) {
        v.keep = Keep::none;
        return;
      }
      auto top = static_cast<int64_t>(p_.input_parameter(v.input, "gamma") * static_cast<double>(n));
      int64_t bottom = std::max<int64_t>(0, n - target - top);
      v.keep = Keep::middle;
      v.cuts = select_magnitudes(n, merge_block, false, {bottom, bottom + target}, differences(v));
      return;
    }
    case Sparsifier::random:
      v.keep = v.density <= 0 && !p_.switches.mt19937_masks ? Keep::none : Keep::bits;
      if (v.keep == Keep::bits) draw_bits(v);
      return;
    case Sparsifier::della:
      v.keep = v.density <= 0 ? Keep::none : Keep::bits;
      if (v.keep == Keep::bits) draw_della_bits(v, p_.input_parameter(v.input, "epsilon"));
      return;
  }
}

// Bernoulli(density): keep where u < density.
void TaskVectorMerge::draw_bits(TaskVector& v) {
  int64_t n = p_.count();
  v.bits.assign(static_cast<size_t>((n + 63) / 64), 0);
  auto probability = static_cast<float>(v.density);
  if (p_.switches.mt19937_masks) {
    if (p_.working == Rounding::bf16) probability = round_to_bf16(probability);
    for (int64_t i = 0; i < n; ++i)
      if (p_.stream->torch_uniform() < probability)
        v.bits[static_cast<size_t>(i >> 6)] |= uint64_t{1} << (i & 63);
    return;
  }
  // u < p over the 24 bits of u, in whole numbers.
  auto threshold = static_cast<uint32_t>(std::ceil(static_cast<double>(probability) * 0x1p24));
  parallel_chunks(v.bits.size(), static_cast<size_t>(merge_block / 64), [&](size_t first, size_t last) {
    kernels().merge->random_bits(p_.seed, purpose(v), first, static_cast<int64_t>(last - first), threshold,
                                 v.bits.data() + first);
  });
}

// Probabilities of one row (or of a whole one-dimensional tensor): density − ε + 2ε · rank, rank in
// [0, 1] by |δ| ascending, the lower index first among equals. A row of one element gets the density
// itself (the peer divides by zero there).
void TaskVectorMerge::della_row(const TaskVector& v, double epsilon, int64_t begin, int64_t end,
                                float* probability) const {
  int64_t n = end - begin;
  std::vector<float> d(static_cast<size_t>(n));
  delta(v, begin, end, d.data());
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::fabs(d[static_cast<size_t>(a)]) < std::fabs(d[static_cast<size_t>(b)]);
  });
  with_rounding(p_.working == Rounding::bf16 ? Rounding::bf16 : Rounding::none, [&](auto w) {
    for (int64_t rank = 0; rank < n; ++rank) {
      float share = n > 1 ? w.r(static_cast<float>(rank) / static_cast<float>(n - 1)) : 0.5f;
      float span = w.r(w.r(share * 2.0f) * static_cast<float>(epsilon));
      probability[order[static_cast<size_t>(rank)]] = w.r(static_cast<float>(v.density - epsilon) + span);
    }
  });
}

void TaskVectorMerge::draw_della_bits(TaskVector& v, double epsilon) {
  int64_t n = p_.count(), row = p_.shape.size() < 2 ? n : p_.row();
  v.bits.assign(static_cast<size_t>((n + 63) / 64), 0);
  CounterRandom random(p_.seed, purpose(v));
  // 64 rows at a time begin on a word of the bit set, so tasks never share one.
  auto group = [&](size_t index) {
    std::vector<float> probability(static_cast<size_t>(row));
    int64_t first = static_cast<int64_t>(index) * 64 * row, last = std::min(n, first + 64 * row);
    for (int64_t begin = first; begin < last; begin += row) {
      della_row(v, epsilon, begin, begin + row, probability.data());
      for (int64_t i = 0; i < row; ++i) {
        int64_t at = begin + i;
        float u = p_.switches.mt19937_masks ? p_.stream->torch_uniform()
                                            : random.uniform(static_cast<uint64_t>(at));
        if (u < probability[static_cast<size_t>(i)])
          v.bits[static_cast<size_t>(at >> 6)] |= uint64_t{1} << (at & 63);
      }
    }
  };
  auto groups = static_cast<size_t>((n + 64 * row - 1) / (64 * row));
  if (p_.switches.mt19937_masks)
    for (size_t i = 0; i < groups; ++i) group(i);  // one stream, drawn in order
  else
    parallel_for(groups, group);
}

// One factor per task vector: Σ|δ| / Σ|δ·mask|, or 1/density.
void TaskVectorMerge::rescale(TaskVector& v) {
  bool random = p_.method->sparsifier == Sparsifier::random || p_.method->sparsifier == Sparsifier::della;
  if (p_.switches.inverse_density && random) {
    if (v.density <= 0) return;
    v.rescaled = v.divided = true;
    v.ratio = static_cast<float>(v.density);
    return;
  }
  auto sums = sum_blocks(p_.count(), merge_block, 2, [&](int64_t begin, int64_t end, double* acc) {
    float* d = merge_scratch(1, end - begin);
    delta(v, begin, end, d);
    acc[0] = kernels().merge->absolute_sum(end - begin, d);
    mask(v, begin, end, d);
    acc[1] = kernels().merge->absolute_sum(end - begin, d);
  });
  double before = p_.q(sums[0]), after = p_.q(sums[1]);
  constexpr double smallest = 1e-7;
  if (before < smallest || after < smallest) return;
  v.rescaled = true;
  v.ratio = static_cast<float>(p_.q(before / after));
}

template <class W>
void TaskVectorMerge::combine(W w, int64_t n, const std::vector<float*>& d, const float* base,
                              float* out) const {
  float all_weights = 0;
  for (const TaskVector& v : vectors_) all_weights += v.weight;
  all_weights = w.r(all_weights);
  if (std::fabs(all_weights) < 1e-8f) all_weights = 1;
  for (int64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (const float* x : d) sum += x[i];
    float divisor = all_weights;
    if (p_.method->consensus) {
      bool positive = w.r(sum) >= 0;
      float kept = 0, weights = 0;
      for (size_t k = 0; k < d.size(); ++k) {
        float x = d[k][i];
        bool agrees = positive ? x > 0 : x < 0;
        kept += agrees ? x : 0.0f;
        weights += agrees ? vectors_[k].weight : 0.0f;
      }
      sum = kept;
      divisor = w.r(weights);
      if (divisor == 0) divisor = 1;
    }
    float mixed = w.r(sum);
    if (normalize_) mixed = w.r(mixed / divisor);
    if (lambda_ != 1) mixed = w.r(mixed * static_cast<float>(lambda_));
    out[i] = w.r(base[i] + mixed);
  }
}

// The same on the differences before their weights, in double: the vote on a sign must not hang on the
// rounding of a product.
void TaskVectorMerge::combine_exact(int64_t n, const std::vector<float*>& d, const float* base,
                                    float* out) const {
  double all_weights = 0;
  std::vector<double> weights;
  for (const TaskVector& v : vectors_) {
    weights.push_back(v.exact_weight);
    all_weights += v.exact_weight;
  }
  if (std::abs(all_weights) < 1e-8) all_weights = 1;
  kernels().merge->combine({.count = n,
                            .vectors = static_cast<int>(d.size()),
                            .d = d.data(),
                            .weights = weights.data(),
                            .consensus = p_.method->consensus,
                            .normalize = normalize_,
                            .all_weights = all_weights,
                            .lambda = lambda_,
                            .base = base,
                            .out = out});
}

void TaskVectorMerge::block(int64_t begin, int64_t end, float* out) const {
  int64_t n = end - begin;
  float* base = merge_scratch(0, n);
  p_.inputs[base_].read(begin, end, base);
  std::vector<float*> d;
  for (size_t k = 0; k < vectors_.size(); ++k) {
    const TaskVector& v = vectors_[k];
    float* x = merge_scratch(k + 1, n);
    difference(v, begin, end, base, x);
    mask(v, begin, end, x);
    if (v.rescaled && v.divided) {
      for (int64_t i = 0; i < n; ++i) x[i] = x[i] / v.ratio;
    } else if (v.rescaled) {
      kernels().merge->multiply(n, v.ratio, x);
    }
    if (v.rescaled) round_values(p_.working, n, x);
    if (p_.switches.round_every_operation) {
      kernels().merge->multiply(n, v.weight, x);
      round_values(p_.working, n, x);
    }
    d.push_back(x);
  }
  if (p_.switches.round_every_operation)
    with_rounding(p_.working, [&](auto w) { combine(w, n, d, base, out); });
  else
    combine_exact(n, d, base, out);
}

}  // namespace

int64_t stream_draws(const TensorProblem& p) {
  bool random = p.method->sparsifier == Sparsifier::random, della = p.method->sparsifier == Sparsifier::della;
  int64_t draws = 0;
  if (random || della)
    for (size_t input : p.others()) {
      double density = p.input_parameter(input, "density");
      if (density < 1 && (random || density > 0)) draws += p.count();
    }
  return draws;
}

Result<BlockFunction> prepare_task_vectors(const TensorProblem& p) {
  auto merge = std::make_shared<TaskVectorMerge>(p);
  merge->prepare();
  return BlockFunction([merge](int64_t begin, int64_t end, float* out) { merge->block(begin, end, out); });
}

}  // namespace bm
