#include "merging/plan.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/file.h"
#include "merging/architecture.h"

namespace bm {
namespace {

Error line_error(uint32_t line, std::string what, std::string cure = {}) {
  Error error = bad_input(std::move(what), std::move(cure));
  if (line) error.in("line " + std::to_string(line));
  return error;
}

std::string number(double value) { return Json(value).dump(); }

class Planner {
 public:
  Planner(const MergeConfiguration& configuration, const PlanRequest& request)
      : configuration_(configuration), request_(request) {}

  Result<MergePlan> run() {
    plan_.method = configuration_.method;
    plan_.switches = request_.switches;
    BM_CHECK_OK(unknown_keys());
    for (const OutputSlice& slice : configuration_.slices) BM_CHECK_OK(check_inputs(slice));
    BM_CHECK_OK(load_models());
    BM_TRY(slices_, resolved_slices());
    if (configuration_.tokenizer) BM_CHECK_OK(vocabulary());
    BM_CHECK_OK(tensors());
    sort_tensors();
    add_lints(configuration_, plan_);
    return std::move(plan_);
  }

 private:
  const ModelReference* base_of(const OutputSlice& slice) const {
    if (slice.base_model) return &*slice.base_model;
    return configuration_.base_model ? &*configuration_.base_model : nullptr;
  }

  Status unknown_keys() {
    for (const UnknownKey& key : configuration_.unknown) {
      bool parameter = ends_with(key.place, "parameters");
      std::string what = parameter ? "\"" + key.key + "\" is no parameter of " + plan_.method->name
                                   : "unknown key \"" + key.key + "\"";
      std::string cure = key.near.empty() ? "" : "Did you mean \"" + key.near + "\"?";
      if (request_.switches.refuse_unknown) {
        Error error = line_error(key.line, what, cure.empty() ? "Remove it." : cure);
        if (!key.place.empty()) error.in(key.place);
        return error;
      }
      plan_.lints.push_back(
          {(key.place.empty() ? "" : key.place + ": ") + what + ": ignored, as the peer does", cure});
    }
    return {};
  }

  Status check_inputs(const OutputSlice& slice) {
    const MethodInfo& method = *plan_.method;
    const ModelReference* base = base_of(slice);
    size_t total = slice.sources.size(), others = 0;
    for (size_t i = 0; i < total; ++i) {
      for (size_t j = 0; j < i; ++j)
        if (slice.sources[i].model == slice.sources[j].model)
          return line_error(slice.sources[i].line, "\"" + slice.sources[i].model.text + "\" is listed twice",
                            "Duplicate merge inputs: list each model of a slice once.");
      others += !base || !(slice.sources[i].model == *base);
    }
    auto wrong = [&](const std::string& wanted) {
      return line_error(
          slice.line, method.name + " requires " + wanted + " inputs; there are " + std::to_string(total),
          base && configuration_.models_form ? "base_model counts as an input, listed or not." : "");
    };
    if (method.base == BaseRule::required && (!base || others == total))
      return line_error(slice.line,
                        method.name + " requires a base input" +
                            (base ? ": \"" + base->text + "\" is not among the sources" : ""),
                        "Name one of the models as `base_model`.");
    if (method.max_inputs && method.min_inputs == method.max_inputs && total != method.max_inputs)
      return wrong("exactly " + std::to_string(method.max_inputs));
    if (total < method.min_inputs) return wrong("at least " + std::to_string(method.min_inputs));
    if (method.max_inputs && total > method.max_inputs)
      return wrong("exactly " + std::to_string(method.max_inputs));
    if (method.other_inputs && others != method.other_inputs)
      return wrong("exactly " + std::to_string(method.other_inputs) + " non-base");
    return {};
  }

  Status load_models() {
    for (const ModelReference& reference : configuration_.models()) {
      BM_TRY(LoadedModel model, LoadedModel::open(reference, request_.model_paths, request_.planned)
                                    .in("line " + std::to_string(reference.line)));
      plan_.models.push_back(std::move(model));
    }
    plan_.donor = configuration_.base_model ? index_of(*configuration_.base_model) : 0;
    const Json& first = plan_.models[0].config();
    for (const LoadedModel& model : plan_.models) {
      const Json& config = model.config();
      if (config["model_type"] == first["model_type"]) continue;
      std::string what = "\"" + model.reference.text + "\" is a " + config["model_type"].dump() +
                         " model, \"" + plan_.models[0].reference.text + "\" a " +
                         first["model_type"].dump() + " one";
      if (!request_.allow_crimes)
        return bad_input(what,
                         "Models of one architecture are wanted; --allow-crimes merges them all the same.");
      plan_.lints.push_back({what + ": merged because of --allow-crimes", ""});
    }
    return {};
  }

