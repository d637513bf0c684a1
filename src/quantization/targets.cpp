#include "quantization/targets.h"

#include <algorithm>
#include <map>

#include "quantization/gguf_types.h"
#include "tensor/awq_layout.h"
#include "tensor/nf4_blocks.h"

namespace bm {
namespace {

std::string misfit_of(QuantizeMethod method, int64_t rows, int64_t columns, int64_t group) {
  if (group == 0) group = columns;
  if (is_awq_file(method)) return awq_misfit(awq_layout_of(method), rows, columns, group);
  if (method == QuantizeMethod::w4a16 && columns % group != 0)
    return "its " + std::to_string(columns) + " inputs do not divide into groups of " + std::to_string(group);
  return {};  // bitsandbytes pads, int8 takes whole rows: every size fits
}

constexpr std::pair<std::string_view, QuantizeMethod> kFolderMethods[] = {
    {"awq-gemm", QuantizeMethod::awq_gemm},
    {"awq-gemv", QuantizeMethod::awq_gemv},
    {"awq-gemv-fast", QuantizeMethod::awq_gemv_fast},
    {"rtn", QuantizeMethod::rtn},
    {"nf4", QuantizeMethod::nf4},
    {"fp4", QuantizeMethod::fp4},
    {"int8", QuantizeMethod::int8},
    {"w4a16", QuantizeMethod::w4a16},
    {"w8a8", QuantizeMethod::w8a8}};

// "model.layers.12.mlp.down_proj" → "mlp.down_proj"; "" outside layers.
std::string kind_of(std::string_view module) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!module.starts_with(kLayers)) return {};
  size_t dot = module.find('.', kLayers.size());
  return dot == std::string_view::npos ? std::string() : std::string(module.substr(dot + 1));
}

// How many of the linears a group size holds (those of `targets` that --skip did not exclude).
int64_t held_by(std::span<const QuantizeTarget> targets, QuantizeMethod method, int64_t group) {
  int64_t held = 0;
  for (const QuantizeTarget& t : targets)
    if (t.spec.linear && !kind_of(t.spec.module).empty() && !t.reason.starts_with("--"))
      held += misfit_of(method, t.rows, t.columns, group).empty() ? 1 : 0;
  return held;
}

// An error when another usual group size would hold more linears: quantizing a part of them by accident
// must not pass in silence.
Status check_group(std::span<const QuantizeTarget> targets, const QuantizeOptions& options,
                   QuantizeMethod method) {
  int64_t held = held_by(targets, method, options.group);
  std::string better, example;
  for (int64_t group : {int64_t{128}, int64_t{64}, int64_t{32}})
    if (held_by(targets, method, group) > held)
      better += (better.empty() ? "" : ", ") + std::to_string(group);
  for (const QuantizeTarget& t : targets)
    if (example.empty() && t.spec.linear && !t.reason.empty() && !t.reason.starts_with("--"))
      example = t.spec.module + ": " + t.reason;
  if (!better.empty())
    return bad_input(
        "--group " + std::to_string(options.group) + " does not fit this model (" + example + ")",
        "group sizes that fit more of its linears: --group " + better + "; or leave those out with --skip");
  if (held == 0)
    return bad_input("no linear of this model fits the format (" + example + ")",
                     "use nf4 or int8, which take any size");
  return {};
}

}  // namespace

AwqLayout awq_layout_of(QuantizeMethod method) {
  return method == QuantizeMethod::awq_gemv        ? AwqLayout::gemv
         : method == QuantizeMethod::awq_gemv_fast ? AwqLayout::gemv_fast
                                                   : AwqLayout::gemm;
}

std::vector<std::string> folder_methods() {
  std::vector<std::string> names;
  for (const auto& [name, method] : kFolderMethods) names.emplace_back(name);
  return names;
}

