// The tensors of the supported decoder architectures (Mistral, Llama and those with the same names).
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct WeightName {
  std::string name;
  bool optional = false;    // may be absent from every model
  bool vocabulary = false;  // rows are tokens
  std::string tied;         // read this one where `name` is absent (lm_head of a tied model)
};

// bad_input unless config names a known architecture.
Status check_merge_architecture(const Json& config);
std::vector<WeightName> weights_before_layers();
std::vector<WeightName> weights_of_layer(int64_t layer);
std::vector<WeightName> weights_after_layers();

}  // namespace bm
