// Which blocks a step sees: a pure function of the seed and the step, so that a resume needs no state.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace bm {

enum class OrderRule : uint8_t {
  sequential,     // 0, 1, 2, … in every epoch
  counter,        // counter-based permutation of (seed, epoch)
  seedable,       // accelerate's SeedableRandomSampler: torch.randperm with MT19937 seeded by seed + epoch
  plain_sampler,  // torch's RandomSampler: epoch e is seeded by the generator's (2e + 2)-th 32-bit output
};

// Order of the n blocks in an epoch (from 0).
std::vector<uint64_t> epoch_order(OrderRule rule, uint64_t n, uint64_t seed, uint64_t epoch);

// How steps are cut out of epochs.
enum class AccumulationRule : uint8_t {
  by_epoch,    // the last step of an epoch takes what is left (transformers ≥ 4.46)
  continuous,  // steps run over epoch borders; an epoch has floor(batches / accumulate) of them (before)
};

// A corpus among several: which part of all blocks it is, and how many of them an epoch takes.
struct MixedSource {
  uint64_t first = 0, count = 0;
  uint64_t an_epoch = 0;
};

class BatchPlan {
 public:
  BatchPlan(uint64_t blocks, int64_t micro_batch, int64_t accumulate, OrderRule order, AccumulationRule rule,
            uint64_t seed);
  // Several corpora: an epoch takes sources[0] once and of every other its share, drawn without repetition
  // until that corpus has been seen whole. Blocks are numbered over all of them.
  BatchPlan(std::vector<MixedSource> sources, int64_t micro_batch, int64_t accumulate, OrderRule order,
            AccumulationRule rule, uint64_t seed);

  int64_t steps_per_epoch() const;
  // Steps of `epochs` (may be a fraction), at least one.
  int64_t steps_of(double epochs) const;
  // Micro-batches of step s (from 0): block indices. The last batch of an epoch may be short.
  const std::vector<std::vector<uint64_t>>& step(int64_t s);

 private:
  std::vector<uint64_t> batch(int64_t index_in_all);
  std::vector<uint64_t> blocks_of(uint64_t epoch) const;
  std::vector<MixedSource> sources_;
  uint64_t blocks_, seed_;
  int64_t micro_batch_, accumulate_, batches_;  // batches an epoch
  OrderRule order_;
  AccumulationRule rule_;
  int64_t cached_epoch_ = -1, cached_step_ = -1;
  std::vector<uint64_t> cached_order_;
  std::vector<std::vector<uint64_t>> cached_;
};

}  // namespace bm
