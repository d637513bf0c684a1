#include "merging/merge.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/system.h"
#include "merging/output.h"
#include "merging/side_files.h"

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

Result<Prepared> prepare(const MergeOptions& options, const CommonOptions& common) {
  Prepared out;
  BM_TRY(out.mode, common.parsed_mode());
  if (common.seed && options.random_seed && *common.seed != *options.random_seed)
    return bad_input("--seed and --random-seed differ", "They mean the same: give one.");
  out.seed = common.seed_or(options.random_seed ? static_cast<uint64_t>(*options.random_seed) : 0);
  BM_TRY(out.shard_bytes, parse_shard_size(options.out_shard_size));
  if (!options.safe_serialization)
    return bad_input("--no-safe-serialization is not supported",
                     "Results are written as safetensors, which every loader reads.");
  BM_TRY(std::string text, read_file(options.config));
  BM_TRY(std::vector<Json> documents, parse_yaml_documents(text).in(options.config));
  if (documents.size() > 1)
    return bad_input(
               "holds " + std::to_string(documents.size()) + " documents; several are not supported yet",
               "Write one configuration per file and merge them one after the other.")
        .in(options.config);
  Json empty;
  BM_TRY(out.configuration,
         parse_merge_configuration(documents.empty() ? empty : documents[0], text).in(options.config));
  PlanRequest request{merge_switches(out.mode), options.model_paths, options.allow_crimes,
                      options.unsafe_truncate_embeddings};
  BM_TRY(out.plan, plan_merge(out.configuration, request).in(options.config));
  BM_CHECK_OK(Status(resolve_chat_template(out.configuration.chat_template, out.plan).ok()
                         ? Status()
                         : Status(resolve_chat_template(out.configuration.chat_template, out.plan).error()))
                  .in(options.config));
  if (common.limit > 0 && static_cast<size_t>(common.limit) < out.plan.tensors.size()) {
    out.plan.tensors.resize(static_cast<size_t>(common.limit));
    out.plan.lints.push_back({"only the first " + std::to_string(common.limit) +
                                  " tensors are written (--limit): no loader takes the result",
                              ""});
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
  const auto& models = prepared.plan.models;
  std::vector<std::optional<Result<StageInput>>> hashed(models.size());
  parallel_for(models.size(),
               [&](size_t i) { hashed[i] = stage_input(models[i].reference.text, models[i].path); });
  for (auto& input : hashed) {
    if (!input->ok()) return std::move(*input).error();
    out.inputs.push_back(std::move(*input).value());
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
    BM_TRY(StoredTensor stored, model.checkpoint.get(input.stored).in(model.path));
    p.inputs.emplace_back(stored.view, load);
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

Status write_tensor(const TensorProblem& p, const PlannedTensor& tensor, size_t index, MergeOutput& output) {
  BM_TRY(BlockFunction block, block_function(p));
  int64_t count = p.count();
  size_t width = dtype_bits(tensor.written) / 8;
  auto blocks = static_cast<size_t>((count + merge_block - 1) / merge_block);
  std::vector<uint64_t> sums(blocks);
  std::vector<Status> states(blocks);
  // The method that promotes masked differences writes float32; every other result is on the working
  // type's grid already, so that this conversion is the second rounding only where out_dtype asks for one.
  parallel_for(blocks, [&](size_t b) {
    int64_t begin = static_cast<int64_t>(b) * merge_block, end = std::min(count, begin + merge_block);
    thread_local std::vector<float> values;
    thread_local std::vector<std::byte> bytes;
    values.resize(static_cast<size_t>(end - begin));
    bytes.resize(values.size() * width);
    block(begin, end, values.data());
    states[b] = convert_elements(reinterpret_cast<const std::byte*>(values.data()), DType::f32, bytes.data(),
                                 tensor.written, end - begin);
    if (!states[b].ok()) return;
    sums[b] = block_checksum(bytes);
    states[b] = output.write(index, static_cast<uint64_t>(begin) * width, bytes);
  });
  for (Status& state : states) BM_CHECK_OK(std::move(state));
  return output.finish_tensor(index, combine_checksums(sums));
}

Status merge_tensors(const Prepared& prepared, MergeOutput& output) {
  const auto& tensors = prepared.plan.tensors;
  Mt19937 stream(static_cast<uint32_t>(prepared.seed));
  Progress progress("merging", "bytes", prepared.plan.written_bytes());
  for (size_t i = 0; i < tensors.size(); ++i) {
    BM_TRY(TensorProblem p, problem_of(prepared, tensors[i], &stream));
    if (output.done(i)) {  // the stream must stand where it stood
      int64_t draws = p.switches.mt19937_masks ? stream_draws(p) : 0;
      for (int64_t n = 0; n < draws; ++n) stream.next();
    } else {
      if (stop_requested()) return interrupted_error("merge");
      progress.note(tensors[i].name);
      BM_CHECK_OK(write_tensor(p, tensors[i], i, output).in("tensor " + tensors[i].name));
      if (!(tensors[i].vocabulary && prepared.plan.vocabulary))
        for (const Source& source : p.inputs) source.drop();
    }
    progress.advance(tensors[i].bytes());
  }
  return {};
}

Json lints_json(const std::vector<Lint>& lints) {
  Json out = Json::array();
  for (const Lint& lint : lints) out.push_back(lint.text + (lint.cure.empty() ? "" : ". " + lint.cure));
  return out;
}

// Bytes held: blocks of every thread, masks, histograms; mapped pages of one tensor's inputs.
uint64_t memory_estimate(const MergePlan& plan) {
  uint64_t largest_mask = 0, largest_inputs = 0;
  size_t inputs = 1;
  for (const PlannedTensor& tensor : plan.tensors) {
    auto count = static_cast<uint64_t>(element_count(tensor.shape));
    bool bits = plan.method->sparsifier == Sparsifier::random || plan.method->sparsifier == Sparsifier::della;
    if (bits) largest_mask = std::max(largest_mask, count / 8 * tensor.inputs.size());
    largest_inputs = std::max(largest_inputs, 4 * count * tensor.inputs.size());
    inputs = std::max(inputs, tensor.inputs.size());
  }
  uint64_t per_thread = static_cast<uint64_t>(merge_block) * (8 + 4 * (inputs + 3)) + 65536 * 12;
  return per_thread * static_cast<uint64_t>(thread_count()) + largest_mask + largest_inputs + (32u << 20);
}

Json summary_of(const Prepared& prepared) {
  const MergePlan& plan = prepared.plan;
  return Json::object(
      {{"method", plan.method->name},
       {"mode", mode_name(prepared.mode)},
       {"seed", prepared.seed},
       {"tensors", static_cast<uint64_t>(plan.tensors.size())},
       {"layers", plan.layers},
       {"bytes", plan.written_bytes()},
       {"dtype", plan.tensors.empty() ? std::string_view("") : dtype_torch_name(plan.tensors[0].written)},
       {"warnings", lints_json(plan.lints)}});
}

Json tensor_json(const MergePlan& plan, const PlannedTensor& tensor) {
  Json inputs = Json::array();
  for (size_t i = 0; i < tensor.inputs.size(); ++i) {
    Json input = Json::object(
        {{"model", plan.models[tensor.inputs[i].model].reference.text}, {"tensor", tensor.inputs[i].stored}});
    if (static_cast<int>(i) == tensor.base) input.set("base", true);
    for (const auto& [name, value] : tensor.per_input[i]) input.set(name, value);
    inputs.push_back(std::move(input));
  }
  Json parameters = Json::object();
  for (const auto& [name, value] : tensor.parameters) parameters.set(name, value);
  Json shape = Json::array();
  for (int64_t size : tensor.shape) shape.push_back(size);
  return Json::object({{"name", tensor.name},
                       {"method", plan.method->name},
                       {"parameters", parameters},
                       {"inputs", inputs},
                       {"shape", shape},
                       {"working_dtype", dtype_torch_name(tensor.working)},
                       {"dtype", dtype_torch_name(tensor.written)},
                       {"bytes", tensor.bytes()}});
}

Json plan_json(const Prepared& prepared) {
  const MergePlan& plan = prepared.plan;
  Json tensors = Json::array();
  for (const PlannedTensor& tensor : plan.tensors) tensors.push_back(tensor_json(plan, tensor));
  // Rough: a pass over the inputs and the write at 1 GB/s, TIES-like methods read three times.
  bool selects = plan.method->kind == MethodKind::task_vectors || plan.method->kind == MethodKind::sce;
  double seconds = (static_cast<double>(plan.read_bytes()) * (selects ? 4 : 2) +
                    static_cast<double>(plan.written_bytes())) /
                   1e9;
  Json out = summary_of(prepared);
  out.set("read_bytes", plan.read_bytes());
  out.set("disk_bytes", plan.written_bytes());
  out.set("memory_bytes", memory_estimate(plan));
  out.set("seconds_estimate", seconds);
  out.set("tensors", tensors);
  return out;
}

Result<MergeReport> run_merge(const MergeOptions& options, const CommonOptions& common,
                              const Prepared& prepared) {
  MergeReport report;
  report.lints = prepared.plan.lints;
  report.summary = summary_of(prepared);
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
  BM_CHECK_OK(merge_tensors(prepared, output));
  SideFileRequest side{options.out,   options.copy_tokenizer, options.write_model_card,
                       prepared.seed, prepared.mode,          stage.inputs};
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

Result<MergeReport> merge(const MergeOptions& options, const CommonOptions& common) {
  mention_needless_flags(options);
  BM_TRY(Prepared prepared, prepare(options, common));
  for (const Lint& lint : prepared.plan.lints)
    log_warning(lint.text + (lint.cure.empty() ? "" : ". " + lint.cure));
  if (!common.dry_run) return run_merge(options, common, prepared);
  MergeReport report;
  report.lints = prepared.plan.lints;
  report.summary = plan_json(prepared);
  report.tensors = prepared.plan.tensors.size();
  report.bytes = prepared.plan.written_bytes();
  return report;
}

Result<Json> merge_plan(const MergeOptions& options, const CommonOptions& common) {
  BM_TRY(Prepared prepared, prepare(options, common));
  return plan_json(prepared);
}

}  // namespace bm
