// The loop of pretrain and finetune: steps, held-out evaluation, checkpoints, metrics, stopping and resuming.
#pragma once

#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/trainable.h"
#include "parallel/communicator.h"
#include "training/adamw.h"
#include "training/blocks.h"
#include "training/metrics_log.h"
#include "training/order.h"
#include "training/schedule.h"
#include "training/train_state.h"

namespace bm {

struct HeldOut {
  std::string name;
  Blocks blocks;
};

struct RunPlan {
  std::string folder;  // of metrics.jsonl and checkpoints/
  int64_t micro_batch = 1, accumulate = 1;
  int64_t at_once = 0;  // sequences of one pass, at most micro_batch; 0 = micro_batch
  int64_t steps = 0;    // to take; schedule.total may be more (--limit)
  Schedule schedule;
  AdamWOptions optimizer;
  // Before transformers 4.46: mean over the tokens of a micro-batch, then over `accumulate`.
  bool mean_of_means = false;
  int64_t save_every = 0, keep = 1, keep_every = 0, evaluate_every = 0, early_stop = 0;
  double skip_outliers = 0;
  uint64_t dropout_seed = 0;
};

// Loss and norm of a finished step.
struct RunHistory {
  double loss = 0, norm = 0;
};

class TrainingRun {
 public:
  TrainingRun(TrainableModel& model, const Blocks& blocks, BatchPlan batches,
              const std::vector<HeldOut>& held_out, const RunPlan& plan, Communicator& ranks);
  ~TrainingRun();
  // Goes on from the newest checkpoint to plan.steps, or to an early stop. Errors as pretrain().
  Status run();
  const TrainCounters& counters() const { return counters_; }

 private:
  struct StepResult {
    double loss = 0, norm = 0;
    uint64_t tokens = 0;
    bool skipped = false;
  };
  struct Slice {  // what one pass of this rank computes
    std::vector<uint64_t> blocks;
    double scale = 1;
    uint64_t key = 0;
  };
  Result<StepResult> step(int64_t index);
  Result<std::vector<Slice>> slices_of(int64_t index, StepResult& result);
  Result<LossSum> pass(const Slice& slice);
  Status reduce_gradients();
  Status share_parameters();
  Error not_finite(const StepResult& result, int64_t index) const;
  bool is_outlier(const StepResult& result) const;
  void remember(double loss, double norm);
  std::optional<double> deviations(double value, double RunHistory::*member) const;

  Result<LossSum> evaluate_blocks(const Blocks& blocks);
  Result<Json> evaluate_held_out(double& loss);
  Status evaluate_before_first_step();
  bool evaluates_after(int64_t done) const;

  Status resume(MetricsLog& metrics);
  Status finish_step(int64_t index, const StepResult& done, double seconds, MetricsLog& metrics);
  Result<bool> stop_wanted();
  Status save(bool wait);
  Status wait_for_save();
  Status save_best();

  TrainableModel& model_;
  const Blocks& blocks_;
  BatchPlan batches_;
  const std::vector<HeldOut>& held_out_;
  RunPlan plan_;
  Communicator& ranks_;
  AdamW optimizer_;
  TrainCounters counters_;
  int64_t saved_step_ = -1, saving_step_ = -1;
  std::future<Status> saving_;
  std::deque<RunHistory> history_;  // of the last steps
  std::vector<int32_t> tokens_, labels_;
  std::vector<int64_t> pieces_;
};

}  // namespace bm
