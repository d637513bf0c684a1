// The output folder: which tensors it holds, its config.json and its model card.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/hf_folder.h"
#include "quantization/awq_options.h"
#include "quantization/source.h"
#include "quantization/targets.h"

namespace bm {

// Values of a weight before it is encoded or written: those of the source, changed by a search.
using WeightValues = std::function<Result<std::vector<float>>(const WeightSpec&)>;

struct FolderPlan {
  const QuantizeSource& source;
  const QuantizeOptions& options;
  QuantizeMethod method;
  std::vector<QuantizeTarget> targets;
  AwqGroupOptions groups;      // AWQ files
  bool peer_defaults = false;  // bnb_4bit_compute_dtype float32 whatever the model
  WeightValues changed;        // empty: the source's values; else asked for every weight `is_changed` names
  std::function<bool(const WeightSpec&)> is_changed;
};

Result<std::vector<OutputTensor>> folder_tensors(const FolderPlan& plan);
// The source's config.json with quantization_config, and torch_dtype after a cast.
Result<Json> folder_config(const FolderPlan& plan);
// Copies tokenizer and generation files of a source folder; do_sample as AutoAWQ sets it if asked.
Status copy_side_files(const std::string& source, const std::string& folder, bool sets_do_sample);

struct ModelCard {
  std::string model, method, calibration, calibration_licence, mode;
  const QuantizeReport& report;
  const QuantizeOptions& options;
};
std::string model_card(const ModelCard& card);

}  // namespace bm
