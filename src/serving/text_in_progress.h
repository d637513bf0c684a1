// One text while it is made: which token comes next, what of the text may be shown, when it ends.
#pragma once

#include <functional>
#include <optional>
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

// Options out of range, or stop texts without a tokenizer; a prompt that is empty, too long, or holds ids out
// of range.
Status check_generation(const Model& model, std::span<const int32_t> prompt, const GenerateOptions& options);
// Positions a sequence may have.
int64_t model_positions(const Model& model);

class TextInProgress {
 public:
  // The options must outlive it. sample: which of several texts behind one prompt this is.
  TextInProgress(const Model& model, std::span<const int32_t> prompt, const GenerateOptions& options,
                 TextSink sink, uint64_t sample = 0);
  // The next token out of the logits [vocab] behind the last one.
  void take(std::span<const float> logits);
  bool ended() const { return ended_; }
  std::span<const int32_t> history() const { return history_; }  // prompt and new tokens
  Generation finish();                                           // once, when it has ended

 private:
  void show(const std::string& text);
  bool is_end(int32_t id) const;

  const Model* model_;
  const GenerateOptions* options_;
  TextSink sink_;
  Sampler sampler_;
  StopWatcher watcher_;
  std::optional<StreamDecoder> decoder_;
  std::vector<int32_t> history_;
  Generation out_;
  bool ended_ = false;
};

}  // namespace bm
