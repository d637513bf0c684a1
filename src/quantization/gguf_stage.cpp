// quantize and convert to GGUF: the file, what stands beside it, and when it is already there.
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "quantization/folder.h"
#include "quantization/gguf_export.h"
#include "quantization/importance.h"
#include "quantization/quality.h"

namespace bm {
namespace {

bool is_file(const std::string& out) { return ends_with(out, ".gguf"); }
// Beside OUT.gguf: OUT.manifest.json, OUT.quality.json.
std::string beside(const std::string& out, const std::string& name) {
  return out.substr(0, out.size() - 5) + "." + name;
}

Json identity_json(const StageIdentity& identity) {
  Json inputs = Json::array();
  for (const StageInput& input : identity.inputs)
    inputs.push_back(Json::object({{"role", input.role}, {"path", input.path}, {"sha256", input.sha256}}));
  return Json::object({{"verb", identity.verb},
                       {"version", program_version()},
                       {"mode", identity.mode},
                       {"seed", identity.seed},
                       {"options", identity.options},
                       {"inputs", inputs}});
}

// The same run: everything but the inputs' paths.
bool same_run(const Json& a, const Json& b) {
  for (const char* key : {"verb", "mode", "seed", "options"})
    if (!(a[key] == b[key])) return false;
  if (a["inputs"].size() != b["inputs"].size()) return false;
  for (size_t i = 0; i < a["inputs"].size(); ++i)
    if (!(a["inputs"][i]["sha256"] == b["inputs"][i]["sha256"])) return false;
  return true;
}

// A single file as a stage: complete when it and a manifest of the same run are there.
Result<bool> already_there(const std::string& out, const Json& identity, bool overwrite) {
  if (is_directory(out)) return bad_input("is a folder", "name another file").in(out);
  if (!exists(out) || overwrite) return false;
  std::string manifest = beside(out, "manifest.json");
  if (!exists(manifest))
    return bad_input("exists and was not written by this command", "give another name, or --overwrite")
        .in(out);
  BM_TRY(Json was, read_json_file(manifest));
  if (same_run(was, identity)) return true;
  return bad_input("exists and was made with other inputs or options", "give another name, or --overwrite")
      .in(out);
}

void say_other_types(const std::vector<SkippedModule>& other) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const SkippedModule& tensor : other) by_reason[tensor.reason].push_back(tensor.name);
  for (const auto& [reason, names] : by_reason)
    log_warning(std::to_string(names.size()) + (names.size() == 1 ? " tensor (" : " tensors (first ") +
                names[0] + "): " + reason);
}

struct Job {
  const QuantizeSource& source;
  const GgufPlan& plan;
  const QuantizeOptions& options;
  const Importance& importance;
};

// Model card, tokenizer and quality of a written file.
Status describe_folder(const Job& job, const std::string& file, StageFolder& stage, QuantizeReport& report) {
  BM_TRY(auto copied, copy_tokenizer_files(job.options.model, stage.path()));
  (void)copied;
  ModelCard card{job.options.model,
                 job.options.method,
                 job.importance.calibration,
                 job.importance.calibration_licence,
                 "corrected",
                 report,
                 job.options};
  (void)file;
  return write_file_atomic(stage.file("README.md"), model_card(card));
}

Status measure(const QuantizeOptions& options, const std::string& file, const std::string& target,
               QuantizeReport& report) {
  if (options.quality.empty()) return {};
  BM_TRY(report.quality, measure_quality(options.model, file, options.quality, options.calibration_block));
  return write_file_atomic(target, report.quality.dump_pretty() + "\n");
}

Result<StageIdentity> identity_of(const std::string& verb, Json options, const CommonOptions& common,
                                  const std::vector<std::pair<std::string, std::string>>& inputs) {
  StageIdentity identity{verb, std::move(options), {}, common.seed_or(0), common.mode};
  for (const auto& [role, path] : inputs) {
    if (path.empty()) continue;
    BM_TRY(auto input, stage_input(role, path));
    identity.inputs.push_back(std::move(input));
  }
  return identity;
}

Result<QuantizeReport> run(const QuantizeOptions& options, const CommonOptions& common, const GgufMix& mix,
                           const StageIdentity& identity) {
  BM_TRY(auto source, QuantizeSource::open(options.model, options.dtype));
  GgufPlan plan{source, mix, options.skip, nullptr};
  QuantizeReport report;
  report.out = options.out;
  report.bytes_before = source.stored_bytes();
  BM_TRY(auto content, gguf_content(plan));
  report.quantized = content.quantized;
  report.bytes_after = content.bytes;
  report.other_types = content.other_types;
  if (common.dry_run) {
    report.dry_run = true;
    say_other_types(content.other_types);
    return report;
  }
  std::optional<StageFolder> stage;
  std::string file = options.out;
  if (is_file(options.out)) {
    BM_TRY(bool there, already_there(options.out, identity_json(identity), common.overwrite));
    report.already_complete = there;
  } else {
    BM_TRY(stage, StageFolder::open(options.out, identity, common.overwrite));
    report.already_complete = stage->state() == StageFolder::State::complete;
    file = stage->file("model.gguf");
  }
  if (report.already_complete) return report;
  say_other_types(content.other_types);
  Importance importance;
  if (!options.calibration.empty()) {
    BM_TRY(importance, measure_importance(source, options, common.seed_or(0)));
    plan.importance = &importance.matrix;
    BM_TRY(content, gguf_content(plan));
    report.other_types = content.other_types;
    report.bytes_after = content.bytes;
  }
  double started = now_seconds();
  BM_CHECK_OK(write_gguf(file, content.keys, content.tensors, "writing " + options.method));
  Json timings = Json::object({{"write_seconds", now_seconds() - started}});
  BM_CHECK_OK(
      measure(options, file, stage ? stage->file("quality.json") : beside(file, "quality.json"), report));
  if (stage) {
    BM_CHECK_OK(describe_folder({source, plan, options, importance}, file, *stage, report));
    BM_CHECK_OK(stage->finish(report.json(), timings));
    return report;
  }
  Json manifest = identity_json(identity);
  manifest.set("results", report.json());
  manifest.set("timings", timings);
  BM_CHECK_OK(write_file_atomic(beside(file, "manifest.json"), manifest.dump_pretty() + "\n"));
  return report;
}

