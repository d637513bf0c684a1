#include "training/training_run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/system.h"

namespace bm {
namespace {

constexpr size_t history_length = 128, history_needed = 32;  // steps

std::string step_place(int64_t index) { return "step " + std::to_string(index + 1); }

std::string short_number(double value, const char* format = "%.4g") {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::vector<size_t> shard_starts(size_t count, int ranks) {
  std::vector<size_t> starts = {0};
  for (int r = 0; r < ranks; ++r) starts.push_back(shard_of(count, r, ranks).end);
  return starts;
}

}  // namespace

TrainingRun::TrainingRun(TrainableModel& model, const Blocks& blocks, BatchPlan batches,
                         const std::vector<HeldOut>& held_out, const RunPlan& plan, Communicator& ranks)
    : model_(model),
      blocks_(blocks),
      batches_(std::move(batches)),
      held_out_(held_out),
      plan_(plan),
      ranks_(ranks),
      optimizer_(model.parameters(), plan.optimizer, ranks.rank(), ranks.size()) {
  if (plan_.at_once == 0) plan_.at_once = plan_.micro_batch;
}

TrainingRun::~TrainingRun() {
  if (saving_.valid()) saving_.wait();
}

// The blocks of a step in order are dealt to the ranks in equal runs; a pass never crosses a micro-batch.
Result<std::vector<TrainingRun::Slice>> TrainingRun::slices_of(int64_t index, StepResult& result) {
  const auto& micro_batches = batches_.step(index);
  std::vector<int64_t> targets;
  int64_t all_targets = 0;
  uint64_t blocks = 0;
  for (const auto& indices : micro_batches) {
    targets.push_back(0);
    for (uint64_t block : indices) targets.back() += blocks_.targets(block);
    for (uint64_t block : indices) result.tokens += static_cast<uint64_t>(blocks_.length(block));
    all_targets += targets.back();
    blocks += indices.size();
  }
  if (all_targets == 0)
    return bad_input("none of its labels is a target (all are -100)", "Check how the labels were made")
        .in(step_place(index));
  const auto rank = static_cast<uint64_t>(ranks_.rank()), ranks = static_cast<uint64_t>(ranks_.size());
  const uint64_t begin = blocks * rank / ranks, end = blocks * (rank + 1) / ranks;
  std::vector<Slice> slices;
  uint64_t at = 0;
  for (size_t m = 0; m < micro_batches.size(); ++m) {
    const double divisor = plan_.mean_of_means
                               ? static_cast<double>(targets[m]) * static_cast<double>(plan_.accumulate)
                               : static_cast<double>(all_targets);
    Slice slice;
    for (uint64_t block : micro_batches[m]) {
      const uint64_t place = at++;
      if (targets[m] == 0 || place < begin || place >= end) continue;
      if (slice.blocks.empty())
        slice.key =
            mix64(hash64("dropout", plan_.dropout_seed) + mix64(static_cast<uint64_t>(index)) + place) | 1;
      slice.blocks.push_back(block);
      slice.scale = 1 / divisor;
      if (static_cast<int64_t>(slice.blocks.size()) < plan_.at_once) continue;
      slices.push_back(std::move(slice));
      slice = {};
    }
    if (!slice.blocks.empty()) slices.push_back(std::move(slice));
  }
  return slices;
}

Result<LossSum> TrainingRun::pass(const Slice& slice) {
  tokens_.clear();
  labels_.clear();
  pieces_.clear();
  for (uint64_t block : slice.blocks) {
    const size_t at = tokens_.size(), length = static_cast<size_t>(blocks_.length(block));
    tokens_.resize(at + length);
    labels_.resize(at + length);
    blocks_.read(block, tokens_.data() + at, labels_.data() + at);
    blocks_.pieces(block, pieces_);
  }
  return model_.forward_backward(
      {tokens_, labels_, 1, static_cast<int64_t>(tokens_.size()), pieces_, slice.key}, slice.scale);
}

Status TrainingRun::reduce_gradients() {
  if (ranks_.size() == 1) return {};
  for (Parameter& parameter : model_.parameters())
    BM_CHECK_OK(ranks_.reduce_scatter(parameter.gradient.data(),
                                      shard_starts(parameter.gradient.size(), ranks_.size())));
  return {};
}

Status TrainingRun::share_parameters() {
  if (ranks_.size() == 1) return {};
  for (Parameter& parameter : model_.parameters())
    BM_CHECK_OK(
        ranks_.all_gather(parameter.value.data(), shard_starts(parameter.value.size(), ranks_.size())));
  return {};
}

Error TrainingRun::not_finite(const StepResult& result, int64_t index) const {
  const bool loss = !std::isfinite(result.loss);
  std::string what = loss ? "the loss is not finite" : "the gradient is not finite";
  what += " (" + short_number(loss ? result.loss : result.norm) + ")";
  if (const std::string place = model_.first_non_finite(); !place.empty())
    what += "; the first number that is not lies in " + place;
  std::string kept =
      saved_step_ > 0 ? "The checkpoint of step " + std::to_string(saved_step_) + " is kept. " : "";
  return failed(what, kept +
                          "Train again into another folder with a lower --lr, a longer --warmup or "
                          "--precision f32")
      .in(step_place(index));
}

// How many standard deviations of the last steps a value lies above their mean.
std::optional<double> TrainingRun::deviations(double value, double RunHistory::*member) const {
  if (history_.size() < history_needed) return std::nullopt;
  double mean = 0, squares = 0;
  for (const RunHistory& h : history_) mean += h.*member;
  mean /= static_cast<double>(history_.size());
  for (const RunHistory& h : history_) squares += (h.*member - mean) * (h.*member - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(history_.size()));
  return deviation > 0 ? (value - mean) / deviation : 0;
}

bool TrainingRun::is_outlier(const StepResult& result) const {
  if (plan_.skip_outliers <= 0) return false;
  return deviations(result.loss, &RunHistory::loss).value_or(0) > plan_.skip_outliers ||
         deviations(result.norm, &RunHistory::norm).value_or(0) > plan_.skip_outliers;
}

void TrainingRun::remember(double loss, double norm) {
  history_.push_back({loss, norm});
  if (history_.size() > history_length) history_.pop_front();
}

// Gradients of step `index` (from 0) over its micro-batches, and the update.
Result<TrainingRun::StepResult> TrainingRun::step(int64_t index) {
  StepResult result;
  BM_TRY(auto slices, slices_of(index, result));
  model_.zero_gradients();
  double loss = 0;
  for (const Slice& slice : slices) {
    if (ranks_.size() == 1 && stop_requested()) return interrupted_error("training");
    BM_TRY(LossSum sum, pass(slice));
    loss += sum.sum * slice.scale;
  }
  BM_CHECK_OK(reduce_gradients());
  double sums[2] = {loss, optimizer_.squared_gradient()};
  BM_CHECK_OK(ranks_.all_sum(sums));
  result.loss = sums[0];
  result.norm = optimizer_.norm_of(sums[1]);
  if (!std::isfinite(result.loss) || !std::isfinite(result.norm)) return not_finite(result, index);
  result.skipped = is_outlier(result);
  BM_CHECK_OK(wait_for_save());  // it reads what the update changes
  if (result.skipped) return result;
  optimizer_.step(plan_.schedule.at(index), result.norm, index + 1);
  BM_CHECK_OK(share_parameters());
  return result;
}

Result<LossSum> TrainingRun::evaluate_blocks(const Blocks& blocks) {
  LossSum total;
  const auto rank = static_cast<uint64_t>(ranks_.rank()), ranks = static_cast<uint64_t>(ranks_.size());
  const uint64_t begin = blocks.count() * rank / ranks, end = blocks.count() * (rank + 1) / ranks;
  std::vector<int32_t> tokens, labels;
  std::vector<int64_t> pieces;
  for (uint64_t first = begin; first < end; first += static_cast<uint64_t>(plan_.at_once)) {
    if (ranks == 1 && stop_requested()) return interrupted_error("evaluating held-out text");
    tokens.clear();
    labels.clear();
    pieces.clear();
    for (uint64_t block = first; block < std::min(end, first + static_cast<uint64_t>(plan_.at_once));
         ++block) {
      const size_t at = tokens.size(), length = static_cast<size_t>(blocks.length(block));
      tokens.resize(at + length);
      labels.resize(at + length);
      blocks.read(block, tokens.data() + at, labels.data() + at);
      blocks.pieces(block, pieces);
    }
    BM_TRY(LossSum loss, model_.evaluate({tokens, labels, 1, static_cast<int64_t>(tokens.size()), pieces}));
    total.sum += loss.sum;
    total.targets += loss.targets;
  }
  double sums[2] = {total.sum, static_cast<double>(total.targets)};
  BM_CHECK_OK(ranks_.all_sum(sums));
  return LossSum{sums[0], static_cast<int64_t>(sums[1])};
}

// Loss over all targets of all sources; by source in the answer.
Result<Json> TrainingRun::evaluate_held_out(double& loss) {
  Json sources = Json::object();
  LossSum total;
  for (const HeldOut& source : held_out_) {
    BM_TRY(LossSum sum, evaluate_blocks(source.blocks));
    if (sum.targets == 0) return bad_input("the held-out data have no target").in(source.name);
    const double mean = sum.sum / static_cast<double>(sum.targets);
    sources.set(source.name,
                Json::object({{"loss", mean}, {"perplexity", std::exp(mean)}, {"targets", sum.targets}}));
    total.sum += sum.sum;
    total.targets += sum.targets;
  }
  loss = total.sum / static_cast<double>(total.targets);
  return sources;
}

// The base's figure, in a file of its own: metrics.jsonl counts steps from 1.
Status TrainingRun::evaluate_before_first_step() {
  if (held_out_.empty() || counters_.step > 0) return {};
  double loss = 0;
  BM_TRY(Json sources, evaluate_held_out(loss));
  counters_.first_held_out = counters_.last_held_out = counters_.best_held_out = loss;
  log_info("held-out loss " + short_number(loss) + ", perplexity " + short_number(std::exp(loss)) +
           " before training");
  if (ranks_.rank() != 0) return {};
  Json start = Json::object({{"step", 0}, {"evaluate_loss", loss}, {"evaluate_perplexity", std::exp(loss)}});
  if (held_out_.size() > 1) start.set("evaluate", sources);
  return write_file_atomic(path_join(plan_.folder, "evaluation_before.json"), start.dump_pretty() + "\n");
}

bool TrainingRun::evaluates_after(int64_t done) const {
  return !held_out_.empty() &&
         (done == plan_.steps || (plan_.evaluate_every > 0 && done % plan_.evaluate_every == 0));
}

// The result of a save that ran beside the steps. A disk that is full does not end the run.
Status TrainingRun::wait_for_save() {
  if (!saving_.valid()) return {};
  const Status status = saving_.get();
  if (status.ok()) {
    saved_step_ = saving_step_;
    return {};
  }
  log_warning(
      "the checkpoint of step " + std::to_string(saving_step_) + " could not be written, " +
      (saved_step_ > 0 ? "that of step " + std::to_string(saved_step_) + " stays: " : "there is none: ") +
      status.error().paragraph());
  return {};
}

// wait: until it is on disk, and its failure is an error. Else one rank alone writes beside the next step's
// passes, which only read what is written; the update waits for it.
Status TrainingRun::save(bool wait) {
  BM_CHECK_OK(wait_for_save());
  if (saved_step_ == counters_.step) return {};
  saving_step_ = counters_.step;
  auto write = [this, counters = counters_]() -> Status {
    const std::string folder = path_join(plan_.folder, "checkpoints");
    BM_CHECK_OK(save_checkpoint(folder, checkpoint_name(counters.step), counters, model_.parameters(),
                                optimizer_, ranks_));
    return ranks_.rank() == 0 ? remove_old_checkpoints(folder, {plan_.keep, plan_.keep_every}) : Status();
  };
  if (wait) {
    BM_CHECK_OK(write());
    saved_step_ = counters_.step;
    return {};
  }
  saving_ = std::async(ranks_.size() == 1 ? std::launch::async : std::launch::deferred, write);
  if (ranks_.size() > 1) return wait_for_save();
  return {};
}

Status TrainingRun::save_best() {
  BM_CHECK_OK(wait_for_save());
  return save_checkpoint(path_join(plan_.folder, "checkpoints"), "best", counters_, model_.parameters(),
                         optimizer_, ranks_);
}

// A stop that all ranks agree on.
Result<bool> TrainingRun::stop_wanted() {
  double stop[1] = {stop_requested() ? 1.0 : 0.0};
  BM_CHECK_OK(ranks_.all_sum(stop));
  return stop[0] > 0;
}

Status TrainingRun::resume(MetricsLog& metrics) {
  BM_TRY(counters_,
         load_newest_checkpoint(path_join(plan_.folder, "checkpoints"), model_.parameters(), optimizer_));
  saved_step_ = counters_.step;
  if (counters_.step > 0) log_info("going on after step " + std::to_string(counters_.step));
  const std::string path = path_join(plan_.folder, "metrics.jsonl");
  if (ranks_.rank() == 0) {
    BM_TRY(metrics, MetricsLog::open(path, counters_.step));
  }
  BM_CHECK_OK(ranks_.barrier());
  if (!exists(path)) return {};
  BM_TRY(std::string text, read_file(path));
  for (const std::string& line : split(text, '\n'))
    if (auto json = parse_json(line); json.ok() && (*json)["loss"].is_number())
      remember((*json)["loss"].as_double(), (*json)["grad_norm"].as_double());
  return {};
}

Status TrainingRun::finish_step(int64_t index, const StepResult& done, double seconds, MetricsLog& metrics) {
  counters_.step = index + 1;
  counters_.tokens += done.tokens;
  counters_.seconds += seconds;
  counters_.last_loss = done.loss;
  if (index == 0) counters_.first_loss = done.loss;
  const double rate = seconds > 0 ? static_cast<double>(done.tokens) / seconds : 0;
  Json line = Json::object({{"step", counters_.step},
                            {"loss", done.loss},
                            {"grad_norm", done.norm},
                            {"lr", plan_.schedule.at(index)},
                            {"tokens", Json(counters_.tokens)},
                            {"seconds", counters_.seconds},
                            {"tokens_per_second", rate}});
  if (auto z = deviations(done.loss, &RunHistory::loss)) line.set("loss_z", *z);
  if (auto z = deviations(done.norm, &RunHistory::norm)) line.set("grad_norm_z", *z);
  if (optimizer_.counts_lost_updates()) line.set("updates_lost", optimizer_.lost_updates());
  if (done.skipped) {
    line.set("skipped", true);
    log_warning("step " + std::to_string(counters_.step) + ": loss " + short_number(done.loss) +
                ", gradient norm " + short_number(done.norm) + " are outliers; the update was left out");
  }
  remember(done.loss, done.norm);
  if (evaluates_after(counters_.step)) {
    double loss = 0;
    // Interrupted between a step and its evaluation: the step is done again, so that its line is whole.
    BM_TRY(Json sources, evaluate_held_out(loss));
    counters_.last_held_out = loss;
    line.set("evaluate_loss", loss);
    line.set("evaluate_perplexity", std::exp(loss));
    if (held_out_.size() > 1) line.set("evaluate", sources);
    const bool better = !counters_.best_held_out || loss < *counters_.best_held_out;
    counters_.stale = better ? 0 : counters_.stale + 1;
    if (better) {
      counters_.best_held_out = loss;
      counters_.best_step = counters_.step;
      if (plan_.early_stop > 0) BM_CHECK_OK(save_best());
    }
    counters_.stopped_early = plan_.early_stop > 0 && counters_.stale >= plan_.early_stop;
  }
  return ranks_.rank() == 0 ? metrics.add(line) : Status();
}

Status TrainingRun::run() {
  MetricsLog metrics;
  BM_CHECK_OK(resume(metrics));
  BM_CHECK_OK(evaluate_before_first_step());
  Progress progress("training", "steps", static_cast<uint64_t>(plan_.steps));
  progress.set_done(static_cast<uint64_t>(counters_.step));
  while (counters_.step < plan_.steps && !counters_.stopped_early) {
    BM_TRY(bool stop, stop_wanted());
    const int64_t index = counters_.step;
    const double start = now_seconds();
    auto done = stop ? Result<StepResult>(interrupted_error("training")) : step(index);
    if (!done.ok()) {
      // The parameters are still those of the last finished step: nothing of it is lost.
      BM_CHECK_OK(wait_for_save());
      if (done.error().code() == Code::interrupted && counters_.step > 0) BM_CHECK_OK(save(true));
      return std::move(done).error();
    }
    const double seconds = now_seconds() - start;
    BM_CHECK_OK(finish_step(index, *done, seconds, metrics));
    progress.note("loss " + short_number(done->loss) + ", lr " + short_number(plan_.schedule.at(index)) +
                  ", norm " + short_number(done->norm) + ", " +
                  short_number(static_cast<double>(done->tokens) / std::max(seconds, 1e-9), "%.0f") +
                  " tok/s, " + format_bytes(resident_memory()));
    progress.set_done(static_cast<uint64_t>(counters_.step));
    const bool last = counters_.step == plan_.steps || counters_.stopped_early;
    if (last || (plan_.save_every > 0 && counters_.step % plan_.save_every == 0)) BM_CHECK_OK(save(last));
  }
  if (plan_.early_stop == 0 || counters_.best_step == 0 || counters_.best_step == counters_.step) return {};
  log_info("the weights of step " + std::to_string(counters_.best_step) + " had the best held-out loss, " +
           short_number(*counters_.best_held_out) + "; they are the result");
  auto best = load_checkpoint(path_join(path_join(plan_.folder, "checkpoints"), "best"), model_.parameters(),
                              optimizer_);
  return best.ok() ? Status() : Status(std::move(best).error());
}

}  // namespace bm
