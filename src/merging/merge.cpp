#include "merging/merge.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/system.h"
#include "kernels/kernels.h"
#include "merging/documents.h"
#include "merging/input_hashes.h"
#include "merging/output.h"
#include "merging/plan_report.h"
#include "merging/side_files.h"
#include "merging/statistics.h"

namespace bm {
namespace {

// Everything known before a weight is read.
struct Prepared {
  MergeConfiguration configuration;
  MergePlan plan;
  Mode mode = Mode::corrected;
  uint64_t seed = 0;
  uint64_t shard_bytes = 0;
};

// A file's configurations with the folder each is written to.
struct Jobs {
  std::vector<MergeDocument> documents;
  std::vector<std::string> folders;
  std::map<std::string, std::string> paths;  // names in the YAML → folders
};

Result<Jobs> read_jobs(const MergeOptions& options) {
  Jobs jobs;
  BM_TRY(jobs.documents, read_merge_documents(options.config));
  jobs.paths = options.model_paths;
  std::string intermediate =
      options.intermediate_dir.empty() ? options.out + ".intermediate" : options.intermediate_dir;
  for (const MergeDocument& document : jobs.documents) {
    jobs.folders.push_back(document.name.empty() ? options.out : path_join(intermediate, document.name));
    if (!document.name.empty()) jobs.paths[document.name] = jobs.folders.back();
  }
  return jobs;
}

using PlannedModels = std::map<std::string, std::shared_ptr<const PlannedModel>>;

Result<Prepared> prepare(const MergeOptions& options, const CommonOptions& common,
                         MergeConfiguration configuration, const std::map<std::string, std::string>& paths,
                         const PlannedModels& planned) {
  Prepared out;
  BM_TRY(out.mode, common.parsed_mode());
  if (common.seed && options.random_seed && *common.seed != *options.random_seed)
    return bad_input("--seed and --random-seed differ", "They mean the same: give one.");
  out.seed = common.seed_or(options.random_seed ? static_cast<uint64_t>(*options.random_seed) : 0);
  BM_TRY(out.shard_bytes, parse_shard_size(options.out_shard_size));
  if (!options.safe_serialization)
    return bad_input("--no-safe-serialization is not supported",
                     "Results are written as safetensors, which every loader reads.");
  out.configuration = std::move(configuration);
  PlanRequest request{merge_switches(out.mode), paths, planned, options.allow_crimes,
                      options.unsafe_truncate_embeddings};
  BM_TRY(out.plan, plan_merge(out.configuration, request).in(options.config));
  BM_TRY([[maybe_unused]] std::string chat_template,
         resolve_chat_template(out.configuration.chat_template, out.plan).in(options.config));
  if (common.limit > 0 && static_cast<size_t>(common.limit) < out.plan.tensors.size()) {
    out.plan.tensors.resize(static_cast<size_t>(common.limit));
    out.plan.lints.push_back({"only the first " + std::to_string(common.limit) +
                                  " tensors are written (--limit): no loader takes the result",
                              ""});
  }
  return out;
}

// All of a file's configurations, checked before anything is written; results of earlier ones are planned
// only.
Result<std::vector<Prepared>> prepare_all(const MergeOptions& options, const CommonOptions& common,
                                          const Jobs& jobs) {
  std::vector<Prepared> out;
  PlannedModels planned;
  for (const MergeDocument& document : jobs.documents) {
    std::string place = document.name.empty() ? "the result" : "configuration \"" + document.name + "\"";
    auto tried = prepare(options, common, document.configuration, jobs.paths, planned);
    BM_TRY(Prepared prepared, jobs.documents.size() > 1 ? std::move(tried).in(place) : std::move(tried));
    if (!document.name.empty())
      planned[document.name] = planned_result(prepared.configuration, prepared.plan);
    out.push_back(std::move(prepared));
  }
  return out;
}

void mention_needless_flags(const MergeOptions& o) {
  std::string names;
  auto add = [&](bool given, const char* name) {
    if (given) names += (names.empty() ? "--" : ", --") + std::string(name);
  };
  add(o.clone_tensors, "clone-tensors"), add(o.lazy_unpickle, "lazy-unpickle"),
      add(o.low_cpu_memory, "low-cpu-memory");
  add(o.cuda, "cuda"), add(o.read_to_gpu, "read-to-gpu"), add(o.trust_remote_code, "trust-remote-code");
  add(o.multi_gpu, "multi-gpu"), add(o.async_write, "async-write"),
      add(!o.lora_merge_cache.empty(), "lora-merge-cache");
  add(!o.transformers_cache.empty(), "transformers-cache"), add(!o.device.empty(), "device");
  if (!names.empty())
    log_info(names + ": needless here (inputs are mapped, one tensor is merged at a time) and ignored");
}

Result<StageIdentity> identity(const MergeOptions& options, const CommonOptions& common,
                               const Prepared& prepared) {
  StageIdentity out{.verb = "merge",
                    .options = {},
                    .inputs = {},
                    .seed = prepared.seed,
                    .mode = std::string(mode_name(prepared.mode))};
  MergeOptions copy = options;
  Fields fields;
  describe(fields, copy);
  out.options = fields.dump_identity();
  out.options.set("limit", common.limit);
  out.inputs.push_back({"config", options.config, sha256_hex(prepared.configuration.source)});
  for (const LoadedModel& model : prepared.plan.models)
    for (const std::string& folder : model.folders()) {
      BM_TRY(StageInput input,
             stage_input_hashed_later(
                 folder == model.path ? model.reference.text : "adapter of " + model.reference.text, folder));
      out.inputs.push_back(std::move(input));
    }
  return out;
}

// Rows of every input in the order of the result's vocabulary.
Status align_inputs(const Vocabulary& vocabulary, const PlannedTensor& tensor, Rounding load,
                    TensorProblem& p) {
  std::vector<size_t> which;
  std::vector<Tensor> embeddings;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    which.push_back(tensor.inputs[i].model);
    Tensor values(DType::f32, p.inputs[i].view().shape);
    p.inputs[i].read(0, values.count(), values.as<float>());
    embeddings.push_back(std::move(values));
  }
  BM_TRY(std::vector<Tensor> aligned, align_embeddings(vocabulary, which, embeddings));
  for (size_t i = 0; i < aligned.size(); ++i) p.inputs[i] = Source(aligned[i].view(), load);
  return {};
}

Result<TensorProblem> problem_of(const Prepared& prepared, const PlannedTensor& tensor, Mt19937* stream) {
  TensorProblem p;
  p.name = tensor.name;
  p.shape = tensor.shape;
  p.base = tensor.base;
  p.method = prepared.plan.method;
  p.parameters = tensor.parameters;
  p.per_input = tensor.per_input;
  p.switches = prepared.plan.switches.arithmetic;
  p.seed = prepared.seed;
  p.stream = stream;
  Rounding load = Rounding::none;
  if (p.switches.round_every_operation) {
    p.working = rounding_of(tensor.working);
    load = p.working;
  }
  for (const PlannedInput& input : tensor.inputs) {
    const LoadedModel& model = prepared.plan.models[input.model];
    BM_TRY(Source source, model.source(input.stored, load, p.switches.round_every_operation));
    p.inputs.push_back(std::move(source));
    p.models.push_back(model.reference.text);
  }
  if (tensor.vocabulary && prepared.plan.vocabulary)
    BM_CHECK_OK(align_inputs(*prepared.plan.vocabulary, tensor, load, p));
  return p;
}

// Methods that need the base or several inputs pass a tensor through that only one model has.
Result<BlockFunction> block_function(const TensorProblem& p) {
  if (p.inputs.size() == 1 && p.method->kind != MethodKind::passthrough &&
      p.method->kind != MethodKind::linear)
    return BlockFunction([&p](int64_t begin, int64_t end, float* out) { p.inputs[0].read(begin, end, out); });
  return prepare_merge(p);
}

void to_stored_type(const float* values, std::byte* out, DType type, int64_t count) {
  if (type == DType::bf16)
    return kernels().merge->narrow_bf16(count, values, reinterpret_cast<uint16_t*>(out));
  // Among float types this cannot fail.
  [[maybe_unused]] Status converted =
      convert_elements(reinterpret_cast<const std::byte*>(values), DType::f32, out, type, count);
}

Status write_tensor(const TensorProblem& p, const PlannedTensor& tensor, size_t index, bool with_statistics,
                    MergeOutput& output) {
  BM_TRY(BlockFunction block, block_function(p));
  int64_t count = p.count();
  size_t width = dtype_bits(tensor.written) / 8;
  auto blocks = static_cast<size_t>((count + merge_block - 1) / merge_block);
  std::vector<uint64_t> sums(blocks);
  std::vector<Status> states(blocks);
  std::optional<TensorStatistics> statistics;
  if (with_statistics) statistics.emplace(p);
  // The method that promotes masked differences writes float32; every other result is on the working
  // type's grid already, so that this conversion is the second rounding only where out_dtype asks for one.
  parallel_for(blocks, [&](size_t b) {
    int64_t begin = static_cast<int64_t>(b) * merge_block, end = std::min(count, begin + merge_block);
    thread_local std::vector<float> values;
    thread_local std::vector<std::byte> bytes;
    values.resize(static_cast<size_t>(end - begin));
    bytes.resize(values.size() * width);
    block(begin, end, values.data());
    to_stored_type(values.data(), bytes.data(), tensor.written, end - begin);
    if (statistics) statistics->add(begin, end, values.data());
    sums[b] = block_checksum(bytes);
    states[b] = output.write(index, static_cast<uint64_t>(begin) * width, bytes);
  });
  for (Status& state : states) BM_CHECK_OK(std::move(state));
  return output.finish_tensor(index, combine_checksums(sums), statistics ? statistics->json() : Json());
}

Status merge_tensors(const Prepared& prepared, bool statistics, MergeOutput& output, InputHashes& hashes) {
  const auto& tensors = prepared.plan.tensors;
  Mt19937 stream(static_cast<uint32_t>(prepared.seed));
  Progress progress("merging", "bytes", prepared.plan.written_bytes());
  const double total = static_cast<double>(std::max<uint64_t>(1, prepared.plan.written_bytes()));
  uint64_t written = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    BM_TRY(TensorProblem p, problem_of(prepared, tensors[i], &stream));
    if (output.done(i)) {  // the stream must stand where it stood
      int64_t draws = p.switches.mt19937_masks ? stream_draws(p) : 0;
      for (int64_t n = 0; n < draws; ++n) stream.next();
    } else {
      if (stop_requested()) return interrupted_error("merge");
      progress.note(tensors[i].name);
      BM_CHECK_OK(write_tensor(p, tensors[i], i, statistics, output).in("tensor " + tensors[i].name));
      if (!(tensors[i].vocabulary && prepared.plan.vocabulary))
        for (const Source& source : p.inputs) source.drop();
    }
    progress.advance(tensors[i].bytes());
    written += tensors[i].bytes();
    hashes.progress(static_cast<double>(written) / total);
  }
  return {};
}

