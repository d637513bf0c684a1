// PEFT LoRA adapters: adapter_config.json and adapter_model.safetensors (or .bin).
//
//   W' = W + s·B·A          A [r, in], B [out, r], s = lora_alpha / r, or lora_alpha / √r (use_rslora)
//   DoRA: W' = m ⊙ (W + s·B·A) / ‖row of (W + s·B·A)‖₂
//   rank_pattern, alpha_pattern: the first key K with (.*\.)?(K)$ matching the module's name wins.
//
// Source: peft/tuners/lora, golden/lora/SOURCE.txt, semantics.md 1.4 and part 0, items 7-9.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace bm {

struct AdapterModule {
  int64_t rank = 0, outputs = 0, inputs = 0;
  double scale = 1;              // s
  std::vector<float> a, b;       // [rank, inputs], [outputs, rank]
  std::vector<float> magnitude;  // DoRA's m [outputs], else empty
};

class Adapter {
 public:
  // bad_input: no LoRA, an option that changes the formula and is not supported (named), A without B,
  // rank other than the configuration's, unknown tensor.
  static Result<Adapter> open(const std::string& folder);

  const std::string& path() const { return path_; }
  const Json& config() const { return config_; }
  // The base model as the file names it: relative to the adapter's folder, the one around it, or the
  // working directory;
  // "" when it cannot be found on disk. base_name is the text of the file.
  std::string find_base() const;
  const std::string& base_name() const { return base_name_; }
  // What finetune wrote about the base's weights (base_fingerprint.h); "" in other folders.
  const std::string& base_fingerprint() const { return base_fingerprint_; }

  // By module name of the base model: "model.layers.0.self_attn.q_proj".
  const std::map<std::string, AdapterModule, std::less<>>& modules() const { return modules_; }
  const AdapterModule* find(std::string_view module) const;
  // Whole tensors the adapter brings along (modules_to_save, biases), by tensor name of the base.
  const std::map<std::string, TensorView, std::less<>>& replaced() const { return replaced_; }

 private:
  Status read_config();
  Status read_tensors();
  Status read_tensor(const std::string& name, const TensorView& view);
  Status finish_modules();
  std::string path_, base_name_, base_fingerprint_;
  Json config_;
  std::map<std::string, AdapterModule, std::less<>> modules_;
  std::map<std::string, TensorView, std::less<>> replaced_;
};

// s·B·A [outputs, inputs]: the product accumulated in order of the rank, then scaled.
std::vector<float> adapter_delta(const AdapterModule& module);
// weight [outputs, inputs] in place, all in T.
void apply_adapter(const AdapterModule& module, std::vector<float>& weight);
void apply_adapter(const AdapterModule& module, std::vector<double>& weight);

// True when file names this folder as an adapter (adapter_config.json).
bool is_adapter_folder(const std::string& path);

}  // namespace bm
