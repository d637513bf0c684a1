// Text from a model, token by token: generation with a key/value cache that is kept between turns.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/model.h"
#include "serving/text_in_progress.h"

namespace bm {

// One conversation: what two prompts have in common at their start is computed once.
class GenerationSession {
 public:
  explicit GenerationSession(const Model& model, DType kv_dtype = DType::f32);
  // bad_input: empty or too long prompt, ids out of range, options out of range, no tokenizer though stop
  // texts are given. interrupted: stopped by a signal. Without a tokenizer `text` stays empty.
  Result<Generation> generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                              const TextSink& sink = {});

 private:
  int64_t prepare(std::span<const int32_t> prompt);

  const Model& model_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int32_t> cached_;  // ids whose keys and values the cache holds
};

}  // namespace bm
