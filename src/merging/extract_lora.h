// merge extract-lora: the difference of two models as a PEFT adapter. Each linear layer's difference is cut
// to its largest singular values; what is no matrix (norms), and the embeddings, is stored whole where it
// differs.
#pragma once

#include <string>

#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct ExtractLoraOptions {
  int64_t rank = 32;
  bool distribute_scale = true;      // singular values in equal parts to A and B, else all in B
  bool skip_undecomposable = false;  // leave out what is no linear layer
  std::string include_regex;         // only modules whose name it finds; "" = all
  std::string exclude_regex;         // none whose name it finds; "" = none left out
  std::string dtype = "float32";     // of the adapter
};
void describe(Fields& fields, ExtractLoraOptions& options);

// OUT gets adapter_config.json, adapter_model.safetensors, README.md and manifest.json, whose results hold
// for each module its rank and the share of the difference's norm that is lost. bad_input: models that do not
// fit each other.
Result<Json> extract_lora(const std::string& model, const std::string& base, const std::string& out,
                          const ExtractLoraOptions& options, const CommonOptions& common);

}  // namespace bm
