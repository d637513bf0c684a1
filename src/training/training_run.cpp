#include "training/training_run.h"

#include <cmath>
#include <cstdio>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"

namespace bm {
namespace {

std::string step_place(int64_t index) { return "step " + std::to_string(index + 1); }

std::string short_number(double value, const char* format = "%.4g") {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

TrainingRun::TrainingRun(TrainableModel& model, const Blocks& blocks, BatchPlan batches,
                         const Blocks* held_out, const RunPlan& plan)
    : model_(model),
      blocks_(blocks),
      batches_(std::move(batches)),
      held_out_(held_out),
      plan_(plan),
      optimizer_(model.parameters(), plan.optimizer) {}

Result<LossSum> TrainingRun::micro_batch(const std::vector<uint64_t>& indices, double scale,
                                         StepResult& result) {
  auto length = static_cast<size_t>(blocks_.length());
  tokens_.resize(indices.size() * length);
  labels_.resize(indices.size() * length);
  for (size_t row = 0; row < indices.size(); ++row)
    blocks_.read(indices[row], tokens_.data() + row * length, labels_.data() + row * length);
  result.tokens += tokens_.size();
  TrainingBatch batch{tokens_, labels_, static_cast<int64_t>(indices.size()), blocks_.length()};
  return model_.forward_backward(batch, scale);
}

// Gradients of step `index` (from 0) over its micro-batches, and the update.
Result<TrainingRun::StepResult> TrainingRun::step(int64_t index) {
  const auto& micro_batches = batches_.step(index);
  std::vector<int64_t> targets;
  int64_t all_targets = 0;
  for (const auto& indices : micro_batches) {
    targets.push_back(0);
    for (uint64_t block : indices) targets.back() += blocks_.targets(block);
    all_targets += targets.back();
  }
  if (all_targets == 0)
    return bad_input("none of its labels is a target (all are -100)", "Check how the labels were made")
        .in(step_place(index));
  model_.zero_gradients();
  StepResult result;
  for (size_t m = 0; m < micro_batches.size(); ++m) {
    if (stop_requested()) return interrupted_error("training");
    double divisor = plan_.mean_of_means
                         ? static_cast<double>(targets[m]) * static_cast<double>(plan_.accumulate)
                         : static_cast<double>(all_targets);
    if (targets[m] == 0) continue;
    BM_TRY(LossSum loss, micro_batch(micro_batches[m], 1 / divisor, result));
    result.loss += loss.sum / divisor;
  }
  result.norm = optimizer_.gradient_norm();
  if (!std::isfinite(result.loss) || !std::isfinite(result.norm)) {
    std::string what = std::isfinite(result.loss) ? "the gradient is not finite" : "the loss is not finite";
    std::string kept =
        saved_step_ > 0 ? "The checkpoint of step " + std::to_string(saved_step_) + " is kept. " : "";
    return failed(
               what + " (" + short_number(std::isfinite(result.loss) ? result.norm : result.loss) + ")",
               kept +
                   "Train again into another folder with a lower --lr, a longer --warmup or --precision f32")
        .in(step_place(index));
  }
  optimizer_.step(plan_.schedule.at(index), result.norm, index + 1);
  return result;
}

Result<double> TrainingRun::evaluate_held_out() {
  LossSum total;
  auto length = static_cast<size_t>(held_out_->length());
  auto add = [&](std::span<const int32_t> tokens, std::span<const int32_t> labels, int64_t rows) -> Status {
    BM_TRY(LossSum loss, model_.evaluate({tokens, labels, rows, static_cast<int64_t>(tokens.size()) / rows}));
    total.sum += loss.sum;
    total.targets += loss.targets;
    return {};
  };
  std::vector<int32_t> tokens, labels;
  auto per_batch = static_cast<uint64_t>(plan_.micro_batch);
  for (uint64_t first = 0; first < held_out_->count(); first += per_batch) {
    if (stop_requested()) return interrupted_error("evaluating held-out text");
    uint64_t rows = std::min(per_batch, held_out_->count() - first);
    tokens.resize(rows * length);
    labels.resize(rows * length);
    for (uint64_t row = 0; row < rows; ++row)
      held_out_->read(first + row, tokens.data() + row * length, labels.data() + row * length);
    BM_CHECK_OK(add(tokens, labels, static_cast<int64_t>(rows)));
  }
  if (held_out_->tail().size() > 1) BM_CHECK_OK(add(held_out_->tail(), held_out_->tail(), 1));
  if (total.targets == 0) return bad_input("the held-out data have no target");
  return total.sum / static_cast<double>(total.targets);
}

// The base's figure, in a file of its own: metrics.jsonl counts steps from 1.
Status TrainingRun::evaluate_before_first_step() {
  if (!held_out_ || counters_.step > 0) return {};
  BM_TRY(double loss, evaluate_held_out());
  counters_.first_held_out = counters_.last_held_out = loss;
  log_info("held-out loss " + short_number(loss) + ", perplexity " + short_number(std::exp(loss)) +
           " before training");
  Json start = Json::object({{"step", 0}, {"evaluate_loss", loss}, {"evaluate_perplexity", std::exp(loss)}});
  return write_file_atomic(path_join(plan_.folder, "evaluation_before.json"), start.dump_pretty() + "\n");
}

bool TrainingRun::evaluates_after(int64_t done) const {
  return held_out_ && (done == plan_.steps || (plan_.evaluate_every > 0 && done % plan_.evaluate_every == 0));
}

Status TrainingRun::save() {
  if (saved_step_ == counters_.step) return {};
  BM_CHECK_OK(save_checkpoint(path_join(plan_.folder, "checkpoints"), counters_, model_.parameters(),
                              optimizer_, plan_.keep));
  saved_step_ = counters_.step;
  return {};
}

Status TrainingRun::run() {
  BM_TRY(counters_,
         load_newest_checkpoint(path_join(plan_.folder, "checkpoints"), model_.parameters(), optimizer_));
  saved_step_ = counters_.step;
  if (counters_.step > 0) log_info("going on after step " + std::to_string(counters_.step));
  BM_TRY(MetricsLog metrics, MetricsLog::open(path_join(plan_.folder, "metrics.jsonl"), counters_.step));
  BM_CHECK_OK(evaluate_before_first_step());
  Progress progress("training", "steps", static_cast<uint64_t>(plan_.steps));
  progress.set_done(static_cast<uint64_t>(counters_.step));
  while (counters_.step < plan_.steps) {
    int64_t index = counters_.step;
    double start = now_seconds();
    auto done = step(index);
    if (!done.ok()) {
      // The parameters are still those of the last finished step: nothing of it is lost.
      if (done.error().code() == Code::interrupted && counters_.step > 0) BM_CHECK_OK(save());
      return std::move(done).error();
    }
    double seconds = now_seconds() - start;
    counters_.step = index + 1;
    counters_.tokens += done->tokens;
    counters_.seconds += seconds;
    counters_.last_loss = done->loss;
    if (index == 0) counters_.first_loss = done->loss;
    double rate = seconds > 0 ? static_cast<double>(done->tokens) / seconds : 0;
    Json line = Json::object({{"step", counters_.step},
                              {"loss", done->loss},
                              {"grad_norm", done->norm},
                              {"lr", plan_.schedule.at(index)},
                              {"tokens", Json(counters_.tokens)},
                              {"seconds", counters_.seconds},
                              {"tokens_per_second", rate}});
    if (evaluates_after(counters_.step)) {
      auto loss = evaluate_held_out();
      // Interrupted between a step and its evaluation: the step is done again, so that its line is whole.
      if (!loss.ok()) return std::move(loss).error();
      counters_.last_held_out = *loss;
      line.set("evaluate_loss", *loss);
      line.set("evaluate_perplexity", std::exp(*loss));
    }
    BM_CHECK_OK(metrics.add(line));
    progress.note("loss " + short_number(done->loss) + ", " + short_number(rate, "%.0f") + " tok/s");
    progress.set_done(static_cast<uint64_t>(counters_.step));
    bool last = counters_.step == plan_.steps;
    if (last || (plan_.save_every > 0 && counters_.step % plan_.save_every == 0)) BM_CHECK_OK(save());
  }
  return {};
}

}  // namespace bm
