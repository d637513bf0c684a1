#include "merging/architecture.h"

#include <algorithm>

namespace bm {
namespace {

const std::vector<std::string> kKnown = {"MistralForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"};

}  // namespace

Status check_merge_architecture(const Json& config) {
  if (!config.is_object())
    return bad_input("has no config.json", "A model folder holds config.json beside the weights.");
  const Json& list = config["architectures"];
  std::string name =
      list.is_array() && list.size() > 0 && list[size_t{0}].is_string() ? list[size_t{0}].as_string() : "";
  if (name.empty() && config["model_type"].is_string()) {
    const std::string& type = config["model_type"].as_string();
    if (type == "mistral" || type == "llama" || type == "qwen2") return {};
    name = type;
  }
  if (std::find(kKnown.begin(), kKnown.end(), name) != kKnown.end()) return {};
  return bad_input("unknown architecture \"" + name + "\"",
                   "Supported are Mistral, Llama and Qwen2 (…ForCausalLM).")
      .in("config.json");
}

std::vector<WeightName> weights_before_layers() { return {{"model.embed_tokens.weight", false, true, ""}}; }

std::vector<WeightName> weights_of_layer(int64_t layer) {
  std::string prefix = "model.layers." + std::to_string(layer) + ".";
  std::vector<WeightName> out = {{prefix + "input_layernorm.weight", false, false, ""}};
  for (const char* part : {"q", "k", "v", "o"}) {
    out.push_back({prefix + "self_attn." + part + "_proj.weight", false, false, ""});
    out.push_back({prefix + "self_attn." + part + "_proj.bias", true, false, ""});
  }
  out.push_back({prefix + "post_attention_layernorm.weight", false, false, ""});
  for (const char* part : {"up", "gate", "down"}) {
    out.push_back({prefix + "mlp." + part + "_proj.weight", false, false, ""});
    out.push_back({prefix + "mlp." + part + "_proj.bias", true, false, ""});
  }
  return out;
}

std::vector<WeightName> weights_after_layers() {
  return {{"model.norm.weight", false, false, ""},
          {"lm_head.weight", true, true, "model.embed_tokens.weight"}};
}

}  // namespace bm
