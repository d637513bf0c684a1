// What pretrain and finetune share: the flags that decide the numbers, and those about saving and seeing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/stage.h"
#include "training/order.h"
#include "training/training_run.h"

namespace bm {

struct TrainOptions {
  std::string model, data, out;
  int64_t steps = 0;        // 0 = by epochs
  double epochs = 0;        // 0 = one, when steps is 0
  int64_t micro_batch = 4;  // sequences
  int64_t accumulate = 1;   // micro-batches a step
  double lr = 2e-5;
  std::string schedule = "cosine";
  double warmup = 0;         // steps; below 1: share of all steps
  double decay_share = 0.1;  // wsd: last share of the steps, in which the rate falls to 0
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.01, clip = 1.0;
  std::string precision = "f32";
  std::string order = "shuffled";
  bool document_mask = false;
  std::string checkpointing = "none";
  int64_t save_every = 0;  // steps; 0 = only at the end and when stopped
  int64_t keep = 2;        // newest checkpoints
  int64_t keep_every = 0;  // steps; checkpoints of these are never removed
  std::vector<std::string> evaluate_data;
  int64_t evaluate_every = 0;  // steps; 0 = before the first and after the last
  int64_t early_stop = 0;      // evaluations without a better loss; 0 = never
  double skip_outliers = 0;    // z-score of a loss or gradient norm; 0 = no step is left out
  std::string dtype;           // of final/; "" = as the base is stored
  int64_t ranks = 1;           // processes on this machine
};
void describe_training(Fields& fields, TrainOptions& options);

// Everything about the options alone.
Status check_training_options(const TrainOptions& options);

// What the three modes differ in (architecture rule 4).
struct TrainingSwitches {
  DecayRule decay = DecayRule::names;
  OrderRule shuffle = OrderRule::counter;
  AccumulationRule accumulation = AccumulationRule::by_epoch;
  bool mean_of_means = false;
};
TrainingSwitches switches_of(Mode mode);

}  // namespace bm
