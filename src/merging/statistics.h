// What a merge did, by option --statistics: sizes and angles of the differences from the base, per tensor and
// per layer. The base is the merge's, or the first model listed where the method has none.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "merging/arithmetic.h"

namespace bm {

// Sums over one tensor, filled block by block while it is written.
class TensorStatistics {
 public:
  explicit TensorStatistics(const TensorProblem& problem);
  // merged: elements begin..end as written, as float32. Thread-safe, one call per block of merge_block.
  void add(int64_t begin, int64_t end, const float* merged);
  // {"tensor", "elements", "base_norm", "result_norm" (of merged - base), "kept" (share of elements that
  // differ from the base), "sign_agreement" (share of the elements moved by two models or more where all of
  // them go the same way; null when there are none), "models": [{"model", "delta_norm", "relative", "cosine"
  // (of its difference and the result's; null when one is 0)}], "pairs": [{"models", "cosine"}]}
  Json json() const;

 private:
  const TensorProblem& problem_;
  size_t base_ = 0;
  std::vector<size_t> others_;
  size_t width_ = 0;
  std::vector<double> partial_;  // [block][width_]
};

// The same keys over all tensors of a layer ("model.layers.0", or the tensor's own name), in order.
Json layer_statistics(const std::vector<Json>& tensors);
// Markdown for the model card.
std::string statistics_table(const Json& layers);

}  // namespace bm
