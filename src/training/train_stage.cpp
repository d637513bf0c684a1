#include "training/train_stage.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "formats/checkpoint.h"

namespace bm {
namespace {

struct Ready {
  TrainParts parts;
  std::optional<BatchPlan> batches;
  RunPlan plan;
  MemoryPlan memory;
  StepShape shape;
  int64_t parameters = 0;
  int ranks = 1;
};

Status plan_steps(const TrainStage& stage, const TrainingSwitches& switches, Ready& r) {
  const TrainOptions& o = stage.options;
  OrderRule order = o.order == "sequential" ? OrderRule::sequential : switches.shuffle;
  std::vector<MixedSource> sources = r.parts.sources;
  if (sources.empty()) sources = {{0, r.parts.blocks->count(), r.parts.blocks->count()}};
  r.batches.emplace(std::move(sources), o.micro_batch, o.accumulate, order, switches.accumulation,
                    stage.seed);
  Schedule& schedule = r.plan.schedule;
  BM_TRY(schedule.kind, parse_schedule(o.schedule));
  schedule.peak = o.lr;
  schedule.total = o.steps > 0 ? o.steps : r.batches->steps_of(o.epochs > 0 ? o.epochs : 1);
  schedule.warmup = warmup_steps(o.warmup, schedule.total);
  schedule.decay = static_cast<int64_t>(std::ceil(o.decay_share * static_cast<double>(schedule.total)));
  r.plan.micro_batch = o.micro_batch;
  r.plan.accumulate = o.accumulate;
  r.plan.steps = stage.common.limit > 0 ? std::min(stage.common.limit, schedule.total) : schedule.total;
  r.plan.mean_of_means = switches.mean_of_means;
  r.plan.save_every = o.save_every;
  r.plan.keep = o.keep;
  r.plan.keep_every = o.keep_every;
  r.plan.evaluate_every = o.evaluate_every;
  r.plan.early_stop = o.early_stop;
  r.plan.skip_outliers = o.skip_outliers;
  r.plan.dropout_seed = stage.seed;
  r.plan.folder = o.out;
  return {};
}

// Chooses how a step is computed; the numbers stay those of the options but for the order of sums.
Status plan_step_memory(const TrainStage& stage, Precision precision, Ready& r) {
  TrainableModel& model = *r.parts.model;
  const uint64_t ceiling = memory_ceiling(stage.common, static_cast<int>(stage.options.ranks));
  BM_TRY(Checkpointing asked, parse_checkpointing(stage.options.checkpointing));
  MemoryInputs inputs{static_cast<uint64_t>(r.parameters), precision, r.ranks, model.frozen_bytes(),
                      r.parts.blocks->bytes()};
  for (const HeldOut& source : r.parts.held_out) inputs.data += source.blocks.bytes();
  const auto bytes = [&](const StepShape& shape) {
    model.set_checkpointing(shape.checkpointing);
    return model.activation_bytes(shape.micro_batch, r.parts.blocks->length());
  };
  const StepShape wanted{std::min(stage.options.micro_batch, static_cast<int64_t>(r.parts.blocks->count())),
                         asked};
  r.shape = fit_step(wanted, inputs, ceiling, bytes);
  r.memory = plan_memory(inputs, bytes(r.shape));
  r.plan.at_once = r.shape.micro_batch;
  BM_CHECK_OK(check_memory(r.memory, ceiling, stage.common.memory.bytes > 0));
  if (r.shape.micro_batch != wanted.micro_batch || r.shape.checkpointing != wanted.checkpointing)
    log_info("to stay within " + format_bytes(ceiling) + ": " + std::to_string(r.shape.micro_batch) +
             " sequences at a time, checkpointing " + std::string(checkpointing_name(r.shape.checkpointing)));
  return {};
}

Result<Ready> prepare(const TrainStage& stage, Communicator& ranks) {
  const TrainOptions& o = stage.options;
  BM_TRY(Mode mode, stage.common.parsed_mode());
  const TrainingSwitches switches = switches_of(mode);
  Ready r;
  r.ranks = ranks.size();
  BM_TRY(Precision precision, parse_precision(o.precision));
  BM_TRY(r.parts, stage.prepare());
  const ModelConfig& config = r.parts.model->config();
  if (config.max_positions > 0 && r.parts.blocks->length() > config.max_positions)
    return bad_input("blocks of " + std::to_string(r.parts.blocks->length()) +
                         " tokens are longer than the model's " + std::to_string(config.max_positions) +
                         " positions",
                     "Use --sequence-length " + std::to_string(config.max_positions) + " or less");
  BM_CHECK_OK(plan_steps(stage, switches, r));
  r.plan.optimizer = {o.beta1, o.beta2,   o.epsilon,      o.weight_decay,
                      o.clip,  precision, switches.decay, stage.seed};
  for (const Parameter& parameter : r.parts.model->parameters())
    r.parameters += static_cast<int64_t>(parameter.value.size());
  BM_CHECK_OK(plan_step_memory(stage, precision, r));
  return r;
}

Json plan_json(const TrainStage& stage, const Ready& r) {
  Json json = Json::object(
      {{"parameters", r.parameters},
       {"blocks", Json(r.parts.blocks->count())},
       {"sequence_length", r.parts.blocks->length()},
       {"unused_tokens", Json(r.parts.blocks->unused_tokens())},
       {"steps", r.plan.steps},
       {"schedule_steps", r.plan.schedule.total},
       {"steps_per_epoch", r.batches->steps_per_epoch()},
       {"warmup_steps", r.plan.schedule.warmup},
       {"ranks", r.ranks},
       {"sequences_at_once", r.shape.micro_batch},
       {"checkpointing", std::string(checkpointing_name(r.shape.checkpointing))},
       {"memory_bytes", r.memory.json()},
       {"disk_bytes", Json(static_cast<uint64_t>(r.parameters) * 12 * static_cast<uint64_t>(r.plan.keep + 1) +
                           stage.disk_bytes_final)}});
  for (const auto& [key, value] : r.parts.facts.members()) json.set(key, value);
  return json;
}

void add_loss(Json& json, const char* name, const std::optional<double>& loss) {
  if (!loss) return;
  json.set(std::string(name) + "_loss", *loss);
  json.set(std::string(name) + "_perplexity", std::exp(*loss));
}

// final/ appears whole: written beside and renamed.
Status write_final(const TrainStage& stage, const Ready& r) {
  const std::string& out = stage.options.out;
  std::string place = path_join(out, "final"), partial = path_join(out, "final.partial");
  BM_CHECK_OK(remove_all(partial));
  BM_CHECK_OK(make_directories(partial));
  BM_CHECK_OK(stage.write_final(r.parts, partial));
  BM_CHECK_OK(remove_all(place));
  return rename_path(partial, place);
}

TrainReport report_of(const TrainStage& stage, const Ready& r, const TrainCounters& c) {
  TrainReport report;
  report.steps = c.step;
  report.parameters = r.parameters;
  report.tokens = c.tokens;
  report.first_loss = c.first_loss;
  report.last_loss = c.last_loss;
  report.first_held_out_loss = c.first_held_out;
  report.last_held_out_loss = c.last_held_out;
  Json summary = plan_json(stage, r);
  summary.erase("disk_bytes");
  summary.set("steps", c.step);
  summary.set("tokens", Json(c.tokens));
  summary.set("first_loss", c.first_loss);
  summary.set("last_loss", c.last_loss);
  add_loss(summary, "first_held_out", c.first_held_out);
  add_loss(summary, "last_held_out", c.last_held_out);
  if (c.best_step > 0) {
    add_loss(summary, "best_held_out", c.best_held_out);
    summary.set("best_step", c.best_step);
  }
  if (c.stopped_early) summary.set("stopped_early", true);
  report.summary = summary;
  return report;
}

TrainReport report_of_manifest(const Json& manifest) {
  TrainReport report;
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

Result<TrainReport> run_train_stage(const TrainStage& stage, Communicator& ranks) {
  const TrainOptions& options = stage.options;
  const bool first = ranks.rank() == 0;
  // An existing run is looked at first: a finished one costs nothing.
  std::optional<StageFolder> folder;
  auto open_folder = [&]() -> Status {
    BM_TRY(StageIdentity identity, stage.identify());
    BM_TRY(folder, StageFolder::open(options.out, identity, stage.common.overwrite));
    return {};
  };
  const bool exists_already = exists(path_join(options.out, "manifest.json")) && !stage.common.overwrite;
  if (first && exists_already && !stage.common.dry_run) BM_CHECK_OK(open_folder());
  double complete[1] = {folder && folder->state() == StageFolder::State::complete ? 1.0 : 0.0};
  BM_CHECK_OK(ranks.all_sum(complete));
  if (complete[0] > 0) return first ? report_of_manifest(folder->manifest()) : TrainReport{};
  BM_TRY(Ready ready, prepare(stage, ranks));
  log_info(ready.memory.text() + (ranks.size() > 1 ? " on each of " + std::to_string(ranks.size()) +
                                                         " ranks (" + std::string(ranks.name()) + ")"
                                                   : ""));
  if (stage.common.dry_run) {
    TrainReport report;
    report.dry_run = true;
    report.steps = ready.plan.steps;
    report.parameters = ready.parameters;
    report.summary = plan_json(stage, ready);
    return report;
  }
  if (first && !folder) BM_CHECK_OK(open_folder());
  BM_CHECK_OK(ranks.barrier());
  TrainingRun run(*ready.parts.model, *ready.parts.blocks, *ready.batches, ready.parts.held_out, ready.plan,
                  ranks);
  BM_CHECK_OK(run.run());
  TrainReport report = report_of(stage, ready, run.counters());
  if (first) {
    BM_CHECK_OK(write_final(stage, ready));
    BM_CHECK_OK(folder->finish(report.summary, Json::object({{"training_seconds", run.counters().seconds}})));
  }
  BM_CHECK_OK(ranks.barrier());
  return report;
}

Result<TrainReport> run_on_ranks(const TrainOptions& options, const CommonOptions& common,
                                 const RankWork& work) {
  if (options.ranks <= 1 || common.dry_run) {
    BM_TRY(auto job, job_communicator());
    if (job->rank() > 0) set_log_sink(nullptr);
    auto report = work(*job);
    if (!report.ok() && report.error().code() != Code::interrupted) job->end_all(report.error().paragraph());
    if (report.ok() && job->rank() > 0) report->summary = Json();  // the first rank speaks
    return report;
  }
  // The first rank's report comes back through the folder's manifest, its error through its own message.
  // (thread_count() would start the threads, which a fork does not take along.)
  const int all = common.threads > 0 ? static_cast<int>(common.threads) : default_thread_count();
  const int threads = std::max(1, all / static_cast<int>(options.ranks));
  std::string message_file = options.out + ".error";
  BM_TRY(int code, run_local_ranks(static_cast<int>(options.ranks), [&](Communicator& ranks) {
           set_thread_count(threads);
           if (ranks.rank() > 0) set_log_sink(nullptr);
           auto report = work(ranks);
           if (report.ok()) return 0;
           const Code why = report.error().code();
           if (why != Code::interrupted) ranks.end_all(report.error().paragraph());
           if (!exists(message_file)) (void)write_file_atomic(message_file, report.error().paragraph());
           return why == Code::interrupted ? 130 : why == Code::bad_input ? 2 : 1;
         }));
  std::string message;
  if (exists(message_file)) {
    BM_TRY(message, read_file(message_file));
    BM_CHECK_OK(remove_all(message_file));
  }
  if (code == 130) return interrupted_error("training");
  if (code != 0) return code == 2 ? bad_input(message) : failed(message);
  BM_TRY(Json manifest, read_manifest(options.out));
  TrainReport report = report_of_manifest(manifest);
  report.already_complete = false;
  return report;
}

Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const std::string& model) {
  if (is_directory(model)) return Tokenizer::load(model);
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(model));
  if (checkpoint.is_gguf()) return Tokenizer::from_gguf(checkpoint.gguf_metadata()).in(model);
  return bad_input("has no tokenizer beside it, which text needs").in(model);
}

Result<std::vector<HeldOut>> open_held_out(const std::vector<std::string>& paths,
                                           const std::string& tokenizer_model, int64_t length,
                                           int64_t vocab) {
  std::vector<HeldOut> sources;
  for (const std::string& path : paths) {
    std::string name = path_name(path.ends_with('/') ? path.substr(0, path.size() - 1) : path);
    for (const HeldOut& other : sources)
      if (other.name == name) name = path;
    if (is_directory(path) || ends_with(path, ".safetensors") || ends_with(path, ".bin") ||
        ends_with(path, ".idx")) {
      BM_TRY(Blocks blocks, Blocks::open(path, ends_with(path, ".safetensors") ? 0 : length, vocab));
      sources.push_back({name, std::move(blocks)});
      continue;
    }
    BM_TRY(auto tokenizer, tokenizer_of(tokenizer_model));
    BM_TRY(Blocks blocks, Blocks::from_text(path, *tokenizer, length, vocab));
    sources.push_back({name, std::move(blocks)});
  }
  return sources;
}

Status check_memory_before_loading(const std::string& model, Precision precision, const CommonOptions& common,
                                   int local_ranks) {
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(model));
  MemoryInputs inputs;
  inputs.precision = precision;
  inputs.ranks = local_ranks;
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(StoredTensor tensor, checkpoint.get(name));
    inputs.parameters += static_cast<uint64_t>(element_count(tensor.shape));
  }
  return check_memory(plan_memory(inputs, 0), memory_ceiling(common, local_ranks), common.memory.bytes > 0);
}

}  // namespace bm
