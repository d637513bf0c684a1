#include "evaluation/prefix_runner.h"

#include <algorithm>
#include <memory>
#include <numeric>

namespace bm {
namespace {

// Computing this many tokens twice is cheaper than giving up a batch.
constexpr int64_t kSlack = 16;

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// Requests with the same tokens are computed once for the union of their rows.
struct Unique {
  const std::vector<int32_t>* tokens = nullptr;
  std::vector<int64_t> rows;
  std::vector<size_t> requests;
};

std::vector<Unique> sorted_unique(std::span<const PrefixRequest> requests) {
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    int compared = 0;
    const auto &x = requests[a].tokens, &y = requests[b].tokens;
    size_t n = std::min(x.size(), y.size());
    for (size_t i = 0; i < n && !compared; ++i) compared = x[i] < y[i] ? -1 : x[i] > y[i];
    if (compared) return compared < 0;
    return x.size() != y.size() ? x.size() < y.size() : a < b;
  });
  std::vector<Unique> unique;
  for (size_t i : order) {
    const auto& request = requests[i];
    if (unique.empty() || *unique.back().tokens != request.tokens)
      unique.push_back({&request.tokens, {}, {}});
    auto& rows = unique.back().rows;
    std::vector<int64_t> merged;
    std::set_union(rows.begin(), rows.end(), request.rows.begin(), request.rows.end(),
                   std::back_inserter(merged));
    rows = std::move(merged);
    unique.back().requests.push_back(i);
  }
  return unique;
}

class Runner {
 public:
  Runner(const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
         const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch)
      : model_(model),
        requests_(requests),
        options_(options),
        sink_(sink),
        after_batch_(after_batch),
        unique_(sorted_unique(requests)) {}

  Result<PrefixRunReport> run() {
    if (unique_.empty()) return report_;
    int64_t longest = 0;
    for (const auto& u : unique_) longest = std::max(longest, static_cast<int64_t>(u.tokens->size()));
    uint64_t bytes = std::max<uint64_t>(1, KvCache::bytes(model_.config(), longest));
    max_slots_ = static_cast<size_t>(std::clamp<uint64_t>(options_.kv_memory / bytes, 1, 33) - 1);
    capacity_ = longest;
    trunk_ = std::make_unique<KvCache>(model_.config(), capacity_);
    for (size_t i = 0; i < unique_.size();) {
      size_t end = batch_end(i);
      BM_CHECK_OK(end == i + 1 ? run_in_trunk(i) : run_in_slots(i, end));
      std::vector<size_t> finished;
      for (size_t j = i; j < end; ++j)
        finished.insert(finished.end(), unique_[j].requests.begin(), unique_[j].requests.end());
      for (size_t j : finished) report_.tokens += static_cast<int64_t>(requests_[j].tokens.size());
      BM_CHECK_OK(after_batch_(finished));
      i = end;
    }
    return report_;
  }

 private:
  // Tokens that need not be computed again when `cached` are there: the first wanted row must be computed.
  int64_t reusable(const Unique& u, std::span<const int32_t> cached) const {
    return std::min(common_prefix(cached, *u.tokens), u.rows.front());
  }
  int64_t from_trunk(size_t i) const { return reusable(unique_[i], trunk_tokens_); }

  // The batch that starts at i: neighbours which gain nothing from having each other in the trunk.
  size_t batch_end(size_t i) const {
    int64_t tokens = 0;
    size_t end = i;
    while (end < unique_.size() && end - i < max_slots_) {
      int64_t fresh = static_cast<int64_t>(unique_[end].tokens->size()) - from_trunk(end);
      if (end > i && tokens + fresh > options_.batch_tokens) break;
      bool next_gains = end + 1 < unique_.size() &&
                        reusable(unique_[end + 1], *unique_[end].tokens) > from_trunk(end + 1) + kSlack;
      if (next_gains) break;
      tokens += fresh;
      ++end;
    }
    return std::max(end, i + 1);
  }

  void deliver(size_t i, int64_t row, const float* logits) {
    for (size_t request : unique_[i].requests) {
      const auto& rows = requests_[request].rows;
      auto found = std::lower_bound(rows.begin(), rows.end(), row);
      if (found != rows.end() && *found == row)
        sink_(request, static_cast<size_t>(found - rows.begin()), logits);
    }
  }

  Status run_batch(size_t begin, size_t end, std::span<KvCache* const> caches) {
    std::vector<SequenceInput> batch;
    std::vector<std::vector<int64_t>> rows(end - begin);
    std::vector<int64_t> starts;
    for (size_t i = begin; i < end; ++i) {
      int64_t start = caches[i - begin]->length();
      starts.push_back(start);
      for (int64_t row : unique_[i].rows) rows[i - begin].push_back(row - start);
      std::span<const int32_t> tokens(*unique_[i].tokens);
      batch.push_back({tokens.subspan(static_cast<size_t>(start)), caches[i - begin], rows[i - begin]});
      report_.computed_tokens += static_cast<int64_t>(batch.back().tokens.size());
    }
    int64_t vocabulary = model_.config().vocab;
    return forward(model_, batch, [&](size_t sequence, int64_t first, int64_t count, const float* logits) {
      for (int64_t r = 0; r < count; ++r)
        deliver(begin + sequence, unique_[begin + sequence].rows[static_cast<size_t>(first + r)],
                logits + r * vocabulary);
    });
  }

  Status run_in_trunk(size_t i) {
    trunk_->truncate(from_trunk(i));
    KvCache* cache = trunk_.get();
    trunk_tokens_ = *unique_[i].tokens;
    return run_batch(i, i + 1, {&cache, 1});
  }

  Status run_in_slots(size_t begin, size_t end) {
    std::vector<KvCache*> caches;
    for (size_t i = begin; i < end; ++i) {
      if (slots_.size() < end - begin)
        slots_.push_back(std::make_unique<KvCache>(model_.config(), capacity_));
      KvCache* cache = slots_[i - begin].get();
      cache->truncate(0);
      if (int64_t length = from_trunk(i)) cache->copy_prefix(*trunk_, length);
      caches.push_back(cache);
    }
    return run_batch(begin, end, caches);
  }

  const Model& model_;
  std::span<const PrefixRequest> requests_;
  const PrefixRunOptions& options_;
  const PrefixSink& sink_;
  const std::function<Status(std::span<const size_t>)>& after_batch_;
  std::vector<Unique> unique_;
  std::unique_ptr<KvCache> trunk_;
  std::span<const int32_t> trunk_tokens_;
  std::vector<std::unique_ptr<KvCache>> slots_;
  size_t max_slots_ = 0;
  int64_t capacity_ = 0;
  PrefixRunReport report_;
};

}  // namespace

Result<PrefixRunReport> run_shared_prefixes(
    const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
    const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch) {
  return Runner(model, requests, options, sink, after_batch).run();
}

}  // namespace bm
