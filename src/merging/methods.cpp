#include "merging/methods.h"

#include "base/options.h"

namespace bm {
namespace {

MethodInfo task_vectors(std::string name, std::string title, std::string reference, Sparsifier sparsifier,
                        bool consensus, bool normalize, bool rescale) {
  MethodInfo info{.name = std::move(name),
                  .title = std::move(title),
                  .reference = std::move(reference),
                  .kind = MethodKind::task_vectors,
                  .base = BaseRule::required,
                  .min_inputs = 2};
  info.global = {{"int8_mask", false, 0.0},
                 {"normalize", false, normalize ? 1.0 : 0.0},
                 {"rescale", false, rescale ? 1.0 : 0.0},
                 {"lambda", false, 1.0}};
  info.per_input = {{"weight", true, std::nullopt}, {"density", false, 1.0}};
  if (sparsifier == Sparsifier::magnitude_outliers) info.per_input.push_back({"gamma", false, 0.01});
  if (sparsifier == Sparsifier::della) info.per_input.push_back({"epsilon", false, 0.15});
  info.sparsifier = sparsifier;
  info.consensus = consensus;
  return info;
}

std::vector<MethodInfo> task_vector_methods() {
  using S = Sparsifier;
  const std::string dare = "https://arxiv.org/abs/2311.03099", crumbs = "https://arxiv.org/abs/2312.06795",
                    della = "https://arxiv.org/abs/2406.11617";
  return {
      task_vectors("task_arithmetic", "Task Arithmetic", "https://arxiv.org/abs/2212.04089", S::none, false,
                   false, false),
      task_vectors("ties", "TIES", "https://arxiv.org/abs/2306.01708", S::magnitude, true, true, false),
      task_vectors("dare_ties", "DARE TIES", dare, S::random, true, false, true),
      task_vectors("dare_linear", "Linear DARE", dare, S::random, false, false, true),
      task_vectors("breadcrumbs", "Model Breadcrumbs", crumbs, S::magnitude_outliers, false, false, false),
      task_vectors("breadcrumbs_ties", "Model Breadcrumbs with TIES", crumbs, S::magnitude_outliers, true,
                   false, false),
      task_vectors("della", "DELLA", della, S::della, true, true, true),
      task_vectors("della_linear", "Linear DELLA", della, S::della, false, false, true),
  };
}

std::vector<MethodInfo> all_methods() {
  using K = MethodKind;
  const ParameterInfo weight{"weight", true, std::nullopt}, int8_mask{"int8_mask", false, 0.0};
  std::vector<MethodInfo> methods = {
      {.name = "linear",
       .title = "Linear",
       .reference = "https://arxiv.org/abs/2203.05482",
       .kind = K::linear,
       .global = {{"normalize", false, 1.0}},
       .per_input = {weight}},
      {.name = "slerp",
       .title = "SLERP",
       .reference = "https://en.wikipedia.org/wiki/Slerp",
       .kind = K::slerp,
       .base = BaseRule::required,
       .min_inputs = 2,
       .max_inputs = 2,
       .global = {{"t", true, std::nullopt}},
       .per_input = {}},
      {.name = "nuslerp",
       .title = "NuSLERP",
       .reference = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
       .kind = K::nuslerp,
       .base = BaseRule::optional,
       .min_inputs = 2,
       .other_inputs = 2,
       .global = {{"nuslerp_row_wise", false, 0.0}, {"nuslerp_flatten", false, 1.0}},
       .per_input = {weight}},
      {.name = "multislerp",
       .title = "Multi-SLERP",
       .reference = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
       .kind = K::multislerp,
       .base = BaseRule::optional,
       .global = {{"normalize_weights", false, 1.0}, {"eps", false, 1e-8}},
       .per_input = {weight}},
      {.name = "karcher",
       .title = "Karcher Mean",
       .reference = "https://en.wikipedia.org/wiki/Karcher_mean",
       .kind = K::karcher,
       .global = {{"max_iter", false, 10.0}, {"tol", false, 1e-5}},
       .per_input = {}},
      {.name = "sce",
       .title = "SCE",
       .reference = "https://arxiv.org/abs/2408.07990",
       .kind = K::sce,
       .base = BaseRule::required,
       .min_inputs = 2,
       .global = {int8_mask, {"select_topk", false, 1.0}},
       .per_input = {}},
      {.name = "model_stock",
       .title = "Model Stock",
       .reference = "https://arxiv.org/abs/2403.19522",
       .kind = K::model_stock,
       .base = BaseRule::required,
       .min_inputs = 3,
       .global = {{"filter_wise", false, 0.0}},
       .per_input = {}},
      {.name = "nearswap",
       .title = "NearSwap",
       .reference = "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
       .kind = K::nearswap,
       .base = BaseRule::required,
       .min_inputs = 2,
       .max_inputs = 2,
       .global = {{"t", true, std::nullopt}},
       .per_input = {}},
      {.name = "arcee_fusion",
       .title = "Arcee Fusion",
       .reference = "https://arcee.ai",
       .kind = K::arcee_fusion,
       .base = BaseRule::required,
       .min_inputs = 2,
       .max_inputs = 2,
       .global = {},
       .per_input = {}},
      {.name = "ram",
       .title = "Reinforced Agent Merging",
       .reference = "https://arxiv.org/abs/2601.13572",
       .kind = K::ram,
       .base = BaseRule::required,
       .min_inputs = 2,
       .global = {{"epsilon", false, 1e-5}},
       .per_input = {}},
      {.name = "ramplus_tl",
       .title = "Reinforced Agent Merging Plus (Tensor-Local)",
       .reference = "https://arxiv.org/abs/2601.13572",
       .kind = K::ramplus_tl,
       .base = BaseRule::required,
       .min_inputs = 2,
       .global = {{"r", false, 0.1}, {"alpha", false, 0.2}, {"epsilon", false, 1e-5}},
       .per_input = {}},
      {.name = "passthrough",
       .title = "Passthrough",
       .reference = "",
       .kind = K::passthrough,
       .max_inputs = 1,
       .global = {},
       .per_input = {{"scale", false, std::nullopt}}},
  };
  for (MethodInfo& info : task_vector_methods()) methods.push_back(std::move(info));
  return methods;
}

}  // namespace

const ParameterInfo* MethodInfo::find_parameter(std::string_view parameter) const {
  for (const auto* list : {&global, &per_input})
    for (const ParameterInfo& info : *list)
      if (info.name == parameter) return &info;
  return nullptr;
}

const std::vector<MethodInfo>& merge_methods() {
  static const std::vector<MethodInfo> methods = all_methods();
  return methods;
}

Result<const MethodInfo*> find_merge_method(std::string_view name) {
  std::vector<std::string> names;
  for (const MethodInfo& info : merge_methods()) {
    if (info.name == name) return &info;
    names.push_back(info.name);
  }
  std::string near = nearest_word(name, names), all;
  for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
  return bad_input("unknown merge method \"" + std::string(name) + "\"",
                   (near.empty() ? "" : "Did you mean \"" + near + "\"? ") + "Known: " + all + ".");
}

}  // namespace bm
