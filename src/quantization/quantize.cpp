#include "quantization/quantize.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "quantization/awq_stage.h"
#include "quantization/folder.h"
#include "quantization/gguf_export.h"
#include "quantization/quality.h"
#include "quantization/source.h"
#include "quantization/targets.h"

namespace bm {
namespace {

bool searches(QuantizeMethod method) { return is_awq_search(method); }

Result<StageIdentity> identity_of(const QuantizeOptions& options, const CommonOptions& common) {
  Fields fields;
  QuantizeOptions copy = options;
  describe(fields, copy);
  StageIdentity identity{.verb = "quantize",
                         .options = fields.dump_identity(),
                         .inputs = {},
                         .seed = common.seed_or(0),
                         .mode = common.mode};
  identity.options.set("limit", common.limit);
  BM_TRY(auto model, stage_input("model", options.model));
  identity.inputs.push_back(std::move(model));
  for (const auto& [role, path] : {std::pair<std::string, std::string>{"calibration", options.calibration},
                                   {"search-from", options.search_from},
                                   {"quality", options.quality}}) {
    if (path.empty()) continue;
    BM_TRY(auto input, stage_input(role, path));
    identity.inputs.push_back(std::move(input));
  }
  return identity;
}

Status check_options(const QuantizeOptions& o, QuantizeMethod method) {
  bool awq = searches(method);
  if (o.out.empty()) return bad_input("no output folder is named");
  if (awq && o.calibration.empty() && o.search_from.empty())
    return bad_input("--method " + o.method + " needs text to search on",
                     "give --calibration FILE.jsonl (or a corpus folder), or --search-from an earlier run; "
                     "--method rtn rounds without a search");
  bool weighted = method == QuantizeMethod::gguf && o.method.find("_k") != std::string::npos;
  if (!awq && !weighted && !o.calibration.empty())
    return bad_input("--calibration has no use with --method " + o.method,
                     "the awq methods search on it, the k formats of GGUF weigh by it");
  if (!awq && !o.search_from.empty()) return bad_input("--search-from has no use with --method " + o.method);
  if (!o.search_from.empty() && !o.calibration.empty())
    return bad_input("--search-from and --calibration exclude each other");
  if (o.double_quant && method != QuantizeMethod::nf4 && method != QuantizeMethod::fp4)
    return bad_input("--double-quant has no use with --method " + o.method, "it is for nf4 and fp4");
  if (o.grid < 1) return bad_input("--grid " + std::to_string(o.grid) + " is below 1");
  if (o.samples < 1) return bad_input("--samples " + std::to_string(o.samples) + " is below 1");
  if (o.calibration_block < 1)
    return bad_input("--calibration-block " + std::to_string(o.calibration_block) + " is below 1");
  return {};
}

Status check_search_options(const QuantizeOptions& options, Mode mode) {
  auto search = awq_search_options(options, mode);
  return search.ok() ? Status() : Status(search.error());
}

void say_skipped(const QuantizeReport& report) {
  for (const SkippedModule& skipped : report.skipped)
    log_warning(skipped.name + " is left as it is: " + skipped.reason);
  for (const std::string& line : report.unscaled) log_warning(line);
}

QuantizeReport start_report(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
                            const QuantizeOptions& options) {
  QuantizeReport report;
  report.out = options.out;
  report.skipped = skipped_modules(targets);
  report.bytes_before = source.stored_bytes();
  for (const QuantizeTarget& t : targets) report.quantized += t.quantized ? 1 : 0;
  return report;
}

AwqGroupOptions packing_of(const QuantizeOptions& options, Mode mode) {
  AwqSearchOptions search{.group = options.group, .switches = awq_switches(mode)};
  return search.packing_groups();
}

// Lets a search change the weights it scaled or clipped.
void connect_search(FolderPlan& plan, const AwqSearch& found, DType precision, bool through_f16) {
  plan.is_changed = [](const WeightSpec& spec) { return layer_module(spec.module).layer >= 0; };
  const QuantizeSource& source = plan.source;
  std::vector<std::string> packed;
  for (const QuantizeTarget& t : plan.targets)
    if (t.quantized) packed.push_back(t.spec.name);
  plan.changed = [&source, &found, precision, through_f16,
                  packed = std::move(packed)](const WeightSpec& spec) -> Result<std::vector<float>> {
    BM_TRY(auto values, source.values(spec));
    LayerModule place = layer_module(spec.module);
    const AwqLayerSearch& layer = found.layers[static_cast<size_t>(place.layer)];
    if (spec.shape.size() == 2)
      apply_search_to_linear(layer, place.module, precision, spec.shape[0], spec.shape[1], values);
    else
      apply_search_to_vector(layer, place.module, precision, values);
    if (through_f16 && std::find(packed.begin(), packed.end(), spec.name) != packed.end())
      for (float& value : values) value = round_to_f16_fast(value);  // the peer packs from float16 weights
    return values;
  };
}

std::vector<std::string> all_methods() {
  std::vector<std::string> names = folder_methods();
  for (const std::string& name : gguf_methods()) names.push_back(name);
  return names;
}

uint64_t folder_bytes(const std::vector<OutputTensor>& tensors) {
  uint64_t total = 0;
  for (const OutputTensor& tensor : tensors) total += tensor.spec.bytes();
  return total;
}

// Search, pack, measure, describe; the stage's folder is open.
Status run_stage(FolderPlan& plan, const CommonOptions& common, Mode mode, StageFolder& stage,
                 QuantizeReport& report) {
  const QuantizeOptions& options = plan.options;
  double started = now_seconds();
  AwqSearch found;
  if (searches(plan.method)) {
    BM_TRY(auto search, awq_search_options(options, mode));
    BM_TRY(found, awq_search(plan.source, plan.targets, options, search, common.seed_or(0), options.out));
    for (size_t i = 0; i < found.layers.size(); ++i)
      for (const AwqScaling& scaling : found.layers[i].scalings)
        if (!scaling.unscaled.empty())
          report.unscaled.push_back("model.layers." + std::to_string(i) + ", scaling after " +
                                    scaling.previous + ": " + scaling.unscaled);
    connect_search(plan, found, search.precision, !search.switches.float32_codes);
  }
  double searched = now_seconds();
  say_skipped(report);
  BM_TRY(auto tensors, folder_tensors(plan));
  report.bytes_after = folder_bytes(tensors);
  BM_TRY(auto config, folder_config(plan));
  HfFolderOptions folder;
  folder.progress_label = "quantizing to " + options.method;
  BM_CHECK_OK(write_hf_folder(options.out, config, tensors, folder));
  BM_CHECK_OK(copy_side_files(options.model, options.out,
                              searches(plan.method) && awq_switches(mode).sets_do_sample));
  double written = now_seconds();
  if (!options.quality.empty()) {
    BM_TRY(report.quality,
           measure_quality(options.model, options.out, options.quality, options.calibration_block));
    BM_CHECK_OK(write_file_atomic(stage.file("quality.json"), report.quality.dump_pretty() + "\n"));
  }
  ModelCard card{options.model, options.method, found.calibration, found.calibration_licence, common.mode,
                 report,        options};
  BM_CHECK_OK(write_file_atomic(stage.file("README.md"), model_card(card)));
  BM_CHECK_OK(remove_all(stage.file("search")));
  return stage.finish(report.json(), Json::object({{"search_seconds", searched - started},
                                                   {"write_seconds", written - searched}}));
}

}  // namespace

void describe(Fields& f, QuantizeOptions& o) {
  f.add("method", o.method, "format to write", {.choices = all_methods()});
  f.add("group", o.group, "inputs that share a scale (AWQ, rtn, w4a16); 0 = the whole row",
        {.unit = "inputs"});
  f.add("block", o.block, "values that share a maximum (nf4, fp4)", {.unit = "values"});
  f.add("double-quant", o.double_quant, "quantize the block maxima too (nf4, fp4)");
  f.add("dtype", o.dtype,
        "cast weights to this before quantizing, and store what is not quantized in it; default: as stored",
        {.choices = {"", "f32", "f16", "bf16", "float32", "float16", "bfloat16"}});
  f.add("skip", o.skip,
        "modules left as they are, besides embeddings and head, e.g. down_proj or model.layers.0");
  f.add("search-dtype", o.search_dtype, "arithmetic of the AWQ search",
        {.choices = {"f32", "f16", "float32", "float16"}});
  f.add("clip", o.clip, "search clip maxima (AWQ)");
  f.add("duo-scaling", o.duo_scaling,
        "scales from activations and weights; off: from activations alone (AWQ)");
  f.add("grid", o.grid, "ratios tried per scaling group (AWQ)");
  f.add("calibration", o.calibration,
        "text to search on (AWQ) or to weigh inputs by (k formats of GGUF): JSON lines with text or ids, or "
        "a corpus folder",
        {.unit = "file or folder", .result_neutral = true});
  f.add("samples", o.samples, "calibration samples", {.unit = "samples"});
  f.add("calibration-block", o.calibration_block,
        "tokens of a calibration block; longer samples are dropped, the others joined and cut to it",
        {.unit = "tokens"});
  f.add("search-from", o.search_from, "pack the search of an earlier AWQ run again, without searching",
        {.unit = "folder", .result_neutral = true});
  f.add("quality", o.quality, "text to measure the loss on; writes quality.json",
        {.unit = "file", .result_neutral = true});
}

Json QuantizeReport::json() const {
  Json left = Json::array(), without = Json::array(), others = Json::array();
  for (const SkippedModule& s : other_types)
    others.push_back(Json::object({{"tensor", s.name}, {"reason", s.reason}}));
  for (const SkippedModule& s : skipped)
    left.push_back(Json::object({{"module", s.name}, {"reason", s.reason}}));
  for (const std::string& line : unscaled) without.push_back(line);
  return Json::object({{"quantized_linears", quantized},
                       {"left_as_they_are", left},
                       {"other_types", others},
                       {"unscaled_groups", without},
                       {"bytes_before", bytes_before},
                       {"bytes_after", bytes_after},
                       {"quality", quality}});
}

Result<QuantizeReport> quantize(const QuantizeOptions& options, const CommonOptions& common) {
  BM_TRY(auto mode, common.parsed_mode());
  BM_TRY(auto method, parse_quantize_method(options.method));
  BM_CHECK_OK(check_options(options, method));
  if (method == QuantizeMethod::gguf) return quantize_gguf(options, common);
  if (searches(method)) BM_CHECK_OK(check_search_options(options, mode));
  BM_TRY(auto source, QuantizeSource::open(options.model, options.dtype));
  BM_TRY(auto targets, plan_targets(source.config(), options, method, common.limit));
  QuantizeReport report = start_report(source, targets, options);
  FolderPlan plan{source, options, method, targets, packing_of(options, mode), mode != Mode::corrected,
                  {},     {}};
  report.memory_need =
      searches(method) ? awq_memory_need(source.config(), options) : source.stored_bytes() / 4;
  if (common.dry_run) {
    report.dry_run = true;
    BM_TRY(auto tensors, folder_tensors(plan));
    report.bytes_after = folder_bytes(tensors);
    say_skipped(report);
    return report;
  }
  BM_TRY(auto identity, identity_of(options, common));
  BM_TRY(auto stage, StageFolder::open(options.out, identity, common.overwrite));
  if (stage.state() == StageFolder::State::complete) {
    const Json& after = stage.manifest()["results"]["bytes_after"];
    report.already_complete = true;
    report.bytes_after = after.is_integer() ? after.as_uint() : 0;
    return report;
  }
  BM_CHECK_OK(run_stage(plan, common, mode, stage, report));
  return report;
}

}  // namespace bm