  Status vocabulary() {
    std::vector<VocabularyModel> models;
    for (const LoadedModel& model : plan_.models) {
      if (model.is_planned())
        return bad_input(
            "the vocabulary of \"" + model.reference.text + "\" is known only when it has been made",
            "Run the merge: its configurations are done one after the other.");
      BM_TRY(int64_t size, model.config().get_int("vocab_size").in("config.json").in(model.path));
      models.push_back({&model.reference, model.path, size});
    }
    BM_TRY(plan_.vocabulary, build_vocabulary(*configuration_.tokenizer, models, plan_.donor));
    for (const std::string& warning : plan_.vocabulary->warnings) plan_.lints.push_back({warning, ""});
    return {};
  }

  size_t index_of(const ModelReference& reference) const {
    for (size_t i = 0; i < plan_.models.size(); ++i)
      if (plan_.models[i].reference == reference) return i;
    return 0;
  }

  // Slices with their layer ranges; the models form covers whole models.
  Result<std::vector<OutputSlice>> resolved_slices() {
    std::vector<OutputSlice> slices = configuration_.slices;
    for (OutputSlice& slice : slices) {
      for (SliceSource& source : slice.sources) {
        int64_t layers = plan_.models[index_of(source.model)].layers;
        if (source.whole) source.end = layers;
        if (source.end > layers)
          return line_error(source.line,
                            "layer_range [" + std::to_string(source.begin) + ", " +
                                std::to_string(source.end) + "] goes beyond \"" + source.model.text +
                                "\", which has " + std::to_string(layers) + " layers",
                            "Layers count from 0; the end is one past the last.");
        if (source.end - source.begin != slice.sources[0].end - slice.sources[0].begin)
          return line_error(
              source.line,
              "\"" + slice.sources[0].model.text + "\" has " + std::to_string(slice.sources[0].end) +
                  " layers, \"" + source.model.text + "\" " + std::to_string(source.end),
              "All inputs to a slice must contain the same number of layers; use `slices` with layer_range.");
      }
      plan_.layers += slice.sources[0].end - slice.sources[0].begin;
    }
    return slices;
  }

  Status tensors() {
    const OutputSlice &first = slices_.front(), &last = slices_.back();
    for (const WeightName& weight : weights_before_layers()) BM_CHECK_OK(tensor(first, weight, {}, 0));
    int64_t layer = 0;
    for (const OutputSlice& slice : slices_) {
      int64_t count = slice.sources[0].end - slice.sources[0].begin;
      for (int64_t i = 0; i < count; ++i, ++layer) {
        double t = count > 1 ? static_cast<double>(i) / static_cast<double>(count - 1) : 1.0;
        std::vector<std::vector<WeightName>> inputs;
        for (const SliceSource& source : slice.sources) inputs.push_back(weights_of_layer(source.begin + i));
        std::vector<WeightName> outputs = weights_of_layer(layer);
        for (size_t w = 0; w < outputs.size(); ++w) {
          std::vector<WeightName> names;
          for (const auto& list : inputs) names.push_back(list[w]);
          BM_CHECK_OK(tensor(slice, outputs[w], names, t));
        }
      }
    }
    for (const WeightName& weight : weights_after_layers())
      BM_CHECK_OK(tensor(last, weight, {}, request_.switches.post_position));
    return {};
  }

  // names: what each source calls it; empty = as the output.
  Status tensor(const OutputSlice& slice, const WeightName& weight, std::vector<WeightName> names, double t) {
    if (names.empty()) names.assign(slice.sources.size(), weight);
    PlannedTensor out;
    out.name = weight.name;
    out.vocabulary = weight.vocabulary;
    if (weight.optional) {
      bool any = false;
      for (size_t i = 0; i < names.size(); ++i)
        any = any || model_of(slice.sources[i]).contains(names[i].name);
      if (!any) return {};
    }
    const ModelReference* base = base_of(slice);
    std::vector<const SliceSource*> sources;
    for (size_t i = 0; i < names.size(); ++i) {
      const SliceSource& source = slice.sources[i];
      PlannedInput input{index_of(source.model), names[i].name, names[i].name};
      if (!model_of(source).contains(input.stored)) {
        if (!names[i].tied.empty() && model_of(source).contains(names[i].tied)) {
          input.stored = names[i].tied;
        } else if (weight.optional) {
          plan_.lints.push_back(
              {"\"" + source.model.text + "\" has no " + input.nominal + ": merged without it", ""});
          continue;
        } else {
          return bad_input(
              "tensor " + input.nominal + " is required but not in model \"" + source.model.text + "\"",
              "The model is incomplete, or its config.json names more layers than it has.");
        }
      }
      if (base && source.model == *base) out.base = static_cast<int>(out.inputs.size());
      out.inputs.push_back(std::move(input));
      sources.push_back(&source);
    }
    BM_CHECK_OK(parameters(slice, sources, t, out));
    BM_CHECK_OK(shape_and_types(out).in("tensor " + out.name));
    if (plan_.method->base == BaseRule::required && out.base < 0 && out.inputs.size() > 1)
      return bad_input("the base model lacks it, the others do not", "Merge with a base that has it.")
          .in("tensor " + out.name);
    plan_.tensors.push_back(std::move(out));
    return {};
  }

