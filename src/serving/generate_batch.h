// Many texts at once: up to `sequences` of them share every pass through the weights, a new one joins as soon
// as one has ended, and prompts that begin alike share pages. Each text is, bit for bit, the one that
// GenerationSession makes alone.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "serving/text_in_progress.h"

namespace bm {

struct BatchPrompt {
  std::vector<int32_t> ids;
  uint64_t sample = 0;  // which of several texts behind one prompt
};

struct GenerateBatchOptions {
  int64_t sequences = 8;            // at once
  uint64_t kv_memory = 2ull << 30;  // bytes of all caches; fewer sequences run at once when it is short
  DType kv_dtype = DType::f32;
};

// Called once a prompt, in the order in which the texts end, from one thread. An error ends the run.
using BatchSink = std::function<Status(size_t prompt, Result<Generation> text)>;

// A prompt that cannot be used goes to the sink with its error. bad_input: caches of one text that do not fit
// kv_memory. interrupted: stopped by a signal.
Status generate_batch(const Model& model, std::span<const BatchPrompt> prompts,
                      const GenerateOptions& options, const GenerateBatchOptions& batch,
                      const BatchSink& sink);

}  // namespace bm
