// config.json of Mistral and Llama models, both styles (transformers 4 and 5), defaults by class.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct RopeScaling {
  enum class Kind : uint8_t { none, linear, llama3 };
  Kind kind = Kind::none;
  double factor = 1;
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  int64_t original_max_positions = 8192;                       // llama3
};

struct ModelConfig {
  std::string model_type;  // "mistral" or "llama"
  int64_t vocab = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t max_positions = 0;
  double rms_epsilon = 1e-6, rope_theta = 1e4;
  RopeScaling rope_scaling;
  int64_t sliding_window = 0;  // keys a query sees, itself included; 0 = no window
  bool tied_embeddings = false, attention_bias = false, mlp_bias = false;
  int64_t bos_id = -1;           // -1 = none
  std::vector<int64_t> eos_ids;  // may be empty
  std::string stored_dtype;      // "bfloat16", …; "" when the file does not say
  Json quantization;             // quantization_config, or null
  Json json;                     // as read; unknown keys are kept when it is written again

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
};

// Errors name the missing or impossible key and the architectures supported. The defaults of absent keys
// are those of transformers' MistralConfig and LlamaConfig, which differ; the sizes have no defaults.
Result<ModelConfig> parse_model_config(const Json& json);
// Reads FOLDER/config.json; the error names the file.
Result<ModelConfig> read_model_config(const std::string& folder);

// Rotary frequencies [head_dim / 2] with the configuration's scaling, in double precision:
// theta^(-2i/d), then linear or llama3 scaling (transformers modeling_rope_utils.py).
std::vector<double> rope_inverse_frequencies(const ModelConfig& config);

}  // namespace bm
