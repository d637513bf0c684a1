#include "quantization/awq_clip.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "ops/linear.h"
#include "quantization/awq_math.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }
constexpr int64_t kSteps = 10;  // int(max_shrink 0.5 · n_grid 20)
constexpr float kWorst = 1e9f;  // an error must be below this to count

// One weight group of all outputs: weights [rows, group], Gram matrix of its inputs, tokens it stands for.
struct ClipGroup {
  std::vector<float> weights, gram;
  int64_t rows = 0, group = 0, tokens = 0;
};

void search_group(const ClipGroup& g, const AwqSearchOptions& options, float* clip_max, float* abs_max,
                  int64_t stride) {
  const AwqGroupOptions groups = options.search_groups(g.group);
  std::vector<float> lowest(at(g.rows), round_value(options.precision, kWorst));
  std::vector<float> top(at(g.rows)), difference(g.weights.size()), product(g.weights.size());
  for (int64_t r = 0; r < g.rows; ++r) {
    float most = 0;
    for (int64_t c = 0; c < g.group; ++c) most = std::max(most, std::fabs(g.weights[at(r * g.group + c)]));
    top[at(r)] = most;
    clip_max[r * stride] = abs_max[r * stride] = most;
  }
  for (int64_t step = 0; step < kSteps; ++step) {
    auto share = static_cast<float>(1.0 - static_cast<double>(step) / 20.0);
    for (int64_t r = 0; r < g.rows; ++r) {
      const float* w = g.weights.data() + r * g.group;
      float* d = difference.data() + r * g.group;
      float limit = round_value(options.precision, top[at(r)] * share);
      for (int64_t c = 0; c < g.group; ++c) d[c] = std::clamp(w[c], -limit, limit);
      awq_pseudo_quantize_groups(d, g.group, groups);
      for (int64_t c = 0; c < g.group; ++c) d[c] -= w[c];
    }
    sgemm(Transpose::no, Transpose::no, g.rows, g.group, g.group, difference.data(), g.group, g.gram.data(),
          g.group, product.data(), g.group, false);
    for (int64_t r = 0; r < g.rows; ++r) {
      double sum = 0;
      for (int64_t i = r * g.group; i < (r + 1) * g.group; ++i)
        sum += static_cast<double>(difference[at(i)]) * static_cast<double>(product[at(i)]);
      float error = round_value(options.precision, static_cast<float>(sum / static_cast<double>(g.tokens)));
      if (!(error < lowest[at(r)])) continue;
      lowest[at(r)] = error;
      clip_max[r * stride] = round_value(options.precision, top[at(r)] * share);
    }
  }
}

}  // namespace

AwqClip search_clip(std::string_view module, const LinearF32& linear, const std::vector<float>& x,
                    const AwqSearchOptions& options) {
  int64_t rows = linear.rows, columns = linear.columns, group = options.group_of(columns),
          count = columns / group;
  int64_t tokens = static_cast<int64_t>(x.size()) / columns;
  int64_t step = options.switches.all_tokens_in_clip ? 1 : clip_token_stride(tokens);
  int64_t used = (tokens + step - 1) / step;
  AwqClip clip;
  clip.module = module;
  clip.groups = count;
  clip.clip_max.resize(at(rows * count));
  clip.group_abs_max.resize(at(rows * count));
  parallel_for(at(count), [&](size_t index) {
    auto g = static_cast<int64_t>(index);
    ClipGroup part;
    part.rows = rows;
    part.group = group;
    part.tokens = used;
    part.weights.resize(at(rows * group));
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(linear.weight.data() + r * columns + g * group, group, part.weights.data() + r * group);
    part.gram = gram_matrix(x.data() + g * group, used, group, columns * step);
    search_group(part, options, clip.clip_max.data() + g, clip.group_abs_max.data() + g, count);
  });
  return clip;
}

}  // namespace bm
