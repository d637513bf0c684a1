#include "serving/text_in_progress.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace bm {

void describe(Fields& fields, GenerateOptions& o) {
  fields.add("max-tokens", o.max_tokens, "tokens to generate at most", {.unit = "tokens"});
  describe(fields, o.sampling);
  fields.add("stop", o.stop, "text that ends the generation (repeatable)");
  fields.add("ignore-eos", o.ignore_eos, "go on behind the end-of-sequence token", {.negatable = false});
}

std::string StopWatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, first);
    held_.clear();
    return out;
  }
  // The longest end of what is held that a stop text could begin with stays.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.empty() ? 0 : stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) keep = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopWatcher::flush() { return std::exchange(held_, {}); }

int64_t model_positions(const Model& model) {
  const int64_t positions = model.config().max_positions;
  return positions > 0 ? positions : std::numeric_limits<int32_t>::max();
}

Status check_generation(const Model& model, std::span<const int32_t> prompt, const GenerateOptions& options) {
  BM_CHECK_OK(check(options.sampling));
  if (options.max_tokens < 0) return bad_input("--max-tokens must be 0 or more");
  if (!options.stop.empty() && !model.tokenizer())
    return bad_input("stop texts need a tokenizer, and the model has none");
  if (prompt.empty())
    return bad_input("the prompt has no tokens", "Give some text; this model's tokenizer adds no BOS token.");
  for (const int32_t id : prompt)
    if (id < 0 || id >= model.config().vocab)
      return bad_input("the prompt holds the id " + std::to_string(id) + ", outside the vocabulary");
  const auto length = static_cast<int64_t>(prompt.size());
  if (length > model_positions(model))
    return bad_input("the prompt is " + std::to_string(length) + " tokens long, the model has " +
                         std::to_string(model_positions(model)) + " positions",
                     "Shorten it.");
  return {};
}

TextInProgress::TextInProgress(const Model& model, std::span<const int32_t> prompt,
                               const GenerateOptions& options, TextSink sink, uint64_t sample)
    : model_(&model),
      options_(&options),
      sink_(std::move(sink)),
      sampler_(options.sampling, sample),
      watcher_(options.stop),
      history_(prompt.begin(), prompt.end()) {
  if (model.tokenizer()) decoder_.emplace(*model.tokenizer(), true);
  const int64_t longest =
      std::min(static_cast<int64_t>(prompt.size()) + options.max_tokens, model_positions(model) + 1);
  history_.reserve(static_cast<size_t>(longest));
  out_.prompt_tokens = static_cast<int64_t>(prompt.size());
  out_.reason = "length";
  ended_ = options.max_tokens == 0;
}

bool TextInProgress::is_end(int32_t id) const {
  const auto& ids = model_->config().eos_ids;
  if (std::find(ids.begin(), ids.end(), id) != ids.end()) return true;
  return model_->tokenizer() && model_->tokenizer()->eos_id() == id;
}

void TextInProgress::show(const std::string& text) {
  out_.text += text;
  if (sink_ && !text.empty()) sink_(text);
}

void TextInProgress::take(std::span<const float> logits) {
  const int32_t id = sampler_.sample(logits, history_, history_.size());
  history_.push_back(id);
  out_.ids.push_back(id);
  const auto end = [&](const char* reason) {
    out_.reason = reason;
    ended_ = true;
  };
  if (!options_->ignore_eos && is_end(id)) return end("eos");
  if (decoder_) show(watcher_.push(decoder_->push(id)));
  if (watcher_.stopped()) return end("stop");
  if (static_cast<int64_t>(out_.ids.size()) >= options_->max_tokens) return end("length");
  if (static_cast<int64_t>(history_.size()) > model_positions(*model_)) end("context");
}

Generation TextInProgress::finish() {
  if (decoder_ && !watcher_.stopped()) {
    show(watcher_.push(decoder_->flush()));
    if (watcher_.stopped()) out_.reason = "stop";
    show(watcher_.flush());
  }
  return std::move(out_);
}

}  // namespace bm
