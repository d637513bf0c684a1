// What a resume needs, on disk: OUT/checkpoints/step-N/ with state.safetensors (parameter.*, exp_avg.*,
// exp_avg_sq.*, float32) and state.json (counters and the hash of the former). A checkpoint is written
// beside its place and renamed, so step-N is whole or not there; the hash finds later damage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/trainable.h"
#include "training/adamw.h"

namespace bm {

struct TrainCounters {
  int64_t step = 0;     // finished steps
  uint64_t tokens = 0;  // read so far
  double seconds = 0;   // of training so far, over all resumes
  double first_loss = 0, last_loss = 0;
  std::optional<double> first_held_out, last_held_out;
};

// Writes step-N, then removes all but the newest `keep`.
Status save_checkpoint(const std::string& folder, const TrainCounters& counters,
                       const std::vector<Parameter>& parameters, AdamW& optimizer, int64_t keep);

// Loads the newest whole checkpoint below `folder` into the optimizer (and so the parameters); broken
// ones are logged and passed over. step 0 when there is none.
Result<TrainCounters> load_newest_checkpoint(const std::string& folder,
                                             const std::vector<Parameter>& parameters, AdamW& optimizer);

}  // namespace bm
