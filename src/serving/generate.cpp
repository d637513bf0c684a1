#include "serving/generate.h"

#include <algorithm>
#include <limits>

#include "base/log.h"

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

GenerationSession::GenerationSession(const Model& model) : model_(model) {
  positions_ = model.config().max_positions > 0 ? model.config().max_positions : std::numeric_limits<int32_t>::max();
}

bool GenerationSession::ends(int32_t id) const {
  const auto& ids = model_.config().eos_ids;
  if (std::find(ids.begin(), ids.end(), id) != ids.end()) return true;
  return model_.tokenizer() && model_.tokenizer()->eos_id() == id;
}

// Cuts the cache back to what the prompt shares with it, and makes it large enough.
Status GenerationSession::prepare(std::span<const int32_t> prompt, const GenerateOptions& options, Generation& out) {
  BM_CHECK_OK(check(options.sampling));
  if (options.max_tokens < 0) return bad_input("--max-tokens must be 0 or more");
  if (!options.stop.empty() && !model_.tokenizer()) return bad_input("stop texts need a tokenizer, and the model has none");
  if (prompt.empty()) return bad_input("the prompt has no tokens", "Give some text; this model's tokenizer adds no BOS token.");
  for (int32_t id : prompt) {
    if (id < 0 || id >= model_.config().vocab) return bad_input("the prompt holds the id " + std::to_string(id) + ", outside the vocabulary");
  }
  auto length = static_cast<int64_t>(prompt.size());
  if (length > positions_) {
    return bad_input("the prompt is " + std::to_string(length) + " tokens long, the model has " + std::to_string(positions_) + " positions",
                     "Shorten it.");
  }
  int64_t shared = 0;
  auto known = static_cast<int64_t>(cached_.size());
  while (shared < std::min(known, length - 1) && cached_[static_cast<size_t>(shared)] == prompt[static_cast<size_t>(shared)]) ++shared;
  int64_t needed = std::min(positions_, length + options.max_tokens);
  if (!cache_ || cache_->capacity() < needed) {
    int64_t capacity = std::min(positions_, std::max<int64_t>(needed, cache_ ? 2 * cache_->capacity() : 0));
    auto larger = std::make_unique<KvCache>(model_.config(), capacity);
    if (cache_ && shared > 0) larger->copy_prefix(*cache_, shared);
    cache_ = std::move(larger);
  }
  cache_->truncate(shared);
  cached_.resize(static_cast<size_t>(shared));
  out.prompt_tokens = length;
  out.reused_tokens = shared;
  return {};
}

Status GenerationSession::feed(std::span<const int32_t> tokens, std::vector<float>& logits) {
  int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  SequenceInput input{tokens, cache_.get(), {&last, 1}};
  BM_CHECK_OK(forward(model_, {&input, 1}, [&](size_t, int64_t, int64_t, const float* row) {
    logits.assign(row, row + model_.config().vocab);
  }));
  cached_.insert(cached_.end(), tokens.begin(), tokens.end());
  return {};
}

Result<Generation> GenerationSession::generate(std::span<const int32_t> prompt, const GenerateOptions& options, const TextSink& sink) {
  Generation out;
  BM_CHECK_OK(prepare(prompt, options, out));
  Sampler sampler(options.sampling);
  StopWatcher watcher(options.stop);
  std::optional<StreamDecoder> decoder;
  if (model_.tokenizer()) decoder.emplace(*model_.tokenizer(), true);
  auto show = [&](const std::string& text) {
    out.text += text;
    if (sink && !text.empty()) sink(text);
  };
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  std::vector<float> logits;
  std::span<const int32_t> fresh = prompt.subspan(static_cast<size_t>(out.reused_tokens));
  out.reason = "length";
  while (static_cast<int64_t>(out.ids.size()) < options.max_tokens) {
    if (stop_requested()) return interrupted_error("generating text");
    if (static_cast<int64_t>(cached_.size() + fresh.size()) > positions_) {
      out.reason = "context";
      break;
    }
    BM_CHECK_OK(feed(fresh, logits));
    int32_t id = sampler.sample(logits, history, history.size());
    history.push_back(id);
    out.ids.push_back(id);
    if (!options.ignore_eos && ends(id)) {
      out.reason = "eos";
      break;
    }
    if (decoder) show(watcher.push(decoder->push(id)));
    if (watcher.stopped()) {
      out.reason = "stop";
      break;
    }
    fresh = std::span<const int32_t>(history).last(1);
  }
  if (decoder && !watcher.stopped()) {
    show(watcher.push(decoder->flush()));
    if (watcher.stopped()) out.reason = "stop";
    show(watcher.flush());
  }
  return out;
}

}  // namespace bm
