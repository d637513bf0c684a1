// What a merge will do, tensor by tensor: parameters after gradients and filters, inputs, types,
// warnings. Made before any weight is read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/stage.h"
#include "merging/arithmetic.h"
#include "merging/config.h"
#include "merging/models.h"
#include "merging/vocabulary.h"

namespace bm {

// What the mode decides (architecture.md, rule 4), resolved once.
struct MergeSwitches {
  ArithmeticSwitches arithmetic;
  double post_position = 0;        // gradient position of the final norm and lm_head
  bool refuse_unknown = true;      // misspelt keys are errors (else warnings)
  bool refuse_senseless = true;    // densities outside [0, 1], linear weights that sum to 0
  bool untie_written_head = true;  // config's tie_word_embeddings follows the file
};
MergeSwitches merge_switches(Mode mode);

struct PlannedInput {
  size_t model = 0;     // index into MergePlan::models
  std::string nominal;  // the name the architecture gives it: filters and ordering see this one
  std::string stored;   // the tensor read (a tied model's embedding serves as lm_head)
};

struct PlannedTensor {
  std::string name;
  bool vocabulary = false;  // rows are tokens
  std::vector<PlannedInput> inputs;
  int base = -1;  // index into inputs
  std::map<std::string, double> parameters;
  std::vector<std::map<std::string, double>> per_input;
  Shape shape;
  DType working = DType::f32;  // type the arithmetic is stated in
  DType written = DType::f32;
  uint64_t bytes() const { return static_cast<uint64_t>(element_count(shape)) * dtype_bits(written) / 8; }
};

struct Lint {
  std::string text, cure;
};

struct MergePlan {
  const MethodInfo* method = nullptr;
  MergeSwitches switches;
  std::vector<LoadedModel> models;
  size_t donor = 0;  // whose config, tokenizer and side files are taken
  std::vector<PlannedTensor>
      tensors;  // in the order of execution (also that of random draws and of the files)
  int64_t layers = 0;
  std::optional<Vocabulary> vocabulary;  // set: embeddings and lm_head are brought to it first
  std::vector<Lint> lints;
  uint64_t written_bytes() const;
  uint64_t read_bytes() const;
};

struct PlanRequest {
  MergeSwitches switches;
  std::map<std::string, std::string> model_paths;                      // names in the YAML → folders
  std::map<std::string, std::shared_ptr<const PlannedModel>> planned;  // results of earlier configurations
  bool allow_crimes = false;                                           // models of different architectures
  bool truncate_embeddings = false;
};

// bad_input for everything that is wrong with the configuration or does not fit the models.
Result<MergePlan> plan_merge(const MergeConfiguration& configuration, const PlanRequest& request);

// The result as a later configuration sees it before it is made.
std::shared_ptr<const PlannedModel> planned_result(const MergeConfiguration& configuration,
                                                   const MergePlan& plan);

// Warnings that need no weights: filters that never apply, weights without effect, ... (lints.cpp)
void add_lints(const MergeConfiguration& configuration, MergePlan& plan);

}  // namespace bm
