#include "training/pretrain.h"

#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "formats/checkpoint.h"
#include "model/save.h"
#include "model/trainable.h"
#include "tokenizer/tokenizer.h"
#include "training/training_run.h"

namespace bm {
namespace {

// What the three modes differ in (architecture rule 4).
struct TrainingSwitches {
  DecayRule decay = DecayRule::names;
  OrderRule shuffle = OrderRule::counter;
  AccumulationRule accumulation = AccumulationRule::by_epoch;
  bool mean_of_means = false;
};

TrainingSwitches switches_of(Mode mode) {
  TrainingSwitches switches;
  if (mode == Mode::peer) switches.shuffle = OrderRule::seedable;
  if (mode == Mode::as_published)
    switches = {DecayRule::all, OrderRule::plain_sampler, AccumulationRule::continuous, true};
  return switches;
}

Status check_numbers(const PretrainOptions& o) {
  auto wrong = [](const std::string& what) { return bad_input(what); };
  if (o.steps < 0 || o.epochs < 0) return wrong("--steps and --epochs cannot be negative");
  if (o.steps > 0 && o.epochs > 0)
    return bad_input("both --steps and --epochs are given", "Give one of them");
  if (o.micro_batch < 1) return wrong("--micro-batch must be 1 or more");
  if (o.accumulate < 1) return wrong("--accumulate must be 1 or more");
  if (!(o.lr >= 0) || !std::isfinite(o.lr)) return wrong("--lr must be 0 or more");
  if (!(o.warmup >= 0)) return wrong("--warmup must be 0 or more");
  if (!(o.beta1 >= 0 && o.beta1 < 1) || !(o.beta2 >= 0 && o.beta2 < 1))
    return wrong("--beta1 and --beta2 must be in [0, 1)");
  if (!(o.epsilon > 0)) return wrong("--epsilon must be above 0");
  if (!(o.weight_decay >= 0) || !(o.clip >= 0)) return wrong("--weight-decay and --clip must be 0 or more");
  if (!(o.decay_share >= 0 && o.decay_share <= 1)) return wrong("--decay-share must be in [0, 1]");
  if (o.save_every < 0 || o.keep < 1 || o.evaluate_every < 0)
    return wrong("--save-every and --evaluate-every must be 0 or more, --keep 1 or more");
  if (o.order != "shuffled" && o.order != "sequential")
    return bad_input("unknown order \"" + o.order + "\"", "shuffled and sequential are known");
  if (o.document_mask)
    return bad_input("--document-mask is not supported yet",
                     "Without it documents of a block see each other, as in the original training");
  if (o.checkpointing != "none")
    return bad_input("--checkpointing " + o.checkpointing + " is not supported yet",
                     "Use a smaller --micro-batch with more --accumulate");
  if (o.evaluate_every > 0 && o.evaluate_data.empty())
    return bad_input("--evaluate-every needs --evaluate-data");
  if (o.out.empty()) return bad_input("no output folder given", "Give --out DIR");
  return {};
}

Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const std::string& model) {
  if (is_directory(model)) return Tokenizer::load(model);
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(model));
  if (checkpoint.is_gguf()) return Tokenizer::from_gguf(checkpoint.gguf_metadata()).in(model);
  return bad_input("has no tokenizer beside it, which --evaluate-data with text needs").in(model);
}

Result<std::optional<Blocks>> open_held_out(const PretrainOptions& options, int64_t length, int64_t vocab) {
  if (options.evaluate_data.empty()) return std::optional<Blocks>();
  const std::string& path = options.evaluate_data;
  if (is_directory(path) || ends_with(path, ".safetensors") || ends_with(path, ".bin") ||
      ends_with(path, ".idx")) {
    BM_TRY(Blocks blocks, Blocks::open(path, ends_with(path, ".safetensors") ? 0 : length, vocab));
    return std::optional(std::move(blocks));
  }
  BM_TRY(auto tokenizer, tokenizer_of(options.model));
  BM_TRY(Blocks blocks, Blocks::from_text(path, *tokenizer, length, vocab));
  return std::optional(std::move(blocks));
}

// Bytes held while training, by part.
struct MemoryPlan {
  uint64_t values = 0, gradients = 0, moments = 0, masters = 0, activations = 0, data = 0;
  uint64_t total() const { return values + gradients + moments + masters + activations + data; }
  Json json() const {
    return Json::object({{"parameters", Json(values)},
                         {"gradients", Json(gradients)},
                         {"moments", Json(moments)},
                         {"masters", Json(masters)},
                         {"activations", Json(activations)},
                         {"data", Json(data)},
                         {"total", Json(total())}});
  }
  std::string text() const {
    return "memory: parameters " + format_bytes(values) + ", gradients " + format_bytes(gradients) +
           ", moments " + format_bytes(moments) +
           (masters ? ", float32 masters " + format_bytes(masters) : "") + ", activations " +
           format_bytes(activations) + ", data " + format_bytes(data) + "; together " + format_bytes(total());
  }
};

