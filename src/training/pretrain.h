// Continued pre-training of all parameters: AdamW as transformers' Trainer runs it.
//
//   blocks (corpus) → order (seed, epoch) → micro-batches → gradients / N targets of the step → clip →
//   AdamW at the schedule's rate → metrics.jsonl; checkpoints/step-N; final/
//
// One step's arithmetic, the orders and the schedule: docs/training.md. Source: transformers 5 trainer.py,
// optimization.py (semantics.md 1.5); Loshchilov & Hutter, ICLR 2019.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "training/options.h"
#include "training/train_stage.h"

namespace bm {

struct PretrainOptions : TrainOptions {
  int64_t sequence_length = 0;   // tokens; 0 = as the corpus was packed, else 2,048
  std::vector<std::string> mix;  // "PATH=SHARE": further corpora and their share of all blocks
};
void describe(Fields& fields, PretrainOptions& options);

using PretrainReport = TrainReport;

// Errors as run_train_stage().
Result<PretrainReport> pretrain(const PretrainOptions& options, const CommonOptions& common);

}  // namespace bm