  const LoadedModel& model_of(const SliceSource& source) const {
    return plan_.models[index_of(source.model)];
  }

  std::optional<double> outer(const OutputSlice& slice, const std::string& name, const std::string& tensor,
                              double t) const {
    for (const ParameterScope* scope :
         {&slice.parameters, &configuration_.module_parameters, &configuration_.parameters})
      if (auto value = scope->evaluate(name, tensor, t)) return value;
    return std::nullopt;
  }

  Status parameters(const OutputSlice& slice, const std::vector<const SliceSource*>& sources, double t,
                    PlannedTensor& out) {
    for (const ParameterInfo& info : plan_.method->global) {
      std::optional<double> value = outer(slice, info.name, out.name, t);
      if (!value) value = info.otherwise;
      if (!value && info.required) return missing(info.name, "", out.name);
      if (value) out.parameters[info.name] = *value;
    }
    out.per_input.resize(out.inputs.size());
    for (size_t i = 0; i < out.inputs.size(); ++i) {
      const std::string& seen = out.inputs[i].nominal;
      bool base = static_cast<int>(i) == out.base;
      for (const ParameterInfo& info : plan_.method->per_input) {
        std::optional<double> value = sources[i]->parameters.evaluate(info.name, seen, t);
        if (!value) value = outer(slice, info.name, seen, t);
        if (!value) value = info.otherwise;
        // The base's weight matters only where the base is an input like any other.
        bool needed = info.required && (!base || plan_.method->base == BaseRule::unused);
        if (!value && needed) return missing(info.name, sources[i]->model.text, seen);
        if (value) out.per_input[i][info.name] = *value;
      }
    }
    return check_values(out);
  }

  Error missing(const std::string& parameter, const std::string& model, const std::string& tensor) const {
    return bad_input("missing required parameter `" + parameter + "` of " + plan_.method->name + " for " +
                         (model.empty() ? "" : "\"" + model + "\" ") + tensor,
                     "Give it under `parameters` of the " +
                         std::string(model.empty() ? "configuration" : "model or of the configuration") +
                         "; a list with filters needs a last entry without a filter.");
  }

  Status check_epsilon(const PlannedTensor& out) const {
    if (plan_.method->sparsifier != Sparsifier::della) return {};
    for (size_t i = 0; i < out.inputs.size(); ++i) {
      double density = out.per_input[i].at("density"), epsilon = out.per_input[i].at("epsilon");
      if (static_cast<int>(i) == out.base || density <= 0 || density >= 1) continue;
      if (density + epsilon >= 1 || density - epsilon <= 0)
        return bad_input("density " + number(density) + " ± epsilon " + number(epsilon) +
                             " leaves (0, 1) for \"" + plan_.models[out.inputs[i].model].reference.text +
                             "\" " + out.name,
                         "Choose epsilon such that density ± epsilon stays inside (0, 1).");
    }
    return {};
  }

  Status check_values(const PlannedTensor& out) const {
    BM_CHECK_OK(check_epsilon(out));
    if (!request_.switches.refuse_senseless) return {};
    auto range = [&](const std::string& name, const std::map<std::string, double>& values,
                     const std::string& whose) -> Status {
      auto found = values.find(name);
      if (found == values.end() || (found->second >= 0 && found->second <= 1)) return {};
      return bad_input("`" + name + "` is " + number(found->second) + " for " + whose + out.name,
                       "It is a share: 0 to 1.");
    };
    for (size_t i = 0; i < out.inputs.size(); ++i)
      for (const char* name : {"density", "gamma"})
        if (static_cast<int>(i) != out.base)
          BM_CHECK_OK(
              range(name, out.per_input[i], "\"" + plan_.models[out.inputs[i].model].reference.text + "\" "));
    BM_CHECK_OK(range("select_topk", out.parameters, ""));
    if (plan_.method->kind == MethodKind::linear && out.parameters.at("normalize") != 0) {
      double total = 0;
      for (const auto& values : out.per_input) total += values.at("weight");
      if (std::abs(total) < 1e-8)
        return bad_input("the weights of " + out.name + " sum to 0, and `normalize` divides by the sum",
                         "Change the weights, or set normalize: false.");
    }
    return {};
  }