// Statistics of every tensor, by layer in the returned value.
Status write_statistics(const Prepared& prepared, const MergeOutput& output, const std::string& folder,
                        Json& layers) {
  std::vector<Json> tensors;
  Json all = Json::array();
  for (size_t i = 0; i < prepared.plan.tensors.size(); ++i) {
    tensors.push_back(output.notes(i));
    all.push_back(output.notes(i));
  }
  layers = layer_statistics(tensors);
  Json file = Json::object({{"layers", layers}, {"tensors", all}});
  return write_file_atomic(path_join(folder, "merge_statistics.json"), file.dump_pretty() + "\n");
}

Result<MergeReport> run_merge(const MergeOptions& options, const CommonOptions& common,
                              const Prepared& prepared) {
  MergeReport report;
  report.lints = prepared.plan.lints;
  report.summary = plan_summary(prepared.plan, prepared.mode, prepared.seed);
  report.tensors = prepared.plan.tensors.size();
  report.bytes = prepared.plan.written_bytes();
  double start = now_seconds();
  BM_TRY(StageIdentity stage, identity(options, common, prepared));
  BM_TRY(StageFolder folder, StageFolder::open(options.out, stage, common.overwrite));
  if (folder.state() == StageFolder::State::complete) {
    report.already_complete = true;
    return report;
  }
  std::vector<TensorSpec> specs;
  for (const PlannedTensor& tensor : prepared.plan.tensors)
    specs.push_back({tensor.name, tensor.written, tensor.shape});
  BM_TRY(MergeOutput output, MergeOutput::open(options.out, std::move(specs), prepared.shard_bytes,
                                               {{"format", "pt"}}, merge_block));
  InputHashes hashes(stage.inputs);
  BM_CHECK_OK(merge_tensors(prepared, options.statistics, output, hashes));
  BM_TRY(std::vector<StageInput> inputs, hashes.finish());
  folder.set_inputs(inputs);
  SideFileRequest side{
      options.out, options.copy_tokenizer, options.write_model_card, prepared.seed, prepared.mode, inputs,
      {}};
  if (options.statistics) BM_CHECK_OK(write_statistics(prepared, output, options.out, side.statistics));
  BM_CHECK_OK(write_side_files(prepared.configuration, prepared.plan, side));
  BM_CHECK_OK(output.commit(Json::object({{"biomistral_version", program_version()}})));
  report.seconds = now_seconds() - start;
  BM_CHECK_OK(folder.finish(report.summary, Json::object({{"merge_seconds", report.seconds}})));
  return report;
}

}  // namespace

