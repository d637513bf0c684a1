#include "evaluation/prefix_runner.h"

#include <algorithm>
#include <memory>

#include "base/log.h"
#include "base/system.h"

namespace bm {
namespace {

constexpr int64_t kTimedTokens = 512;  // after so many the remaining time is told
constexpr size_t kProbeTokens = 96;    // timed for an estimate before the run
constexpr int kTries = 32;             // nodes that do not fit before a batch is closed

class Runner {
 public:
  Runner(const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
         const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch)
      : model_(model),
        requests_(requests),
        options_(options),
        sink_(sink),
        after_batch_(after_batch),
        trie_(requests, options.batch_tokens),
        nodes_(trie_.nodes()),
        pool_(std::make_shared<KvPool>(model.config(), options.kv_dtype)) {}

  Result<PrefixRunReport> run() {
    if (requests_.empty()) return report_;
    plan_ = trie_.plan(pool_->page_bytes());
    BM_CHECK_OK(check_memory());
    if (options_.announce && requests_.size() > 1) log_info(plan_.text());
    report_.tokens = plan_.tokens;
    started_ = now_seconds();
    open_.push_back({0, KvCache(pool_, 0), {}, 0});
    open_.back().waiting = nodes_[0].children;
    std::reverse(open_.back().waiting.begin(), open_.back().waiting.end());
    while (!open_.empty()) {
      choose_batch();
      BM_CHECK_OK(run_batch());
      BM_CHECK_OK(close_batch());
    }
    report_.kv_bytes = static_cast<uint64_t>(pool_->most_pages()) * pool_->page_bytes();
    return report_;
  }

 private:
  // A computed node with something below it still to do.
  struct Open {
    size_t node;
    KvCache cache;
    std::vector<size_t> waiting;  // children not started, the next one last
    int64_t running = 0;          // children started, not finished
  };
  struct Chosen {
    size_t node;
    KvCache cache;
  };

  Status check_memory() {
    total_ = static_cast<int64_t>(options_.kv_memory / pool_->page_bytes());
    free_ = total_;
    if (nodes_[0].need <= total_) return {};
    const auto length = requests_[plan_.largest_request].tokens.size();
    return bad_input("the keys and values of one prompt of " + format_count(length) + " tokens need " +
                         format_bytes(plan_.least_memory) + ", and --kv-memory allows " +
                         format_bytes(options_.kv_memory),
                     "Give --kv-memory at least that, or shorten the prompt" +
                         std::string(options_.kv_dtype == DType::f32 ? "; --kv bf16 halves the need." : "."));
  }

  // Whether all open nodes can be finished one after the other, the last opened first, when `more` is opened
  // too and `free` pages are left then.
  bool can_finish(int64_t free, const std::vector<size_t>& more) const {
    const auto largest = [&](const std::vector<size_t>& children) {
      int64_t need = 0;
      for (const size_t child : children) need = std::max(need, nodes_[child].need);
      return need;
    };
    for (auto node = more.rbegin(); node != more.rend(); ++node) {
      if (largest(nodes_[*node].children) > free) return false;
      free += nodes_[*node].pages;
    }
    for (auto open = open_.rbegin(); open != open_.rend(); ++open) {
      if (largest(open->waiting) > free) return false;
      free += nodes_[open->node].pages;
    }
    return true;
  }

  // Takes nodes until the batch is full. One always fits: can_finish() held after the batch before.
  void choose_batch() {
    batch_.clear();
    std::vector<size_t> opened;
    int64_t tokens = 0, during = free_, after = free_;
    int refused = 0;
    for (size_t o = open_.size(); o-- > 0 && refused < kTries;) {
      while (!open_[o].waiting.empty() && refused < kTries) {
        const size_t next = open_[o].waiting.back();
        const TrieNode& node = nodes_[next];
        const bool full = !batch_.empty() && (tokens + node.tokens() > options_.batch_tokens ||
                                              batch_.size() >= options_.batch_sequences);
        if (full || node.pages > during) {
          refused = full ? kTries : refused + 1;
          break;
        }
        const bool leaf = node.children.empty();
        open_[o].waiting.pop_back();
        if (!leaf) {
          opened.push_back(next);
          if (!can_finish(after - node.pages, opened)) {
            opened.pop_back();
            open_[o].waiting.push_back(next);
            ++refused;
            break;
          }
          after -= node.pages;
        }
        during -= node.pages;
        tokens += node.tokens();
        Chosen chosen{next, KvCache(pool_, node.end)};
        chosen.cache.fork(open_[o].cache, node.begin);
        batch_.push_back(std::move(chosen));
        ++open_[o].running;
      }
    }
  }

