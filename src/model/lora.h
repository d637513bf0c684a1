// What a LoRA fine-tuning adapts, and with which numbers. Names and rules as PEFT's LoraConfig.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/adapter.h"
#include "model/weight_source.h"

namespace bm {

struct LoraOptions {
  int64_t rank = 16;
  double alpha = 16;
  double dropout = 0.05;
  bool rank_stabilized = false;  // scale alpha / √rank instead of alpha / rank
  bool dora = false;             // a magnitude per output beside the matrices
  // Module names by suffix ("q_proj", "self_attn.q_proj"); "all-linear"; or one regular expression, which
  // the whole name must match.
  std::vector<std::string> targets = {"all-linear"};
  std::vector<std::string> modules_to_save;  // trained whole: "lm_head", "embed_tokens", "norm"
  uint64_t seed = 0;                         // of A's first values and of dropout
};

// One adapted linear.
struct LoraTarget {
  WeightSpec spec;
  int64_t rank = 0;
  double scale = 1;
};

struct LoraPlan {
  LoraOptions options;
  std::vector<LoraTarget> targets;
  std::vector<WeightSpec> saved;  // modules_to_save
  bool tied_embeddings = false;   // a saved embedding is the head too
  std::optional<Adapter> start;   // an adapter that is trained further
};

// New adapter. bad_input: rank, alpha or dropout out of range, a target that names no linear (the message
// lists those there are), a regular expression that cannot be read, a module to save that is not there.
Result<LoraPlan> plan_lora(const ModelConfig& config, const LoraOptions& options);
// Goes on with an adapter: its ranks, scales, targets and saved modules; of the options only dropout and
// seed.
Result<LoraPlan> plan_lora(const ModelConfig& config, const Adapter& adapter, const LoraOptions& options);

// First values of A [rank, inputs]: uniform in ±1/√inputs (PEFT's kaiming_uniform with a = √5), a pure
// function of (seed, module, index). B starts as zeros.
std::vector<float> first_lora_a(const LoraTarget& target, uint64_t seed);

// adapter_config.json as PEFT writes it.
Json adapter_config_json(const LoraPlan& plan, const std::string& base_name);

}  // namespace bm
