// Warnings that need no weights: settings that are legal but surely not what was meant.
#include <cmath>
#include <set>

#include "base/file.h"
#include "merging/plan.h"

namespace bm {
namespace {

void shadowed_filters(const ParameterScope& scope, const std::string& place, MergePlan& plan) {
  for (const auto& [name, setting] : scope.settings) {
    const auto& entries = setting.entries();
    for (size_t i = 1; i < entries.size(); ++i)
      for (size_t j = 0; j < i; ++j) {
        bool all = !entries[j].filter || *entries[j].filter == "*";
        bool covers =
            all || (entries[i].filter && entries[i].filter->find(*entries[j].filter) != std::string::npos);
        if (!covers) continue;
        std::string which =
            entries[i].filter ? "filter \"" + *entries[i].filter + "\"" : "the entry without a filter";
        plan.lints.push_back(
            {place + name + ": " + which + " (line " + std::to_string(entries[i].line) + ") never applies: " +
                 (all ? "an earlier entry takes every tensor"
                      : "the earlier filter \"" + *entries[j].filter + "\" takes all it would"),
             "The first entry that matches wins: list the special ones first."});
        break;
      }
  }
}

void unmatched_filters(const ParameterScope& scope, const std::string& place, MergePlan& plan) {
  for (const auto& [name, setting] : scope.settings)
    for (const ConditionalValue& entry : setting.entries()) {
      if (!entry.filter || *entry.filter == "*") continue;
      bool any = false;
      for (const PlannedTensor& tensor : plan.tensors) {
        any = any || entry.matches(tensor.name);
        for (const PlannedInput& input : tensor.inputs) any = any || entry.matches(input.nominal);
      }
      if (!any)
        plan.lints.push_back({place + name + ": no tensor's name holds \"" + *entry.filter + "\" (line " +
                                  std::to_string(entry.line) + ")",
                              "Filters are parts of names such as model.layers.0.self_attn.q_proj.weight."});
    }
}

void task_vector_lints(MergePlan& plan) {
  if (plan.method->kind != MethodKind::task_vectors) return;
  bool lone = false, gamma = false, dare = false;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.inputs.size() == 2 && tensor.parameters.at("normalize") != 0) lone = true;
    for (size_t i = 0; i < tensor.inputs.size(); ++i) {
      if (static_cast<int>(i) == tensor.base) continue;
      const auto& values = tensor.per_input[i];
      if (values.contains("gamma") && values.at("gamma") <= 0 && values.at("density") < 1) gamma = true;
      if (plan.method->sparsifier == Sparsifier::random && tensor.inputs.size() == 2 &&
          plan.switches.arithmetic.inverse_density && values.at("weight") == values.at("density") &&
          values.at("density") < 1)
        dare = true;
    }
  }
  if (lone)
    plan.lints.push_back({"one task vector with normalize: `weight` has no effect (it is divided by itself)",
                          "Set normalize: false, or use lambda, to scale the difference."});
  if (gamma)
    plan.lints.push_back({"gamma is 0: no outliers are removed, this is the plain magnitude rule",
                          "Leave gamma out for its default .01."});
  if (dare)
    plan.lints.push_back(
        {"weight equals density and kept differences are divided by the density: the two cancel", ""});
}

void slerp_lints(MergePlan& plan) {
  if (plan.method->kind != MethodKind::slerp) return;
  for (const PlannedTensor& tensor : plan.tensors) {
    double t = tensor.parameters.at("t");
    if (t >= 0 && t <= 1) continue;
    plan.lints.push_back(
        {"t is " + Json(t).dump() + " for " + tensor.name + ": outside [0, 1] SLERP extrapolates", ""});
    return;
  }
}

void type_lints(const MergeConfiguration& configuration, MergePlan& plan) {
  std::set<DType> written;
  for (const PlannedTensor& tensor : plan.tensors) written.insert(tensor.written);
  if (!configuration.dtype && written.size() == 1 && *written.begin() == DType::f32) {
    std::set<DType> stored;
    for (const PlannedTensor& tensor : plan.tensors)
      for (const PlannedInput& input : tensor.inputs)
        if (auto info = plan.models[input.model].info(input.stored); info.ok()) stored.insert(info->dtype);
    if (stored.size() > 1)
      plan.lints.push_back(
          {"no dtype, and the inputs' types differ: the result is float32, larger than the inputs",
           "Add `dtype: bfloat16`."});
  }
  if (written.size() > 1)
    plan.lints.push_back({"tensors of the result have different types", "Add `dtype`."});
  bool head = false;
  for (const PlannedTensor& tensor : plan.tensors) head = head || tensor.name == "lm_head.weight";
  if (head && plan.models[plan.donor].config()["tie_word_embeddings"] == Json(true))
    plan.lints.push_back(
        {"one input has an lm_head of its own: it is written, although the base's config says that "
         "embeddings are tied",
         plan.switches.untie_written_head ? "config.json of the result says tie_word_embeddings: false."
                                          : "Loaders will ignore it."});
}

}  // namespace

void add_lints(const MergeConfiguration& configuration, MergePlan& plan) {
  struct Named {
    const ParameterScope* scope;
    std::string place;
  };
  std::vector<Named> scopes = {{&configuration.parameters, "parameters."},
                               {&configuration.module_parameters, "module parameters."}};
  for (const OutputSlice& slice : configuration.slices) {
    scopes.push_back({&slice.parameters, "slice parameters."});
    for (const SliceSource& source : slice.sources)
      scopes.push_back({&source.parameters, "\"" + source.model.text + "\": "});
  }
  for (const Named& named : scopes) {
    shadowed_filters(*named.scope, named.place, plan);
    unmatched_filters(*named.scope, named.place, plan);
  }
  task_vector_lints(plan);
  slerp_lints(plan);
  type_lints(configuration, plan);
}

}  // namespace bm