Result<QuantizeMethod> parse_quantize_method(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, method] : kFolderMethods) {
    if (name == known) return method;
    names.emplace_back(known);
  }
  for (const std::string& known : gguf_methods()) {
    if (name == known) return QuantizeMethod::gguf;
    names.push_back(known);
  }
  std::string list, near = nearest_word(name, names);
  for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
  return bad_input("unknown method \"" + name + "\"" + (near.empty() ? "" : ", did you mean " + near + "?"),
                   "methods are " + list);
}

bool skip_word_matches(std::string_view word, std::string_view module) {
  if (word.empty()) return false;
  for (size_t at = module.find(word); at != std::string_view::npos; at = module.find(word, at + 1)) {
    bool begins = at == 0 || module[at - 1] == '.';
    bool ends = at + word.size() == module.size() || module[at + word.size()] == '.';
    if (begins && ends) return true;
  }
  return false;
}

Result<std::vector<QuantizeTarget>> plan_targets(const ModelConfig& config, const QuantizeOptions& options,
                                                 QuantizeMethod method, int64_t limit) {
  if ((method == QuantizeMethod::nf4 || method == QuantizeMethod::fp4) && !is_four_bit_block(options.block))
    return bad_input("--block " + std::to_string(options.block) + " is no power of two from 32 to 4096",
                     "bitsandbytes' default is 64");
  if (has_groups(method) && options.group < 0)
    return bad_input("--group " + std::to_string(options.group) + " is negative", "0 means the whole row");
  std::vector<QuantizeTarget> targets;
  int64_t quantized = 0;
  std::vector<bool> used(options.skip.size(), false);
  for (WeightSpec& spec : expected_weights(config)) {
    QuantizeTarget target;
    target.spec = std::move(spec);
    if (target.spec.shape.size() == 2) {
      target.rows = target.spec.shape[0];
      target.columns = target.spec.shape[1];
    }
    std::string kind = kind_of(target.spec.module);
    for (size_t i = 0; i < options.skip.size(); ++i)
      if (skip_word_matches(options.skip[i], target.spec.module)) {
        used[i] = true;
        target.reason = "--skip " + options.skip[i];
      }
    if (target.spec.linear && !kind.empty() && target.reason.empty()) {
      target.reason = misfit_of(method, target.rows, target.columns, options.group);
      if (target.reason.empty() && limit > 0 && quantized >= limit)
        target.reason = "--limit " + std::to_string(limit);
      target.quantized = target.reason.empty();
      quantized += target.quantized ? 1 : 0;
    }
    targets.push_back(std::move(target));
  }
  for (size_t i = 0; i < options.skip.size(); ++i)
    if (!used[i])
      return bad_input("--skip " + options.skip[i] + " names no module of this model",
                       "examples: down_proj, mlp.down_proj, model.layers.0");
  if (has_groups(method)) BM_CHECK_OK(check_group(targets, options, method));
  if (quantized == 0) return bad_input("nothing is left to quantize", "check --skip");
  return targets;
}

std::vector<SkippedModule> skipped_modules(std::span<const QuantizeTarget> targets) {
  std::vector<SkippedModule> skipped;
  for (const QuantizeTarget& t : targets)
    if (t.spec.linear && !t.quantized && !kind_of(t.spec.module).empty())
      skipped.push_back({t.spec.module, t.reason});
  return skipped;
}

std::vector<std::string> skipped_names(std::span<const QuantizeTarget> targets, bool by_kind) {
  std::map<std::string, bool> everywhere;  // kind → skipped in every layer
  for (const QuantizeTarget& t : targets) {
    std::string kind = t.spec.linear ? kind_of(t.spec.module) : "";
    if (kind.empty()) continue;
    auto [it, added] = everywhere.emplace(kind, true);
    it->second = it->second && !t.quantized;
  }
  std::vector<std::string> names;
  for (const SkippedModule& skipped : skipped_modules(targets)) {
    std::string kind = kind_of(skipped.name);
    std::string name = by_kind && everywhere[kind] ? kind : skipped.name;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

}  // namespace bm
