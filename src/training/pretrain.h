// Continued pre-training of all parameters: AdamW as transformers' Trainer runs it.
//
//   blocks (corpus) → order (seed, epoch) → micro-batches → gradients / N targets of the step → clip →
//   AdamW at the schedule's rate → metrics.jsonl; checkpoints/step-N; final/
//
// One step's arithmetic, the orders and the schedule: docs/training.md. Source: transformers 5 trainer.py,
// optimization.py (semantics.md 1.5); Loshchilov & Hutter, ICLR 2019.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct PretrainOptions {
  std::string model, data, out;
  int64_t steps = 0;            // 0 = by epochs
  double epochs = 0;            // 0 = one, when steps is 0
  int64_t sequence_length = 0;  // tokens; 0 = as the corpus was packed, else 2,048
  int64_t micro_batch = 4;      // sequences
  int64_t accumulate = 1;       // micro-batches a step
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
  int64_t keep = 2;        // checkpoints
  std::string evaluate_data;
  int64_t evaluate_every = 0;  // steps; 0 = before the first and after the last
  std::string dtype;           // of final/; "" = as the base is stored
};
void describe(Fields& fields, PretrainOptions& options);

struct PretrainReport {
  bool already_complete = false, dry_run = false;
  int64_t steps = 0, parameters = 0;
  uint64_t tokens = 0;
  double first_loss = 0, last_loss = 0;
  std::optional<double> first_held_out_loss, last_held_out_loss;  // natural log, per target
  Json summary;  // what the manifest stores as results, or the plan of a dry run
};

// bad_input: data that do not fit the model or the options; failed: loss or gradient not finite (the
// last checkpoint stays), out of memory or disk; interrupted: stopped after saving a checkpoint.
Result<PretrainReport> pretrain(const PretrainOptions& options, const CommonOptions& common);

}  // namespace bm