MemoryPlan plan_memory(uint64_t parameters, Precision precision, uint64_t activations, uint64_t data) {
  return {4 * parameters, 4 * parameters,
          8 * parameters, precision == Precision::bf16_masters ? 4 * parameters : 0,
          activations,    data};
}

Status check_memory(const MemoryPlan& plan, const CommonOptions& common) {
  uint64_t ceiling = common.memory.bytes ? common.memory.bytes : physical_memory();
  if (plan.total() <= ceiling) return {};
  return bad_input("training needs " + format_bytes(plan.total()) + ", " + format_bytes(ceiling) +
                       (common.memory.bytes ? " are allowed" : " are there") + " (" + plan.text() + ")",
                   "Use a smaller --micro-batch with more --accumulate, or a machine with more memory");
}

// Refuses what cannot fit before its weights are widened.
Status check_memory_before_loading(const std::string& model, Precision precision,
                                   const CommonOptions& common) {
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(model));
  uint64_t parameters = 0;
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(StoredTensor tensor, checkpoint.get(name));
    parameters += static_cast<uint64_t>(element_count(tensor.shape));
  }
  return check_memory(plan_memory(parameters, precision, 0, 0), common);
}

Result<DType> final_dtype(const PretrainOptions& options, const ModelConfig& config) {
  const std::string& name = options.dtype.empty() ? config.stored_dtype : options.dtype;
  if (name.empty()) return DType::f32;
  auto dtype = dtype_from_user(name);
  if (!dtype || (*dtype != DType::f32 && *dtype != DType::bf16 && *dtype != DType::f16)) {
    if (options.dtype.empty()) return DType::f32;
    return bad_input("--dtype " + name + " is no float type", "f32, bf16 and f16 are");
  }
  return *dtype;
}

Result<StageIdentity> identity_of(const PretrainOptions& options, const CommonOptions& common,
                                  uint64_t seed) {
  PretrainOptions described = options;
  Fields fields;
  describe(fields, described);
  StageIdentity identity{"pretrain", fields.dump_identity(), {}, seed, common.mode};
  if (common.limit > 0) identity.options.set("limit", common.limit);
  BM_TRY(StageInput model, stage_input("model", options.model));
  BM_TRY(StageInput data, stage_input("data", options.data));
  identity.inputs = {model, data};
  if (!options.evaluate_data.empty()) {
    BM_TRY(StageInput held_out, stage_input("evaluate-data", options.evaluate_data));
    identity.inputs.push_back(held_out);
  }
  return identity;
}

// Everything that must be right before anything is written.
struct Prepared {
  std::unique_ptr<TrainableModel> model;
  std::optional<Blocks> blocks, held_out;
  std::optional<BatchPlan> batches;
  RunPlan plan;
  DType dtype = DType::f32;
  MemoryPlan memory;
  int64_t parameters = 0;
};

Status plan_steps(const PretrainOptions& o, const CommonOptions& common, const TrainingSwitches& switches,
                  uint64_t seed, Prepared& p) {
  OrderRule order = o.order == "sequential" ? OrderRule::sequential : switches.shuffle;
  p.batches.emplace(p.blocks->count(), o.micro_batch, o.accumulate, order, switches.accumulation, seed);
  Schedule& schedule = p.plan.schedule;
  BM_TRY(schedule.kind, parse_schedule(o.schedule));
  schedule.peak = o.lr;
  schedule.total = o.steps > 0 ? o.steps : p.batches->steps_of(o.epochs > 0 ? o.epochs : 1);
  schedule.warmup = warmup_steps(o.warmup, schedule.total);
  schedule.decay = static_cast<int64_t>(std::ceil(o.decay_share * static_cast<double>(schedule.total)));
  p.plan.micro_batch = o.micro_batch;
  p.plan.accumulate = o.accumulate;
  p.plan.steps = common.limit > 0 ? std::min(common.limit, schedule.total) : schedule.total;
  p.plan.mean_of_means = switches.mean_of_means;
  p.plan.save_every = o.save_every;
  p.plan.keep = o.keep;
  p.plan.evaluate_every = o.evaluate_every;
  return {};
}

