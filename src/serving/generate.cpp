#include "serving/generate.h"

#include <algorithm>

#include "base/log.h"

namespace bm {

GenerationSession::GenerationSession(const Model& model, DType kv_dtype)
    : model_(model), cache_(std::make_unique<KvCache>(model.config(), model_positions(model), kv_dtype)) {}

// Cuts the cache back to what the prompt shares with it. At least one token is left to compute.
int64_t GenerationSession::prepare(std::span<const int32_t> prompt) {
  const auto [mine, theirs] = std::mismatch(cached_.begin(), cached_.end(), prompt.begin(), prompt.end() - 1);
  const auto shared = mine - cached_.begin();
  cache_->truncate(shared);
  cached_.resize(static_cast<size_t>(shared));
  return shared;
}

Result<Generation> GenerationSession::generate(std::span<const int32_t> prompt,
                                               const GenerateOptions& options, const TextSink& sink) {
  BM_CHECK_OK(check_generation(model_, prompt, options));
  const int64_t reused = prepare(prompt);
  TextInProgress text(model_, prompt, options, sink);
  const auto vocabulary = static_cast<size_t>(model_.config().vocab);
  const LogitSink take = [&](size_t, int64_t, int64_t, const float* row) { text.take({row, vocabulary}); };
  while (!text.ended()) {
    if (stop_requested()) return interrupted_error("generating text");
    const auto fresh = text.history().subspan(cached_.size());
    const int64_t last = static_cast<int64_t>(fresh.size()) - 1;
    cached_.insert(cached_.end(), fresh.begin(), fresh.end());
    const SequenceInput input{fresh, cache_.get(), {&last, 1}};
    BM_CHECK_OK(forward(model_, {&input, 1}, take));
  }
  Generation out = text.finish();
  out.reused_tokens = reused;
  return out;
}

}  // namespace bm
