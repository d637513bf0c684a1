// Runs many token sequences through a model so that prefixes they share are computed once.
//
// Sequences are sorted; a trunk cache walks the sorted list as a depth-first walk of their trie would:
// it keeps the prefix shared with the next sequence and computes only what is new. Neighbours that branch
// from the trunk at about the same place are computed together as one ragged batch, each with a copy of
// the trunk's prefix. model.h promises the same bits whatever the batch and the split into cached and new
// tokens, so results do not depend on any of this.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model.h"

namespace bm {

struct PrefixRequest {
  std::vector<int32_t> tokens;  // not empty
  std::vector<int64_t> rows;    // positions whose logits are wanted, ascending, at least one
};

// Called once for each wanted row, rows of a request in ascending order, with float32 logits [vocab].
// Never called from two threads at once.
using PrefixSink = std::function<void(size_t request, size_t row, const float* logits)>;

struct PrefixRunOptions {
  uint64_t kv_memory = 2ull << 30;  // bytes of all caches
  int64_t batch_tokens = 1024;      // new tokens computed together
};

struct PrefixRunReport {
  int64_t tokens = 0;           // of all requests
  int64_t computed_tokens = 0;  // that went through the model
};

// `after_batch(requests)` is called with the requests that were just finished; an error from it (a full
// disk, an interruption) ends the run and is returned. bad_input: a token outside the vocabulary.
Result<PrefixRunReport> run_shared_prefixes(
    const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
    const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch);

}  // namespace bm
