#include "quantization/folder.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "quantization/encode.h"

namespace bm {
namespace {

FourBitKind kind_of(QuantizeMethod method) {
  return method == QuantizeMethod::fp4 ? FourBitKind::fp4 : FourBitKind::nf4;
}

// A weight that stays as it is (or only scaled by a search).
Result<OutputTensor> plain_tensor(const FolderPlan& plan, const WeightSpec& spec) {
  BM_TRY(auto dtype, plan.source.dtype_of(spec));
  const QuantizeSource& source = plan.source;
  if (!plan.is_changed || !plan.is_changed(spec))
    return OutputTensor{TensorSpec{spec.name, dtype, spec.shape},
                        [&source, spec] { return source.plain(spec); }};
  WeightValues changed = plan.changed;
  return OutputTensor{TensorSpec{spec.name, dtype, spec.shape},
                      [changed, spec, dtype]() -> Result<TensorView> {
                        BM_TRY(auto values, changed(spec));
                        Tensor tensor(DType::f32, spec.shape);
                        std::copy(values.begin(), values.end(), tensor.as<float>());
                        BM_TRY(auto converted, convert(tensor.view(), dtype));
                        return converted.view();
                      }};
}

// int8 weights pass through float16, whose range is small.
Status check_f16_range(const std::vector<float>& values, const WeightSpec& spec) {
  for (float value : values)
    if (value >= 65520.0f || value <= -65520.0f)
      return bad_input(
                 "it holds " + std::to_string(value) + ", beyond float16, through which this format passes",
                 "leave the module out with --skip " + spec.module)
          .in("tensor " + spec.name);
  return {};
}

Json bitsandbytes_config(const FolderPlan& plan, const std::string& compute_dtype) {
  bool eight = plan.method == QuantizeMethod::int8;
  Json skip;
  std::vector<std::string> names = skipped_names(plan.targets, /*by_kind=*/false);
  if (!names.empty()) {
    skip = Json::array({Json("lm_head")});  // an explicit list replaces transformers' own default
    for (const std::string& name : names) skip.push_back(name);
  }
  return Json::object({{"_load_in_4bit", !eight},
                       {"_load_in_8bit", eight},
                       {"bnb_4bit_compute_dtype", compute_dtype},
                       {"bnb_4bit_quant_storage", "uint8"},
                       {"bnb_4bit_quant_type", plan.method == QuantizeMethod::nf4 ? "nf4" : "fp4"},
                       {"bnb_4bit_use_double_quant", !eight && plan.options.double_quant},
                       {"llm_int8_enable_fp32_cpu_offload", false},
                       {"llm_int8_has_fp16_weight", false},
                       {"llm_int8_skip_modules", skip},
                       {"llm_int8_threshold", 6.0},
                       {"load_in_4bit", !eight},
                       {"load_in_8bit", eight},
                       {"quant_method", "bitsandbytes"}});
}

Json awq_config(const FolderPlan& plan) {
  Json skip;
  for (const std::string& name : skipped_names(plan.targets, /*by_kind=*/true)) skip.push_back(name);
  return Json::object({{"bits", 4},
                       {"group_size", plan.options.group == 0 ? int64_t{-1} : plan.options.group},
                       {"modules_to_not_convert", skip},
                       {"quant_method", "awq"},
                       {"version", awq_layout_name(awq_layout_of(plan.method))},
                       {"zero_point", true}});
}

Json number_format(int bits, const char* strategy, Json group, bool dynamic) {
  return Json::object({{"actorder", Json()},
                       {"block_structure", Json()},
                       {"dynamic", dynamic},
                       {"group_size", std::move(group)},
                       {"num_bits", bits},
                       {"observer", dynamic ? Json() : Json("memoryless_minmax")},
                       {"observer_kwargs", Json::object()},
                       {"strategy", strategy},
                       {"symmetric", true},
                       {"type", "int"}});
}

Json compressed_config(const FolderPlan& plan) {
  bool eight = plan.method == QuantizeMethod::w8a8, whole = eight || plan.options.group == 0;
  const char* format = eight ? "int-quantized" : "pack-quantized";
  Json weights = number_format(eight ? 8 : 4, whole ? "channel" : "group",
                               whole ? Json() : Json(plan.options.group), false);
  Json group = Json::object({{"format", format},
                             {"input_activations", eight ? number_format(8, "token", Json(), true) : Json()},
                             {"output_activations", Json()},
                             {"targets", Json::array({Json("Linear")})},
                             {"weights", std::move(weights)}});
  Json ignore = Json::array({Json("lm_head")});
  for (const std::string& name : skipped_names(plan.targets, /*by_kind=*/false)) ignore.push_back(name);
  return Json::object({{"config_groups", Json::object({{"group_0", std::move(group)}})},
                       {"format", format},
                       {"global_compression_ratio", Json()},
                       {"ignore", std::move(ignore)},
                       {"kv_cache_scheme", Json()},
                       {"quant_method", "compressed-tensors"},
                       {"quantization_status", "compressed"}});
}

// dtype of the first quantized linear: the model's.
Result<DType> model_dtype(const FolderPlan& plan) {
  for (const QuantizeTarget& t : plan.targets)
    if (t.quantized) return plan.source.dtype_of(t.spec);
  return DType::f32;
}

std::string loading_lines(QuantizeMethod method) {
  if (is_compressed(method))
    return "`vllm serve`, `transformers` with compressed-tensors and biomistral load it.";
  if (is_awq_file(method))
    return "`transformers` (with AutoAWQ's or GPTQModel's kernels), `vllm serve` and biomistral load it as "
           "any other folder.";
  if (method == QuantizeMethod::gguf) return "llama.cpp and biomistral load `model.gguf`.";
  return "`transformers` with bitsandbytes and biomistral load it as any other folder.";
}

}  // namespace

Result<std::vector<OutputTensor>> folder_tensors(const FolderPlan& plan) {
  std::vector<OutputTensor> tensors;
  auto append = [&](std::vector<OutputTensor> more) {
    for (OutputTensor& tensor : more) tensors.push_back(std::move(tensor));
  };
  for (const QuantizeTarget& target : plan.targets) {
    if (!target.quantized) {
      BM_TRY(auto tensor, plain_tensor(plan, target.spec));
      tensors.push_back(std::move(tensor));
      continue;
    }
    const QuantizeSource& source = plan.source;
    WeightSpec spec = target.spec;
    WeightLoader load = [&source, spec] { return source.values(spec); };
    if (plan.is_changed && plan.is_changed(spec))
      load = [changed = plan.changed, spec] { return changed(spec); };
    if (plan.method == QuantizeMethod::int8) {
      append(int8_tensors(target, [load, spec]() -> Result<std::vector<float>> {
        BM_TRY(auto values, load());
        BM_CHECK_OK(check_f16_range(values, spec));
        return values;
      }));
    } else if (is_awq_file(plan.method)) {
      AwqGroupOptions groups = plan.groups;
      if (groups.group == 0) groups.group = target.columns;
      append(awq_tensors(target, awq_layout_of(plan.method), groups, load));
    } else if (is_compressed(plan.method)) {
      BM_TRY(auto dtype, source.dtype_of(spec));
      bool eight = plan.method == QuantizeMethod::w8a8;
      int64_t group = eight || plan.options.group == 0 ? target.columns : plan.options.group;
      append(compressed_tensors(target, {eight ? 8 : 4, group, dtype}, load));
    } else {
      BM_TRY(auto dtype, source.dtype_of(spec));
      FourBitOptions options{kind_of(plan.method), plan.options.block, plan.options.double_quant, dtype};
      BM_TRY(auto encoded, four_bit_tensors(target, options, load));
      append(std::move(encoded));
    }
  }
  return tensors;
}

Result<Json> folder_config(const FolderPlan& plan) {
  Json config = plan.source.config().json;
  BM_TRY(auto dtype, model_dtype(plan));
  if (plan.source.cast()) {
    const char* key = config.contains("dtype") ? "dtype" : "torch_dtype";
    config.set(key, dtype_torch_name(*plan.source.cast()));
  }
  std::string compute(plan.peer_defaults || plan.method == QuantizeMethod::int8 ? "float32"
                                                                                : dtype_torch_name(dtype));
  config.set("quantization_config", is_awq_file(plan.method)     ? awq_config(plan)
                                    : is_compressed(plan.method) ? compressed_config(plan)
                                                                 : bitsandbytes_config(plan, compute));
  return config;
}

Status copy_side_files(const std::string& source, const std::string& folder, bool sets_do_sample) {
  BM_TRY(auto copied, copy_tokenizer_files(source, folder));
  std::string generation = path_join(folder, "generation_config.json");
  if (!sets_do_sample || std::find(copied.begin(), copied.end(), "generation_config.json") == copied.end())
    return {};
  BM_TRY(auto config, read_json_file(generation));
  config.set("do_sample", true);
  return write_file_atomic(generation, config.dump_pretty() + "\n");
}

std::string model_card(const ModelCard& card) {
  const QuantizeReport& r = card.report;
  std::string text =
      "---\nbase_model: " + path_name(card.model) + "\ntags:\n- quantized\n- " + card.method + "\n---\n\n";
  text += "# " + path_name(card.model) + ", " + card.method + "\n\n";
  text += std::to_string(r.quantized) + " linear layers are stored as " + card.method + "; weights take " +
          format_bytes(r.bytes_after) + " instead of " + format_bytes(r.bytes_before) + ". ";
  auto method = parse_quantize_method(card.method);
  if (method) text += loading_lines(*method);
  text += "\n\n";
  if (!card.calibration.empty()) {
    text += "Scales and clips were searched (AWQ, mode " + card.mode + ") on " + card.calibration + ".";
    text += card.calibration_licence.empty() ? " The licence of that text is not recorded.\n\n"
                                             : " Licence of that text: " + card.calibration_licence + ".\n\n";
  }
  if (!r.skipped.empty()) {
    text += "Left as they were, besides embeddings and head:\n\n";
    for (const SkippedModule& s : r.skipped) text += "- `" + s.name + "`: " + s.reason + "\n";
    text += "\n";
  }
  if (!r.unscaled.empty()) {
    text += "Packed without scaling:\n\n";
    for (const std::string& line : r.unscaled) text += "- " + line + "\n";
    text += "\n";
  }
  if (r.quality.is_object())
    text += "## What it lost\n\nMeasured on " + r.quality["data"].as_string() + " (" +
            std::to_string(r.quality["tokens"].as_int()) + " tokens):\n\n```json\n" +
            r.quality.dump_pretty() + "\n```\n\n";
  text += "Made with biomistral " + program_version() +
          ". What it was made from and how stands in `manifest.json`.\n";
  return text;
}

}  // namespace bm