void describe(Fields& f, MergeOptions& o) {
  const FieldInfo needless{.result_neutral = true};
  f.add("random-seed", o.random_seed, "seed of random masks (mergekit's name for --seed)",
        {.result_neutral = true});
  f.add("out-shard-size", o.out_shard_size,
        "largest shard; suffixes k, M and B are powers of 1,000, as mergekit's", {.unit = "bytes"});
  f.add("copy-tokenizer", o.copy_tokenizer, "copy the tokenizer and generation files of the base model");
  f.add("write-model-card", o.write_model_card, "write README.md and mergekit_config.yml");
  f.add("statistics", o.statistics,
        "sizes and angles of the differences per layer: merge_statistics.json and the model card");
  f.add("intermediate-dir", o.intermediate_dir,
        "where configurations that have a `name` are written; default: OUT.intermediate", needless);
  f.add("allow-crimes", o.allow_crimes, "merge models of different architectures");
  f.add("unsafe-truncate-embeddings", o.unsafe_truncate_embeddings,
        "cut vocabularies of different sizes to their common rows");
  f.add("clone-tensors", o.clone_tensors, "accepted, needless", needless);
  f.add("lora-merge-cache", o.lora_merge_cache, "accepted, needless", needless);
  f.add("transformers-cache", o.transformers_cache, "accepted, needless", needless);
  f.add("lazy-unpickle", o.lazy_unpickle, "accepted, needless", needless);
  f.add("low-cpu-memory", o.low_cpu_memory, "accepted, needless", needless);
  f.add("cuda", o.cuda, "accepted, needless", needless);
  f.add("read-to-gpu", o.read_to_gpu, "accepted, needless", needless);
  f.add("multi-gpu", o.multi_gpu, "accepted, needless", needless);
  f.add("async-write", o.async_write, "accepted, needless", needless);
  f.add("device", o.device, "accepted, needless", needless);
  f.add("trust-remote-code", o.trust_remote_code, "accepted, needless: no code of a model is ever run",
        needless);
  f.add("safe-serialization", o.safe_serialization, "results are always safetensors", needless);
}

