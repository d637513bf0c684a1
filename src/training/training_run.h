// The loop of pretrain: steps, held-out evaluation, checkpoints, metrics, stopping and resuming.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/trainable.h"
#include "training/adamw.h"
#include "training/blocks.h"
#include "training/metrics_log.h"
#include "training/order.h"
#include "training/schedule.h"
#include "training/train_state.h"

namespace bm {

struct RunPlan {
  std::string folder;  // of metrics.jsonl and checkpoints/
  int64_t micro_batch = 1, accumulate = 1;
  int64_t steps = 0;  // to take; schedule.total may be more (--limit)
  Schedule schedule;
  AdamWOptions optimizer;
  // Before transformers 4.46: mean over the tokens of a micro-batch, then over `accumulate`.
  bool mean_of_means = false;
  int64_t save_every = 0, keep = 1, evaluate_every = 0;
};

class TrainingRun {
 public:
  TrainingRun(TrainableModel& model, const Blocks& blocks, BatchPlan batches, const Blocks* held_out,
              const RunPlan& plan);
  // Goes on from the newest checkpoint to plan.steps. Errors as pretrain().
  Status run();
  const TrainCounters& counters() const { return counters_; }

 private:
  struct StepResult {
    double loss = 0, norm = 0;
    uint64_t tokens = 0;
  };
  Result<StepResult> step(int64_t index);
  Result<LossSum> micro_batch(const std::vector<uint64_t>& indices, double scale, StepResult& result);
  Result<double> evaluate_held_out();
  Status evaluate_before_first_step();
  Status save();
  bool evaluates_after(int64_t done) const;

  TrainableModel& model_;
  const Blocks& blocks_;
  BatchPlan batches_;
  const Blocks* held_out_;
  RunPlan plan_;
  AdamW optimizer_;
  TrainCounters counters_;
  int64_t saved_step_ = -1;
  std::vector<int32_t> tokens_, labels_;
};

}  // namespace bm
