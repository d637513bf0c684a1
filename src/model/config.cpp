#include "model/config.h"

#include <cmath>
#include <numbers>

#include "base/file.h"

namespace bm {
namespace {

constexpr const char* kSupported = "supported: MistralForCausalLM (mistral), LlamaForCausalLM (llama)";
constexpr int64_t kLargest = int64_t{1} << 31;  // of any size: products of two stay in 64 bits

Error impossible(std::string_view key, const std::string& value, const std::string& why) {
  return bad_input(std::string(key) + " is " + value + ", " + why, "Correct config.json.");
}

Result<int64_t> required_size(const Json& json, std::string_view key) {
  if (json[key].is_null())
    return bad_input("key " + std::string(key) + " is missing",
                     "config.json must hold it: is this the folder of a complete model?");
  BM_TRY(int64_t value, json.get_int(key));
  if (value < 1 || value > kLargest) return impossible(key, std::to_string(value), "it must be at least 1");
  return value;
}

Result<int64_t> optional_size(const Json& json, std::string_view key, int64_t otherwise) {
  if (json[key].is_null()) return otherwise;
  return required_size(json, key);
}

Result<double> positive(const Json& json, std::string_view key, double otherwise) {
  BM_TRY(double value, json.get_double(key, otherwise));
  if (!(value > 0) || !std::isfinite(value))
    return impossible(key, std::to_string(value), "it must be a positive number");
  return value;
}

Result<std::string> find_model_type(const Json& json) {
  std::string type, architecture;
  if (json["model_type"].is_string()) type = json["model_type"].as_string();
  if (json["architectures"].is_array() && json["architectures"].size() > 0 &&
      json["architectures"].items().front().is_string())
    architecture = json["architectures"].items().front().as_string();
  if (type.empty() && architecture.empty())
    return bad_input("neither model_type nor architectures says what model this is", kSupported);
  if (type.empty() && architecture == "MistralForCausalLM") type = "mistral";
  if (type.empty() && architecture == "LlamaForCausalLM") type = "llama";
  const std::string wanted = type == "mistral" ? "MistralForCausalLM"
                             : type == "llama" ? "LlamaForCausalLM"
                                               : "";
  if (wanted.empty())
    return bad_input("unknown architecture " + (architecture.empty() ? type : architecture), kSupported);
  if (!architecture.empty() && architecture != wanted)
    return bad_input("architecture " + architecture + " with model_type " + type + " is not one we run",
                     kSupported);
  return type;
}

Result<RopeScaling> llama3_scaling(const Json& json, RopeScaling scaling, int64_t max_positions) {
  scaling.kind = RopeScaling::Kind::llama3;
  for (const char* key : {"low_freq_factor", "high_freq_factor"})
    if (json[key].is_null()) return bad_input("rope type llama3 needs the key " + std::string(key));
  BM_TRY(scaling.low_frequency_factor, positive(json, "low_freq_factor", 1));
  BM_TRY(scaling.high_frequency_factor, positive(json, "high_freq_factor", 4));
  if (scaling.high_frequency_factor <= scaling.low_frequency_factor)
    return impossible("high_freq_factor", std::to_string(scaling.high_frequency_factor),
                      "it must be larger than low_freq_factor");
  BM_TRY(scaling.original_max_positions,
         optional_size(json, "original_max_position_embeddings", max_positions));
  return scaling;
}

// The object that holds rope_type and its factors: rope_parameters (transformers 5) or rope_scaling.
Status parse_rope(const Json& json, ModelConfig& config) {
  const bool new_style = json["rope_parameters"].is_object();
  const char* key = new_style ? "rope_parameters" : "rope_scaling";
  const Json& rope = json[key];
  if (!rope.is_null() && !rope.is_object())
    return impossible(key, rope.dump(), "it must be null or an object");
  BM_TRY(config.rope_theta, positive(json, "rope_theta", 1e4));
  if (rope.is_null()) return {};
  if (!rope["rope_theta"].is_null()) {
    BM_TRY(config.rope_theta, positive(rope, "rope_theta", 1e4));
  }
  BM_TRY(double partial, rope.get_double("partial_rotary_factor", 1.0));
  if (partial != 1.0) return bad_input("partial_rotary_factor other than 1 is not supported");
  std::string type = "default";
  for (const char* name : {"type", "rope_type"})  // the later, newer name wins
    if (!rope[name].is_null()) {
      BM_TRY(type, rope.get_string(name));
    }
  if (type == "default") return {};
  if (type != "linear" && type != "llama3")
    return bad_input("rope type " + json_quote(type) + " is not supported",
                     "Supported: default, linear, llama3.");
  if (rope["factor"].is_null()) return bad_input("rope type " + type + " needs the key factor").in(key);
  BM_TRY(config.rope_scaling.factor, positive(rope, "factor", 1));
  config.rope_scaling.kind = RopeScaling::Kind::linear;
  if (type == "llama3") {
    BM_TRY(config.rope_scaling, llama3_scaling(rope, config.rope_scaling, config.max_positions).in(key));
  }
  return {};
}

Status parse_heads(const Json& json, ModelConfig& config) {
  BM_TRY(config.heads, required_size(json, "num_attention_heads"));
  // Absent: MistralConfig says 8. Null, and LlamaConfig: as many as query heads.
  const bool eight = config.model_type == "mistral" && !json.contains("num_key_value_heads");
  BM_TRY(config.kv_heads, optional_size(json, "num_key_value_heads", eight ? 8 : config.heads));
  if (config.heads % config.kv_heads != 0)
    return impossible("num_key_value_heads", std::to_string(config.kv_heads),
                      "it must divide num_attention_heads (" + std::to_string(config.heads) + ")");
  if (json["head_dim"].is_null() && config.hidden % config.heads != 0)
    return impossible("num_attention_heads", std::to_string(config.heads),
                      "without head_dim it must divide hidden_size (" + std::to_string(config.hidden) + ")");
  BM_TRY(config.head_dim, optional_size(json, "head_dim", config.hidden / config.heads));
  if (config.head_dim % 2 != 0)
    return impossible("head_dim", std::to_string(config.head_dim), "rotary embeddings need an even number");
  return {};
}

Status parse_window(const Json& json, ModelConfig& config) {
  if (config.model_type != "mistral") return {};  // Llama has no window, whatever its file says
  if (!json.contains("sliding_window")) {
    config.sliding_window = 4096;
    return {};
  }
  if (json["sliding_window"].is_null()) return {};
  BM_TRY(config.sliding_window, required_size(json, "sliding_window"));
  return {};
}

Status parse_token_ids(const Json& json, ModelConfig& config) {
  // Present and null means none; absent means the classes' defaults, 1 and 2.
  config.bos_id = json.contains("bos_token_id") ? -1 : 1;
  BM_TRY(config.bos_id, json.get_int("bos_token_id", config.bos_id));
  const Json& eos = json["eos_token_id"];
  if (eos.is_array()) {
    for (const Json& item : eos.items()) {
      if (!item.is_integer())
        return impossible("eos_token_id", eos.dump(), "it must be a number or a list of numbers");
      config.eos_ids.push_back(item.as_int());
    }
  } else if (!eos.is_null()) {
    BM_TRY(int64_t id, json.get_int("eos_token_id"));
    config.eos_ids.push_back(id);
  } else if (!json.contains("eos_token_id")) {
    config.eos_ids.push_back(2);
  }
  return {};
}

Status parse_rest(const Json& json, ModelConfig& config) {
  BM_TRY(config.rms_epsilon, positive(json, "rms_norm_eps", 1e-6));
  BM_TRY(config.tied_embeddings, json.get_bool("tie_word_embeddings", false));
  if (config.model_type == "llama") {
    BM_TRY(config.attention_bias, json.get_bool("attention_bias", false));
    BM_TRY(config.mlp_bias, json.get_bool("mlp_bias", false));
  }
  BM_TRY(std::string activation, json.get_string("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish")
    return bad_input("hidden_act " + json_quote(activation) + " is not supported", "Supported: silu.");
  BM_TRY(config.stored_dtype, json.get_string(json["dtype"].is_null() ? "torch_dtype" : "dtype", ""));
  if (!json["quantization_config"].is_null() && !json["quantization_config"].is_object())
    return impossible("quantization_config", json["quantization_config"].dump(), "it must be an object");
  config.quantization = json["quantization_config"];
  return {};
}

}  // namespace

Result<ModelConfig> parse_model_config(const Json& json) {
  if (!json.is_object()) return bad_input("a model's configuration must be a JSON object");
  ModelConfig config;
  BM_TRY(config.model_type, find_model_type(json));
  BM_TRY(config.vocab, required_size(json, "vocab_size"));
  BM_TRY(config.hidden, required_size(json, "hidden_size"));
  BM_TRY(config.intermediate, required_size(json, "intermediate_size"));
  BM_TRY(config.layers, required_size(json, "num_hidden_layers"));
  BM_TRY(config.max_positions,
         optional_size(json, "max_position_embeddings", config.model_type == "mistral" ? 131072 : 2048));
  BM_CHECK_OK(parse_heads(json, config));
  BM_CHECK_OK(parse_rope(json, config));
  BM_CHECK_OK(parse_window(json, config));
  BM_CHECK_OK(parse_token_ids(json, config));
  BM_CHECK_OK(parse_rest(json, config));
  config.json = json;
  return config;
}

Result<ModelConfig> read_model_config(const std::string& folder) {
  const std::string path = path_join(folder, "config.json");
  if (!exists(path))
    return bad_input("there is no config.json", "Give the folder of a model as transformers saves it.")
        .in(folder);
  BM_TRY(Json json, read_json_file(path, {.reject_duplicate_keys = false}).in(path));
  return parse_model_config(json).in(path);
}

std::vector<double> rope_inverse_frequencies(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  std::vector<double> result(static_cast<size_t>(config.head_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    double f =
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (scaling.kind == RopeScaling::Kind::linear) f /= scaling.factor;
    if (scaling.kind == RopeScaling::Kind::llama3) {
      const double wavelength = 2 * std::numbers::pi / f;
      const double old = static_cast<double>(scaling.original_max_positions);
      const double low = scaling.low_frequency_factor, high = scaling.high_frequency_factor;
      if (wavelength > old / low) {
        f /= scaling.factor;
      } else if (wavelength >= old / high) {
        const double smooth = (old / wavelength - low) / (high - low);
        f = (1 - smooth) * f / scaling.factor + smooth * f;
      }
    }
    result[i] = f;
  }
  return result;
}

}  // namespace bm