Result<uint64_t> parse_shard_size(const std::string& text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, code] = std::from_chars(text.data(), end, value);
  uint64_t unit = 1;
  if (stop + 1 == end) {
    switch (std::tolower(static_cast<unsigned char>(*stop))) {
      case 'k':
        unit = 1'000;
        break;
      case 'm':
        unit = 1'000'000;
        break;
      case 'g':
      case 'b':
        unit = 1'000'000'000;
        break;
      default:
        unit = 0;
    }
  } else if (stop != end) {
    unit = 0;
  }
  if (code != std::errc() || unit == 0 || value == 0 || value > UINT64_MAX / unit)
    return bad_input("--out-shard-size \"" + text + "\" is no size",
                     "Write bytes, or a number with k, M or B (powers of 1,000), e.g. 5B.");
  return value * unit;
}

namespace {

void warn(const std::vector<Lint>& lints) {
  for (const Lint& lint : lints) log_warning(lint.text + (lint.cure.empty() ? "" : ". " + lint.cure));
}

Json details_of(const std::vector<Prepared>& all, const Jobs& jobs) {
  const Prepared& last = all.back();
  Json out = plan_details(last.plan, last.mode, last.seed);
  if (all.size() == 1) return out;
  Json earlier = Json::array();
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    Json part = plan_details(all[i].plan, all[i].mode, all[i].seed);
    part.set("name", jobs.documents[i].name);
    part.set("folder", jobs.folders[i]);
    earlier.push_back(std::move(part));
  }
  out.set("earlier", earlier);
  return out;
}

}  // namespace

Result<MergeReport> merge(const MergeOptions& options, const CommonOptions& common) {
  mention_needless_flags(options);
  BM_TRY(Jobs jobs, read_jobs(options));
  BM_TRY(std::vector<Prepared> all, prepare_all(options, common, jobs));
  MergeReport report;
  for (const Prepared& prepared : all) {
    warn(prepared.plan.lints);
    report.lints.insert(report.lints.end(), prepared.plan.lints.begin(), prepared.plan.lints.end());
  }
  if (common.dry_run) {
    report.summary = details_of(all, jobs);
    report.tensors = all.back().plan.tensors.size();
    report.bytes = all.back().plan.written_bytes();
    return report;
  }
  std::vector<Lint> lints = std::move(report.lints);
  bool complete = true;
  for (size_t i = 0; i < all.size(); ++i) {
    MergeOptions one = options;
    one.out = jobs.folders[i];
    if (!jobs.documents[i].needs.empty()) {  // now that they are there
      BM_TRY(all[i], prepare(one, common, jobs.documents[i].configuration, jobs.paths, {}));
    }
    BM_TRY(report, run_merge(one, common, all[i]));
    complete = complete && report.already_complete;
  }
  report.lints = std::move(lints);
  report.already_complete = complete;
  return report;
}

Result<Json> merge_plan(const MergeOptions& options, const CommonOptions& common) {
  BM_TRY(Jobs jobs, read_jobs(options));
  BM_TRY(std::vector<Prepared> all, prepare_all(options, common, jobs));
  return details_of(all, jobs);
}

}  // namespace bm