// The weights that a quantized folder stands for, dense.
Result<ConvertReport> dequantize_folder(const ConvertOptions& options, const CommonOptions& common) {
  BM_TRY(auto source, QuantizeSource::open(options.model, options.dtype));
  std::vector<OutputTensor> tensors;
  ConvertReport report;
  for (const WeightSpec& spec : expected_weights(source.config())) {
    BM_TRY(DType dtype, source.dtype_of(spec));
    tensors.push_back({{spec.name, dtype, spec.shape}, [&source, spec] { return source.plain(spec); }});
    report.bytes += tensors.back().spec.bytes();
  }
  report.tensors = tensors.size();
  if (common.dry_run) return report;
  Fields fields;
  ConvertOptions copy = options;
  describe(fields, copy);
  BM_TRY(auto identity, identity_of("convert", fields.dump_identity(), common, {{"model", options.model}}));
  BM_TRY(auto stage, StageFolder::open(options.out, identity, common.overwrite));
  report.already_complete = stage.state() == StageFolder::State::complete;
  if (report.already_complete) return report;
  Json config = source.config().json;
  config.erase("quantization_config");
  config.set(config.contains("dtype") ? "dtype" : "torch_dtype", dtype_torch_name(*source.cast()));
  HfFolderOptions folder;
  folder.shard_bytes = options.out_shard_size.bytes;
  folder.progress_label = "decoding weights";
  BM_CHECK_OK(write_hf_folder(options.out, config, tensors, folder));
  BM_TRY(auto copied, copy_tokenizer_files(options.model, options.out));
  static_cast<void>(copied);
  BM_CHECK_OK(stage.finish(Json::object({{"tensors", Json(report.tensors)}, {"bytes", Json(report.bytes)}})));
  return report;
}

}  // namespace

Result<QuantizeReport> quantize_gguf(const QuantizeOptions& options, const CommonOptions& common) {
  auto mix = gguf_mix(options.method);
  Fields fields;
  QuantizeOptions copy = options;
  describe(fields, copy);
  BM_TRY(auto identity,
         identity_of(
             "quantize", fields.dump_identity(), common,
             {{"model", options.model}, {"calibration", options.calibration}, {"quality", options.quality}}));
  return run(options, common, *mix, identity);
}

Result<ConvertReport> convert_any(const ConvertOptions& options, const CommonOptions& common) {
  if (options.to != "gguf") {
    bool quantized = !options.dtype.empty() && is_directory(options.model) &&
                     exists(path_join(options.model, "config.json"));
    if (quantized) {
      BM_TRY(Json config, read_json_file(path_join(options.model, "config.json")));
      quantized = config["quantization_config"].is_object();
    }
    return quantized ? dequantize_folder(options, common) : convert_model(options, common);
  }
  QuantizeOptions as_quantize;
  as_quantize.model = options.model;
  as_quantize.out = options.out;
  std::string type = options.dtype;
  if (auto dtype = dtype_from_user(type))
    type = *dtype == DType::f32    ? "f32"
           : *dtype == DType::f16  ? "f16"
           : *dtype == DType::bf16 ? "bf16"
                                   : type;
  if (type.empty()) {
    BM_TRY(auto source, QuantizeSource::open(options.model, ""));
    for (const WeightSpec& spec : expected_weights(source.config()))
      if (spec.linear && type.empty()) {
        BM_TRY(DType stored, source.dtype_of(spec));
        type = stored == DType::f16 ? "f16" : stored == DType::bf16 ? "bf16" : "f32";
      }
  }
  auto mix = gguf_mix(type);
  if (!mix) {
    std::string known = "f32, f16, bf16";
    for (const std::string& name : gguf_methods()) known += ", " + name;
    return bad_input("--dtype " + options.dtype + " is no type of a GGUF file", "types are " + known);
  }
  as_quantize.method = type;
  Fields fields;
  ConvertOptions copy = options;
  describe(fields, copy);
  BM_TRY(auto identity, identity_of("convert", fields.dump_identity(), common, {{"model", options.model}}));
  BM_TRY(auto done, run(as_quantize, common, *mix, identity));
  ConvertReport report;
  report.already_complete = done.already_complete;
  report.bytes = done.bytes_after;
  BM_TRY(auto source, QuantizeSource::open(options.model, ""));
  report.tensors = expected_weights(source.config()).size();
  return report;
}

}  // namespace bm
