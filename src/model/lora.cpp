#include "model/lora.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <regex>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"

namespace bm {
namespace {

Status check_options(const LoraOptions& o) {
  if (o.rank < 1) return bad_input("--lora-rank must be 1 or more");
  if (!std::isfinite(o.alpha) || o.alpha == 0) return bad_input("--lora-alpha must be a number other than 0");
  if (!(o.dropout >= 0 && o.dropout < 1)) return bad_input("--lora-dropout must be in [0, 1)");
  if (o.dora && o.dropout > 0)
    return bad_input("--dora and --lora-dropout together are not supported", "Give --lora-dropout 0");
  return {};
}

bool is_suffix(std::string_view name, std::string_view suffix) {
  return name == suffix || ends_with(name, "." + std::string(suffix));
}

bool is_expression(const std::vector<std::string>& words) {
  return words.size() == 1 && words[0].find_first_of("*+?()[]|^$\\") != std::string::npos;
}

std::string linear_names(const std::vector<WeightSpec>& specs) {
  std::set<std::string> kinds;
  for (const WeightSpec& spec : specs)
    if (spec.linear && spec.module != "lm_head") kinds.insert(spec.module.substr(spec.module.rfind('.') + 1));
  std::string text;
  for (const std::string& kind : kinds) text += (text.empty() ? "" : ", ") + kind;
  return text;
}

// Which linears the words name; the head is none of them, as in PEFT's "all-linear".
Result<std::vector<WeightSpec>> matching(const std::vector<WeightSpec>& specs,
                                         const std::vector<std::string>& words) {
  if (words.empty()) return bad_input("--targets is empty", "all-linear adapts every linear of the layers");
  std::vector<WeightSpec> found;
  std::vector<bool> used(words.size(), false);
  const bool all = words.size() == 1 && words[0] == "all-linear";
  std::optional<std::regex> expression;
  if (is_expression(words)) {
    try {
      expression.emplace(words[0]);
    } catch (const std::regex_error&) {
      return bad_input("--targets " + words[0] + " is no regular expression we can read");
    }
  }
  for (const WeightSpec& spec : specs) {
    if (!spec.linear) continue;
    bool wanted = all && spec.module != "lm_head";
    if (expression) wanted = std::regex_match(spec.module, *expression);
    for (size_t i = 0; i < words.size() && !all && !expression; ++i)
      if (is_suffix(spec.module, words[i])) wanted = used[i] = true;
    if (!wanted) continue;
    if (spec.module == "lm_head")
      return bad_input("--targets names lm_head, which cannot be adapted",
                       "Train it whole with --modules-to-save lm_head");
    found.push_back(spec);
  }
  for (size_t i = 0; i < words.size() && !all && !expression; ++i)
    if (!used[i])
      return bad_input("--targets: no linear is called " + words[i], "There are " + linear_names(specs));
  if (found.empty())
    return bad_input("--targets " + words[0] + " matches no linear", "There are " + linear_names(specs));
  return found;
}

Result<std::vector<WeightSpec>> saved_specs(const ModelConfig& config, const std::vector<WeightSpec>& specs,
                                            const std::vector<std::string>& words) {
  std::vector<WeightSpec> saved;
  for (const std::string& word : words) {
    size_t before = saved.size();
    if (word == "lm_head" && config.tied_embeddings)
      return bad_input("--modules-to-save lm_head: this model's head is its embedding",
                       "Give embed_tokens, which trains both");
    for (const WeightSpec& spec : specs)
      if (is_suffix(spec.module, word)) saved.push_back(spec);
    if (saved.size() == before)
      return bad_input(
          "--modules-to-save: the model has no module " + word,
          "There are embed_tokens, norm, input_layernorm, post_attention_layernorm, lm_head and " +
              linear_names(specs));
  }
  return saved;
}

bool contains(const std::vector<WeightSpec>& specs, const std::string& module) {
  return std::any_of(specs.begin(), specs.end(), [&](const WeightSpec& s) { return s.module == module; });
}

}  // namespace

Result<LoraPlan> plan_lora(const ModelConfig& config, const LoraOptions& options) {
  BM_CHECK_OK(check_options(options));
  const std::vector<WeightSpec> specs = expected_weights(config);
  LoraPlan plan;
  plan.options = options;
  plan.tied_embeddings = config.tied_embeddings;
  BM_TRY(plan.saved, saved_specs(config, specs, options.modules_to_save));
  BM_TRY(auto found, matching(specs, options.targets));
  const auto rank = static_cast<double>(options.rank);
  for (const WeightSpec& spec : found) {
    if (contains(plan.saved, spec.module)) continue;  // trained whole
    if (options.rank > std::min(spec.shape[0], spec.shape[1]))
      return bad_input("--lora-rank " + std::to_string(options.rank) + " is larger than a side of " +
                       spec.module + ", " + shape_text(spec.shape));
    plan.targets.push_back(
        {spec, options.rank, options.alpha / (options.rank_stabilized ? std::sqrt(rank) : rank)});
  }
  return plan;
}

Result<LoraPlan> plan_lora(const ModelConfig& config, const Adapter& adapter, const LoraOptions& options) {
  LoraPlan plan;
  plan.options = options;
  plan.tied_embeddings = config.tied_embeddings;
  const Json& json = adapter.config();
  BM_TRY(plan.options.rank, json.get_int("r", 8));
  BM_TRY(plan.options.alpha, json.get_double("lora_alpha", 8));
  BM_TRY(plan.options.rank_stabilized, json.get_bool("use_rslora", false));
  BM_TRY(plan.options.dora, json.get_bool("use_dora", false));
  BM_CHECK_OK(check_options(plan.options));
  for (const WeightSpec& spec : expected_weights(config)) {
    const AdapterModule* module = spec.linear ? adapter.find(spec.module) : nullptr;
    if (module) plan.targets.push_back({spec, module->rank, module->scale});
    if (adapter.replaced().contains(spec.name)) plan.saved.push_back(spec);
  }
  plan.start = adapter;
  return plan;
}

std::vector<float> first_lora_a(const LoraTarget& target, uint64_t seed) {
  const int64_t inputs = target.spec.shape[1];
  const CounterRandom random(seed, hash64(target.spec.module, hash64("lora_A")));
  const float bound = 1.0f / std::sqrt(static_cast<float>(inputs));
  std::vector<float> values(static_cast<size_t>(target.rank * inputs));
  for (size_t i = 0; i < values.size(); ++i) values[i] = (2 * random.uniform(i) - 1) * bound;
  return values;
}

Json adapter_config_json(const LoraPlan& plan, const std::string& base_name) {
  if (plan.start) {
    Json config = plan.start->config();
    config.set("base_model_name_or_path", base_name);
    config.set("inference_mode", true);
    config.set("lora_dropout", plan.options.dropout);
    return config;
  }
  const LoraOptions& o = plan.options;
  Json targets = Json::array();
  if (is_expression(o.targets)) {
    targets = Json(o.targets[0]);
  } else {
    // Suffixes that name exactly the adapted modules, as PEFT itself writes "all-linear".
    std::set<std::string> names;
    if (o.targets.size() == 1 && o.targets[0] == "all-linear") {
      for (const LoraTarget& t : plan.targets)
        names.insert(t.spec.module.substr(t.spec.module.rfind('.') + 1));
    } else {
      names.insert(o.targets.begin(), o.targets.end());
    }
    for (const std::string& name : names) targets.push_back(name);
  }
  Json saved;
  if (!o.modules_to_save.empty()) {
    saved = Json::array();
    for (const std::string& word : o.modules_to_save) saved.push_back(word);
  }
  return Json::object({{"alpha_pattern", Json::object()},
                       {"auto_mapping", Json()},
                       {"base_model_name_or_path", base_name},
                       {"bias", "none"},
                       {"ensure_weight_tying", plan.tied_embeddings && !plan.saved.empty()},
                       {"exclude_modules", Json()},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true},
                       {"init_lora_weights", true},
                       {"layer_replication", Json()},
                       {"layers_pattern", Json()},
                       {"layers_to_transform", Json()},
                       {"lora_alpha", o.alpha},
                       {"lora_bias", false},
                       {"lora_dropout", o.dropout},
                       {"modules_to_save", saved},
                       {"peft_type", "LORA"},
                       {"r", o.rank},
                       {"rank_pattern", Json::object()},
                       {"revision", Json()},
                       {"target_modules", targets},
                       {"task_type", "CAUSAL_LM"},
                       {"use_dora", o.dora},
                       {"use_rslora", o.rank_stabilized}});
}

}  // namespace bm
