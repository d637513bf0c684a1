// How far models are from a reference: perplexity of both, Kullback-Leibler divergence of the next-token
// distributions (in nats, KL(reference ‖ model), over every scored position), agreement of the likeliest
// token, and the distance of the weights.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"
#include "evaluation/perplexity.h"
#include "model/model.h"

namespace bm {

struct CompareOptions {
  std::string reference;            // model to measure against
  std::vector<std::string> models;  // models to measure
  std::vector<std::string> names;   // their names in results, in order; default: the paths
  std::string out;                  // folder for compare.json; "" = none
  std::string data;                 // as PerplexityOptions; empty: weights only
  int64_t window = 0;               // as PerplexityOptions; windows do not overlap
  std::string arithmetic = "auto";
  bool weights = true;  // compare the weights too
};
void describe(Fields& fields, CompareOptions& options);

struct DistributionComparison {
  int64_t positions = 0;
  double reference_nll = 0, model_nll = 0;    // mean −ln p, exact average
  double kl_mean = 0, kl_99 = 0, kl_max = 0;  // nats
  double top_agreement = 0;                   // share of positions
};
// Both models run in step over segments of a window, so that no more than 64 rows of logits of each are
// held. bad_input: different vocabularies, ids outside them, nothing to compare.
Result<DistributionComparison> compare_distributions(const Model& reference, const Model& model,
                                                     std::span<const TextIds> documents, int64_t window);

struct WeightComparison {
  int64_t tensors = 0, parameters = 0, changed = 0;
  double relative_error = 0;  // √(Σ(w − r)² / Σr²) over all compared weights
  double max_difference = 0;
  std::string worst_tensor;  // largest relative error of its own
  double worst_relative_error = 0;
  std::vector<std::string> skipped;  // in one only, or of another shape
};
// The exact stored values (quantized ones decoded), tensor by tensor.
Result<WeightComparison> compare_weights(const std::string& reference, const std::string& model);

struct ModelComparison {
  std::string name;
  bool has_distributions = false, has_weights = false;
  DistributionComparison distributions;
  WeightComparison weights;
  uint64_t weight_bytes = 0;
};
// One model at a time beside the reference. limit: documents.
Result<std::vector<ModelComparison>> compare_models(const CompareOptions& options, int64_t limit);

struct CompareReport {
  bool already_complete = false;
  std::vector<ModelComparison> models;  // empty when it was complete before
};
// The stage: compares, and writes OUT/compare.json when there is an output folder.
Result<CompareReport> compare(const CompareOptions& options, const CommonOptions& common);
Json comparison_json(const std::string& reference, std::span<const ModelComparison> comparisons);

}  // namespace bm