  Status shape_and_types(PlannedTensor& out) {
    std::optional<DType> type;
    for (size_t i = 0; i < out.inputs.size(); ++i) {
      const LoadedModel& model = plan_.models[out.inputs[i].model];
      BM_TRY(WeightInfo stored, model.info(out.inputs[i].stored));
      DType dtype = stored.dtype;
      if (stored.quantized)
        return bad_input("is quantized (" + stored.type + ") in \"" + model.reference.text + "\"",
                         "Merge the model before quantizing, or convert it to float first.");
      if (dtype == DType::f64) dtype = DType::f32;
      type = !type || *type == dtype ? dtype : DType::f32;
      if (i == 0) {
        out.shape = stored.shape;
        continue;
      }
      BM_CHECK_OK(same_shape(out, stored.shape, i));
    }
    if (out.vocabulary && plan_.vocabulary) out.shape[0] = plan_.vocabulary->rows;
    out.working = configuration_.dtype.value_or(type.value_or(DType::f32));
    out.written = configuration_.out_dtype.value_or(out.working);
    if (request_.switches.arithmetic.promote_masked && plan_.method->kind == MethodKind::arcee_fusion &&
        out.inputs.size() > 1)
      out.written = configuration_.out_dtype.value_or(DType::f32);
    return {};
  }

  Status same_shape(PlannedTensor& out, const Shape& shape, size_t input) {
    if (shape == out.shape) return {};
    bool rows_only = out.vocabulary && shape.size() == 2 && out.shape.size() == 2 && shape[1] == out.shape[1];
    std::string what = "shapes differ: " + shape_text(out.shape) + " in \"" +
                       plan_.models[out.inputs[0].model].reference.text + "\", " + shape_text(shape) +
                       " in \"" + plan_.models[out.inputs[input].model].reference.text + "\"";
    if (rows_only && configuration_.tokenizer) return {};  // rows are matched by token
    if (!rows_only || !request_.truncate_embeddings)
      return bad_input(what, rows_only
                                 ? "Align the vocabularies with `tokenizer_source: base`; or, if the ids "
                                   "agree, cut to the common rows with --unsafe-truncate-embeddings."
                                 : "Only models of the same sizes can be merged.");
    plan_.lints.push_back({"tensor " + out.name + ": " + what + ": rows past the shorter one are discarded",
                           "This is only right if token ids agree in the rows that stay; tokenizer_source: "
                           "base is the safe way."});
    out.shape[0] = std::min(out.shape[0], shape[0]);
    return {};
  }

  // By the largest of the inputs' names, as the peer's scheduler does; among equals as planned.
  void sort_tensors() {
    std::vector<std::string> keys;
    for (const PlannedTensor& tensor : plan_.tensors) {
      std::string key;
      for (const PlannedInput& input : tensor.inputs) key = std::max(key, input.nominal);
      keys.push_back(key);
    }
    std::vector<size_t> order(keys.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
    std::vector<PlannedTensor> sorted;
    for (size_t i : order) sorted.push_back(std::move(plan_.tensors[i]));
    plan_.tensors = std::move(sorted);
  }

  const MergeConfiguration& configuration_;
  const PlanRequest& request_;
  MergePlan plan_;
  std::vector<OutputSlice> slices_;
};

}  // namespace

MergeSwitches merge_switches(Mode mode) {
  MergeSwitches out;
  if (mode == Mode::corrected) return out;
  out.arithmetic = {.round_every_operation = true,
                    .float_scalars = true,
                    .mt19937_masks = true,
                    .inverse_density = mode == Mode::as_published,
                    .promote_masked = true};
  out.post_position = mode == Mode::as_published ? 1 : 0;
  out.refuse_unknown = out.refuse_senseless = out.untie_written_head = false;
  return out;
}

uint64_t MergePlan::written_bytes() const {
  uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors) total += tensor.bytes();
  return total;
}

uint64_t MergePlan::read_bytes() const {
  uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors)
    for (const PlannedInput& input : tensor.inputs)
      if (auto stored = models[input.model].info(input.stored); stored.ok()) total += stored->bytes;
  return total;
}

Result<MergePlan> plan_merge(const MergeConfiguration& configuration, const PlanRequest& request) {
  Planner planner(configuration, request);
  return planner.run();
}

}  // namespace bm
