// Supervised fine-tuning: LoRA on a base as stored or quantized (QLoRA), or all parameters.
//
//   examples (JSON lines, a benchmark's training questions, blocks) → tokens and labels → as pretrain →
//   final/: a PEFT folder, or a Hugging Face folder with --method full
//
// Examples of a micro-batch lie one behind the other without padding and do not see each other: the same
// numbers as padded rows. docs/training.md.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "training/options.h"
#include "training/train_stage.h"

namespace bm {

struct FinetuneOptions : TrainOptions {
  std::string base;                // of an adapter folder, if not the one it names
  std::string method = "lora";     // or "full"
  std::vector<std::string> tasks;  // then `data` is the folder with the benchmarks' files
  int64_t max_length = 2048;       // tokens of an example
  std::string loss = "answer";     // or "all"
  bool packing = false;            // examples joined and cut to max_length
  std::string chat_template;       // file
  std::string load;                // nf4, fp4, int8, or a quantized folder to use as base; "" = as stored
  int64_t lora_rank = 16;
  double lora_alpha = 16, lora_dropout = 0.05;
  bool rslora = false, dora = false;
  std::vector<std::string> targets;  // empty: all-linear
  std::vector<std::string> modules_to_save;
};
void describe(Fields& fields, FinetuneOptions& options);

// Errors as run_train_stage().
Result<TrainReport> finetune(const FinetuneOptions& options, const CommonOptions& common);

}  // namespace bm
