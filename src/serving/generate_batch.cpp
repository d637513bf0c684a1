#include "serving/generate_batch.h"

#include <algorithm>
#include <memory>

#include "base/log.h"

namespace bm {
namespace {

class Batch {
 public:
  Batch(const Model& model, std::span<const BatchPrompt> prompts, const GenerateOptions& options,
        const GenerateBatchOptions& batch, const BatchSink& sink)
      : model_(model),
        prompts_(prompts),
        options_(options),
        batch_(batch),
        sink_(sink),
        pool_(std::make_shared<KvPool>(model.config(), batch.kv_dtype)),
        free_(static_cast<int64_t>(batch.kv_memory / pool_->page_bytes())) {}

  Status run() {
    if (batch_.sequences < 1) return bad_input("--batch must be 1 or more");
    Progress progress("generate", "texts", prompts_.size());
    while (next_ < prompts_.size() || !running_.empty()) {
      if (stop_requested()) return interrupted_error("generating text");
      BM_CHECK_OK(admit(progress));
      BM_CHECK_OK(step());
      BM_CHECK_OK(close(progress));
    }
    return {};
  }

 private:
  struct Sequence {
    size_t prompt;
    int64_t pages;  // set aside for it
    KvCache cache;
    TextInProgress text;
    int64_t reused = 0;
  };

  Status admit(Progress& progress) {
    for (; next_ < prompts_.size() && static_cast<int64_t>(running_.size()) < batch_.sequences; ++next_) {
      const BatchPrompt& prompt = prompts_[next_];
      if (Status usable = check_generation(model_, prompt.ids, options_); !usable.ok()) {
        BM_CHECK_OK(sink_(next_, std::move(usable).error()));
        progress.advance();
        continue;
      }
      const int64_t positions =
          std::min(static_cast<int64_t>(prompt.ids.size()) + options_.max_tokens, model_positions(model_));
      // One more: a page shared with another text is copied when it is written.
      const int64_t pages = (positions + kKeyTile - 1) / kKeyTile + 1;
      if (pages > free_) {
        if (!running_.empty()) break;  // later, when another has ended
        return bad_input("the keys and values of one text of up to " + std::to_string(positions) +
                             " tokens need " +
                             format_bytes(static_cast<uint64_t>(pages) * pool_->page_bytes()) +
                             ", and --kv-memory allows " + format_bytes(batch_.kv_memory),
                         "Give --kv-memory at least that, or lower --max-tokens.");
      }
      if (soon_shared(prompt.ids)) break;
      free_ -= pages;
      running_.push_back(std::make_unique<Sequence>(
          Sequence{next_, pages, KvCache(pool_, positions),
                   TextInProgress(model_, prompt.ids, options_, {}, prompt.sample)}));
      share_prefix(*running_.back(), prompt.ids);
    }
    return {};
  }

  static int64_t common(std::span<const int32_t> known, const std::vector<int32_t>& ids) {
    return std::mismatch(known.begin(), known.end(), ids.begin(), ids.end() - 1).first - known.begin();
  }

  // A text that starts with the next pass begins like this one: worth the wait for that pass.
  bool soon_shared(const std::vector<int32_t>& ids) const {
    return std::any_of(running_.begin(), running_.end(), [&](const auto& other) {
      return other->cache.length() == 0 && common(other->text.history(), ids) >= kKeyTile;
    });
  }

  // What a running text has computed already of this prompt's beginning is taken over.
  void share_prefix(Sequence& sequence, const std::vector<int32_t>& ids) const {
    const Sequence* best = nullptr;
    for (const auto& other : running_) {
      const auto length = static_cast<size_t>(other->cache.length());
      const int64_t shared = common(other->text.history().first(length), ids);
      if (shared <= sequence.reused) continue;
      sequence.reused = shared;
      best = other.get();
    }
    if (best) sequence.cache.fork(best->cache, sequence.reused);
  }

  Status step() {
    inputs_.clear();
    last_.resize(running_.size());
    for (size_t i = 0; i < running_.size(); ++i) {
      Sequence& s = *running_[i];
      const auto fresh = s.text.history().subspan(static_cast<size_t>(s.cache.length()));
      last_[i] = static_cast<int64_t>(fresh.size()) - 1;
      if (!s.text.ended()) inputs_.push_back({fresh, &s.cache, {&last_[i], 1}});
      if (!s.text.ended()) of_input_.push_back(i);
    }
    const auto vocabulary = static_cast<size_t>(model_.config().vocab);
    Status done = forward(model_, inputs_, [&](size_t sequence, int64_t, int64_t, const float* row) {
      running_[of_input_[sequence]]->text.take({row, vocabulary});
    });
    of_input_.clear();
    return done;
  }

  Status close(Progress& progress) {
    for (size_t i = 0; i < running_.size();) {
      Sequence& s = *running_[i];
      if (!s.text.ended()) {
        ++i;
        continue;
      }
      Generation text = s.text.finish();
      text.reused_tokens = s.reused;
      free_ += s.pages;
      const size_t prompt = s.prompt;
      running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
      BM_CHECK_OK(sink_(prompt, std::move(text)));
      progress.advance();
    }
    return {};
  }

  const Model& model_;
  std::span<const BatchPrompt> prompts_;
  const GenerateOptions& options_;
  const GenerateBatchOptions& batch_;
  const BatchSink& sink_;
  std::shared_ptr<KvPool> pool_;
  int64_t free_;  // pages
  size_t next_ = 0;
  std::vector<std::unique_ptr<Sequence>> running_;
  std::vector<SequenceInput> inputs_;
  std::vector<size_t> of_input_;
  std::vector<int64_t> last_;
};

}  // namespace

Status generate_batch(const Model& model, std::span<const BatchPrompt> prompts,
                      const GenerateOptions& options, const GenerateBatchOptions& batch,
                      const BatchSink& sink) {
  return Batch(model, prompts, options, batch, sink).run();
}

}  // namespace bm