Result<Prepared> prepare(const PretrainOptions& o, const CommonOptions& common, uint64_t seed) {
  BM_TRY(Mode mode, common.parsed_mode());
  TrainingSwitches switches = switches_of(mode);
  Prepared p;
  BM_TRY(Precision precision, parse_precision(o.precision));
  BM_CHECK_OK(check_memory_before_loading(o.model, precision, common));
  BM_TRY(p.model, TrainableModel::load(o.model));
  const ModelConfig& config = p.model->config();
  BM_TRY(p.dtype, final_dtype(o, config));
  BM_TRY(p.blocks, Blocks::open(o.data, o.sequence_length, config.vocab));
  if (config.max_positions > 0 && p.blocks->length() > config.max_positions)
    return bad_input("blocks of " + std::to_string(p.blocks->length()) +
                         " tokens are longer than the model's " + std::to_string(config.max_positions) +
                         " positions",
                     "Use --sequence-length " + std::to_string(config.max_positions) + " or less");
  BM_TRY(p.held_out, open_held_out(o, p.blocks->length(), config.vocab));
  BM_CHECK_OK(plan_steps(o, common, switches, seed, p));
  p.plan.folder = o.out;
  p.plan.optimizer = {o.beta1, o.beta2, o.epsilon, o.weight_decay, o.clip, precision, switches.decay, seed};
  uint64_t parameters = 0;
  for (const Parameter& parameter : p.model->parameters()) parameters += parameter.value.size();
  p.parameters = static_cast<int64_t>(parameters);
  uint64_t data = 8 * p.blocks->count() * static_cast<uint64_t>(p.blocks->length());
  p.memory =
      plan_memory(parameters, precision, p.model->activation_bytes(o.micro_batch, p.blocks->length()), data);
  BM_CHECK_OK(check_memory(p.memory, common));
  return p;
}

Json plan_json(const Prepared& p) {
  return Json::object(
      {{"parameters", p.parameters},
       {"blocks", Json(p.blocks->count())},
       {"sequence_length", p.blocks->length()},
       {"unused_tokens", Json(p.blocks->unused_tokens())},
       {"steps", p.plan.steps},
       {"schedule_steps", p.plan.schedule.total},
       {"steps_per_epoch", p.batches->steps_per_epoch()},
       {"warmup_steps", p.plan.schedule.warmup},
       {"memory_bytes", p.memory.json()},
       {"disk_bytes", Json(static_cast<uint64_t>(p.parameters) *
                           (12 * static_cast<uint64_t>(p.plan.keep + 1) + dtype_bits(p.dtype) / 8))}});
}

void add_loss(Json& json, const char* name, const std::optional<double>& loss) {
  if (!loss) return;
  json.set(std::string(name) + "_loss", *loss);
  json.set(std::string(name) + "_perplexity", std::exp(*loss));
}

// final/ appears whole: written beside and renamed.
Status write_final(const Prepared& p, const PretrainOptions& options) {
  std::string place = path_join(options.out, "final"), partial = path_join(options.out, "final.partial");
  BM_CHECK_OK(remove_all(partial));
  BM_CHECK_OK(save_model_folder(*p.model, options.model, partial, p.dtype));
  BM_CHECK_OK(remove_all(place));
  return rename_path(partial, place);
}

PretrainReport report_of(const Prepared& p, const TrainCounters& c) {
  PretrainReport report;
  report.steps = c.step;
  report.parameters = p.parameters;
  report.tokens = c.tokens;
  report.first_loss = c.first_loss;
  report.last_loss = c.last_loss;
  report.first_held_out_loss = c.first_held_out;
  report.last_held_out_loss = c.last_held_out;
  Json summary = plan_json(p);
  summary.erase("disk_bytes");
  summary.set("tokens", Json(c.tokens));
  summary.set("first_loss", c.first_loss);
  summary.set("last_loss", c.last_loss);
  add_loss(summary, "first_held_out", c.first_held_out);
  add_loss(summary, "last_held_out", c.last_held_out);
  report.summary = summary;
  return report;
}

PretrainReport report_of_manifest(const Json& manifest) {
  PretrainReport report;
  report.already_complete = true;
  report.summary = manifest["results"];
  const Json& r = report.summary;
  if (r["steps"].is_integer()) report.steps = r["steps"].as_int();
  if (r["parameters"].is_integer()) report.parameters = r["parameters"].as_int();
  if (r["tokens"].is_integer()) report.tokens = r["tokens"].as_uint();
  if (r["first_loss"].is_number()) report.first_loss = r["first_loss"].as_double();
  if (r["last_loss"].is_number()) report.last_loss = r["last_loss"].as_double();
  if (r["first_held_out_loss"].is_number()) report.first_held_out_loss = r["first_held_out_loss"].as_double();
  if (r["last_held_out_loss"].is_number()) report.last_held_out_loss = r["last_held_out_loss"].as_double();
  return report;
}

}  // namespace

