// What training holds, by part, before it starts; and which settings fit under a ceiling.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/stage.h"
#include "model/trainable.h"
#include "training/adamw.h"

namespace bm {

struct MemoryPlan {
  uint64_t values = 0, gradients = 0, moments = 0, masters = 0, frozen = 0, activations = 0, data = 0,
           program = 0;
  uint64_t total() const {
    return values + gradients + moments + masters + frozen + activations + data + program;
  }
  Json json() const;
  std::string text() const;
};

struct MemoryInputs {
  uint64_t parameters = 0;  // trained ones
  Precision precision = Precision::f32;
  int ranks = 1;  // moments and masters are shared among them
  uint64_t frozen = 0, data = 0;
};
// activations: of a micro-batch.
MemoryPlan plan_memory(const MemoryInputs& inputs, uint64_t activations);

// Bytes a process may hold: --memory, else what the machine has, divided among the ranks on it.
uint64_t memory_ceiling(const CommonOptions& common, int local_ranks);

// bad_input when the plan does not fit: says what is needed, by part, and what would fit.
Status check_memory(const MemoryPlan& plan, uint64_t ceiling, bool given);

// How a step is computed, without changing what it computes: fewer sequences at a time, more recomputed.
struct StepShape {
  int64_t micro_batch = 1;  // sequences at a time
  Checkpointing checkpointing = Checkpointing::none;
};
// The first that fits: as asked; more checkpointing; then halves of the micro-batch. The last one tried when
// none does. bytes(shape): activations.
template <class Bytes>
StepShape fit_step(StepShape asked, const MemoryInputs& inputs, uint64_t ceiling, Bytes bytes) {
  StepShape shape = asked;
  for (shape.micro_batch = asked.micro_batch; shape.micro_batch >= 1; shape.micro_batch /= 2)
    for (int level = static_cast<int>(asked.checkpointing); level <= static_cast<int>(Checkpointing::block);
         ++level) {
      shape.checkpointing = static_cast<Checkpointing>(level);
      if (plan_memory(inputs, bytes(shape)).total() <= ceiling) return shape;
    }
  return {1, Checkpointing::block};
}

}  // namespace bm