  Status run_batch() {
    std::vector<SequenceInput> inputs;
    std::vector<std::vector<int64_t>> rows(batch_.size());
    for (size_t i = 0; i < batch_.size(); ++i) {
      const TrieNode& node = nodes_[batch_[i].node];
      for (const TrieRow& row : node.rows) rows[i].push_back(row.position - node.begin);
      std::span<const int32_t> tokens(requests_[node.source].tokens);
      inputs.push_back({tokens.subspan(static_cast<size_t>(node.begin), static_cast<size_t>(node.tokens())),
                        &batch_[i].cache, rows[i]});
      report_.computed_tokens += node.tokens();
    }
    ++report_.batches;
    const int64_t vocabulary = model_.config().vocab;
    return forward(model_, inputs, [&](size_t sequence, int64_t first, int64_t count, const float* logits) {
      for (int64_t r = 0; r < count; ++r)
        for (const auto& [request, row] :
             nodes_[batch_[sequence].node].rows[static_cast<size_t>(first + r)].wanted)
          sink_(request, row, logits + r * vocabulary);
    });
  }

  Status close_batch() {
    tell_time();
    std::vector<size_t> finished;
    std::vector<size_t> done;  // nodes all of whose subtree is done
    for (Chosen& chosen : batch_) {
      const TrieNode& node = nodes_[chosen.node];
      finished.insert(finished.end(), node.finished.begin(), node.finished.end());
      if (node.children.empty()) {
        done.push_back(chosen.node);
        continue;
      }
      free_ -= node.pages;
      Open open{chosen.node, std::move(chosen.cache), node.children, 0};
      std::reverse(open.waiting.begin(), open.waiting.end());
      open_.push_back(std::move(open));
    }
    batch_.clear();
    for (const size_t node : done) finish(node);
    return after_batch_(finished);
  }

  // Closes parents whose last child was this one.
  void finish(size_t node) {
    while (node != 0) {
      const size_t parent = nodes_[node].parent;
      auto open = std::find_if(open_.rbegin(), open_.rend(), [&](const Open& o) { return o.node == parent; });
      if (--open->running > 0 || !open->waiting.empty()) return;
      free_ += nodes_[parent].pages;
      open_.erase(std::next(open).base());
      node = parent;
    }
  }

  void tell_time() {
    const int64_t left = plan_.computed - report_.computed_tokens;
    if (told_ || !options_.announce || report_.computed_tokens < kTimedTokens || left < kTimedTokens) return;
    told_ = true;
    const double rate =
        static_cast<double>(report_.computed_tokens) / std::max(now_seconds() - started_, 1e-9);
    log_info("about " + format_duration(static_cast<double>(left) / rate) + " to go, at " +
             format_count(static_cast<uint64_t>(rate)) + " tokens a second");
  }

  const Model& model_;
  std::span<const PrefixRequest> requests_;
  const PrefixRunOptions& options_;
  const PrefixSink& sink_;
  const std::function<Status(std::span<const size_t>)>& after_batch_;
  const PrefixTrie trie_;
  const std::vector<TrieNode>& nodes_;
  std::shared_ptr<KvPool> pool_;
  PrefixPlan plan_;
  std::vector<Open> open_;  // in the order of their opening: a parent comes before what is below it
  std::vector<Chosen> batch_;
  int64_t total_ = 0, free_ = 0;  // pages
  double started_ = 0;
  bool told_ = false;
  PrefixRunReport report_;
};

}  // namespace

Result<DType> parse_kv_dtype(const std::string& name) {
  if (name.empty() || name == "f32" || name == "float32") return DType::f32;
  if (name == "bf16" || name == "bfloat16") return DType::bf16;
  return bad_input("--kv is f32 or bf16, not " + json_quote(name));
}

PrefixPlan plan_prefixes(const Model& model, std::span<const PrefixRequest> requests,
                         const PrefixRunOptions& options) {
  return PrefixTrie(requests, options.batch_tokens)
      .plan(KvPool::page_bytes(model.config(), options.kv_dtype));
}

double probe_seconds(const Model& model, std::span<const PrefixRequest> requests, const PrefixPlan& plan) {
  if (requests.empty()) return 0;
  const auto& tokens = requests[0].tokens;
  const SequenceInput input{
      std::span(tokens).first(std::min<size_t>(tokens.size(), kProbeTokens)), nullptr, {}};
  const double start = now_seconds();
  if (!forward(model, {&input, 1}, [](size_t, int64_t, int64_t, const float*) {}).ok()) return 0;
  return (now_seconds() - start) / static_cast<double>(input.tokens.size()) *
         static_cast<double>(plan.computed);
}

Result<PrefixRunReport> run_shared_prefixes(
    const Model& model, std::span<const PrefixRequest> requests, const PrefixRunOptions& options,
    const PrefixSink& sink, const std::function<Status(std::span<const size_t>)>& after_batch) {
  return Runner(model, requests, options, sink, after_batch).run();
}

}  // namespace bm
