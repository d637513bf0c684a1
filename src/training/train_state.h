// What a resume needs, on disk: OUT/checkpoints/step-N/ with state.safetensors (parameter.*, exp_avg.*,
// exp_avg_sq.*, float32) and state.json (counters and the hash of the former). A checkpoint is written
// beside its place and renamed, so step-N is whole or not there; the hash finds later damage. It holds the
// whole state whatever the number of ranks was, so that another number of ranks can go on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/trainable.h"
#include "parallel/communicator.h"
#include "training/adamw.h"

namespace bm {

struct TrainCounters {
  int64_t step = 0;     // finished steps
  uint64_t tokens = 0;  // read so far
  double seconds = 0;   // of training so far, over all resumes
  double first_loss = 0, last_loss = 0;
  std::optional<double> first_held_out, last_held_out, best_held_out;
  int64_t best_step = 0;  // of best_held_out
  int64_t stale = 0;      // evaluations since
  bool stopped_early = false;
};

struct KeepRule {
  int64_t newest = 1;
  int64_t every = 0;  // multiples stay; 0 = none
};

// Writes `name` ("step-N", "best") below folder; every rank calls it, the first one writes. Only reads the
// parameters and moments. A failed write leaves nothing behind but the older checkpoints.
Status save_checkpoint(const std::string& folder, const std::string& name, const TrainCounters& counters,
                       const std::vector<Parameter>& parameters, AdamW& optimizer, Communicator& ranks);
// Removes step-N folders that the rule does not keep, never the newest.
Status remove_old_checkpoints(const std::string& folder, const KeepRule& keep);
std::string checkpoint_name(int64_t step);

// One checkpoint into the optimizer (and so the parameters); nothing is changed on error.
Result<TrainCounters> load_checkpoint(const std::string& folder, std::vector<Parameter>& parameters,
                                      AdamW& optimizer);
// The newest whole one below `folder`; broken ones are logged and passed over. step 0 when there is none.
Result<TrainCounters> load_newest_checkpoint(const std::string& folder, std::vector<Parameter>& parameters,
                                             AdamW& optimizer);

}  // namespace bm
