// Runs many token sequences through a model so that prefixes they share are computed once.
//
// The sequences form a trie (prefix_trie.h). Nodes whose prefix is computed are run together as one ragged
// batch, those deepest in the trie first, each behind a fork of its parent's cache: pages are shared, not
// copied. A node's pages are given back when all below it is done; no batch is started from which the rest
// could not be finished within the memory. model.h promises the same bits whatever the batch and the split
// into cached and new tokens, so results do not depend on any of this.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "evaluation/prefix_trie.h"
#include "model/model.h"

namespace bm {

// Called once for each wanted row, rows of a request in ascending order, with float32 logits [vocab].
// Never called from two threads at once.
using PrefixSink = std::function<void(size_t request, size_t row, const float* logits)>;

struct PrefixRunOptions {
  uint64_t kv_memory = 2ull << 30;  // bytes of all caches
  int64_t batch_tokens = 1024;      // new tokens computed together
  size_t batch_sequences = 256;     // and of so many sequences at most
  DType kv_dtype = DType::f32;      // what caches hold; bf16 is half as large and rounds keys and values
  bool announce = true;  // the plan, and after the first batches the time it will take, as messages
};
// "f32" or "bf16".
Result<DType> parse_kv_dtype(const std::string& name);

struct PrefixRunReport {
  int64_t tokens = 0;           // of all requests
  int64_t computed_tokens = 0;  // that went through the model
  int64_t batches = 0;
  uint64_t kv_bytes = 0;  // most memory of caches at one time
};

// What a run would compute.
PrefixPlan plan_prefixes(const Model& model, std::span<const PrefixRequest> requests,
                         const PrefixRunOptions& options);
// Seconds it would take: some of the first request's tokens are computed and timed.
double probe_seconds(const Model& model, std::span<const PrefixRequest> requests, const PrefixPlan& plan);

// `after_batch(requests)` is called with the requests that were just finished; an error from it (a full
// disk, an interruption) ends the run and is returned. bad_input: a token outside the vocabulary, or caches
// that do not fit kv_memory even one sequence at a time (the message says how much is needed).
Result<PrefixRunReport> run_shared_prefixes(
    const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
    const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch);

}  // namespace bm