void describe(Fields& f, PretrainOptions& o) {
  f.add("data", o.data, "corpus folder, Megatron pair, or safetensors with input_ids and labels",
        {.unit = "path", .result_neutral = true});
  f.add("out", o.out, "folder to write", {.unit = "folder", .result_neutral = true});
  f.add("steps", o.steps, "optimizer steps; 0 = by --epochs", {.unit = "steps"});
  f.add("epochs", o.epochs, "passes over the data, fractions allowed; 0 = one, unless --steps is given",
        {.unit = "epochs"});
  f.add("sequence-length", o.sequence_length, "tokens of a block; 0 = as the corpus was packed, else 2048",
        {.unit = "tokens"});
  f.add("micro-batch", o.micro_batch, "sequences of one forward and backward pass", {.unit = "sequences"});
  f.add("accumulate", o.accumulate, "micro-batches of one step", {.unit = "micro-batches"});
  f.add("lr", o.lr, "peak learning rate");
  f.add("schedule", o.schedule, "course of the learning rate",
        {.choices = {"cosine", "linear", "constant", "wsd"}});
  f.add("warmup", o.warmup, "warm-up steps; below 1: a share of all steps", {.unit = "steps"});
  f.add("decay-share", o.decay_share, "wsd: last share of the steps, in which the rate falls linearly to 0");
  f.add("beta1", o.beta1, "AdamW: decay of the mean of gradients");
  f.add("beta2", o.beta2, "AdamW: decay of the mean of squared gradients");
  f.add("epsilon", o.epsilon, "AdamW: added to the root of the second moment");
  f.add("weight-decay", o.weight_decay, "AdamW: decoupled weight decay");
  f.add("clip", o.clip, "largest gradient norm; 0 = no clipping");
  f.add("precision", o.precision, "what is kept and updated in which precision",
        {.choices = {"f32", "bf16-masters", "bf16-pure", "bf16-stochastic"}});
  f.add("order", o.order, "order of the blocks in an epoch", {.choices = {"shuffled", "sequential"}});
  f.add("document-mask", o.document_mask, "tokens see only their own document");
  f.add("checkpointing", o.checkpointing, "activations recomputed instead of kept",
        {.choices = {"none", "cheap", "block"}, .result_neutral = true});
  f.add("save-every", o.save_every, "steps between checkpoints; 0 = at the end and when stopped",
        {.unit = "steps", .result_neutral = true});
  f.add("keep", o.keep, "newest checkpoints to keep", {.unit = "checkpoints", .result_neutral = true});
  f.add("evaluate-data", o.evaluate_data, "held-out JSON lines with \"text\", or data as of --data",
        {.unit = "path", .result_neutral = true});
  f.add("evaluate-every", o.evaluate_every,
        "steps between evaluations; 0 = before the first and after the last", {.unit = "steps"});
  f.add("dtype", o.dtype, "dtype of final/: f32, bf16, f16; default: as the base is stored");
}

Result<PretrainReport> pretrain(const PretrainOptions& options, const CommonOptions& common) {
  BM_CHECK_OK(check_numbers(options));
  uint64_t seed = common.seed_or(42);
  // An existing run is looked at first: a finished one costs nothing.
  std::optional<StageFolder> stage;
  std::optional<StageIdentity> identity;
  auto open_stage = [&]() -> Status {
    if (!identity) {
      BM_TRY(identity, identity_of(options, common, seed));
    }
    BM_TRY(stage, StageFolder::open(options.out, *identity, common.overwrite));
    return {};
  };
  bool exists_already = exists(path_join(options.out, "manifest.json")) && !common.overwrite;
  if (exists_already && !common.dry_run) {
    BM_CHECK_OK(open_stage());
    if (stage->state() == StageFolder::State::complete) return report_of_manifest(stage->manifest());
  }
  BM_TRY(Prepared prepared, prepare(options, common, seed));
  log_info(prepared.memory.text());
  if (common.dry_run) {
    PretrainReport report;
    report.dry_run = true;
    report.steps = prepared.plan.steps;
    report.parameters = prepared.parameters;
    report.summary = plan_json(prepared);
    return report;
  }
  if (!stage) BM_CHECK_OK(open_stage());
  TrainingRun run(*prepared.model, *prepared.blocks, *prepared.batches,
                  prepared.held_out ? &*prepared.held_out : nullptr, prepared.plan);
  BM_CHECK_OK(run.run());
  BM_CHECK_OK(write_final(prepared, options));
  PretrainReport report = report_of(prepared, run.counters());
  BM_CHECK_OK(stage->finish(report.summary, Json::object({{"training_seconds", run.counters().seconds}})));
  return report;
}

}  // namespace bm
