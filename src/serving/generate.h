// Text from a model, token by token: generation with a key/value cache that is kept between turns.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "model/model.h"
#include "serving/sampling.h"

namespace bm {

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 256;
  std::vector<std::string> stop;  // texts that end the generation; they are not given out
  bool ignore_eos = false;
};
void describe(Fields& fields, GenerateOptions& options);

struct Generation {
  std::vector<int32_t> ids;  // the new ones, the end-of-sequence token included
  std::string text;          // without special tokens and stop texts
  std::string reason;        // "eos", "stop", "length", "context" (the model's positions are used up)
  int64_t prompt_tokens = 0, reused_tokens = 0;
};

// Called with every bit of text as soon as it is certain; never with parts of a stop text.
using TextSink = std::function<void(std::string_view)>;

// One conversation: what two prompts have in common at their start is computed once.
class GenerationSession {
 public:
  explicit GenerationSession(const Model& model);
  // bad_input: empty or too long prompt, ids out of range, options out of range, no tokenizer though stop
  // texts are given. interrupted: stopped by a signal. Without a tokenizer `text` stays empty.
  Result<Generation> generate(std::span<const int32_t> prompt, const GenerateOptions& options, const TextSink& sink = {});

 private:
  Status prepare(std::span<const int32_t> prompt, const GenerateOptions& options, Generation& out);
  Status feed(std::span<const int32_t> tokens, std::vector<float>& logits);
  bool ends(int32_t id) const;

  const Model& model_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int32_t> cached_;  // ids whose keys and values the cache holds
  int64_t positions_ = 0;
};

// Finds stop texts in a stream: gives out what can no longer be part of one.
class StopWatcher {
 public:
  explicit StopWatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  std::string push(std::string_view text);  // what may be shown now
  std::string flush();                      // the rest, when the stream ends without a stop text
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace bm
