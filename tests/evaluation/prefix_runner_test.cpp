// What is shared, how it is batched and how much memory there is must not show in the logits.
#include "evaluation/prefix_runner.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "base/log.h"
#include "base/threads.h"
#include "model/support.h"

namespace bm::testing {
namespace {

RandomModelShape odd_shape() {
  RandomModelShape s;
  s.vocab = 259, s.hidden = 40, s.intermediate = 52, s.layers = 2, s.heads = 6, s.kv_heads = 3,
  s.head_dim = 10;
  return s;
}

// Stems of several lengths, branches behind them, equal prompts, prompts that are another's prefix.
std::vector<PrefixRequest> branching_requests(uint64_t seed) {
  std::vector<PrefixRequest> requests;
  const CounterRandom random(seed, 2);
  uint64_t draw = 0;
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(random.below(draw++, static_cast<uint64_t>(n)));
  };
  std::vector<std::vector<int32_t>> stems = {{1}};
  for (int i = 0; i < 12; ++i) {
    auto stem = stems[static_cast<size_t>(below(static_cast<int64_t>(stems.size())))];
    for (int64_t n = 1 + below(i % 3 == 0 ? 150 : 20); n > 0; --n)
      stem.push_back(static_cast<int32_t>(below(259)));
    stems.push_back(std::move(stem));
  }
  for (int i = 0; i < 60; ++i) {
    auto tokens = stems[static_cast<size_t>(below(static_cast<int64_t>(stems.size())))];
    for (int64_t n = below(i % 4 == 0 ? 2 : 40); n > 0; --n) tokens.push_back(static_cast<int32_t>(below(6)));
    std::set<int64_t> rows = {static_cast<int64_t>(tokens.size()) - 1};
    for (int64_t n = below(4); n > 0; --n) rows.insert(below(static_cast<int64_t>(tokens.size())));
    requests.push_back({std::move(tokens), {rows.begin(), rows.end()}});
  }
  return requests;
}

using Logits = std::map<std::pair<size_t, size_t>, std::vector<float>>;

Logits run(const Model& model, const std::vector<PrefixRequest>& requests, const PrefixRunOptions& options,
           PrefixRunReport* report = nullptr) {
  Logits out;
  std::vector<int> finished(requests.size(), 0);
  std::vector<size_t> rows(requests.size(), 0);
  PrefixRunReport done = take(run_shared_prefixes(
      model, requests, options,
      [&](size_t request, size_t row, const float* logits) {
        EXPECT_EQ(row, rows[request]++) << "rows of a request come in order";
        out[{request, row}].assign(logits, logits + model.config().vocab);
      },
      [&](std::span<const size_t> some) -> Status {
        for (size_t request : some) {
          ++finished[request];
          EXPECT_EQ(rows[request], requests[request].rows.size());
        }
        return {};
      }));
  EXPECT_EQ(finished, std::vector<int>(requests.size(), 1));
  EXPECT_LE(done.kv_bytes, options.kv_memory);
  if (report) *report = done;
  return out;
}

Logits alone(const Model& model, const std::vector<PrefixRequest>& requests) {
  Logits out;
  for (size_t i = 0; i < requests.size(); ++i) {
    const SequenceInput input{requests[i].tokens, nullptr, requests[i].rows};
    check(forward(model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* logits) {
      for (int64_t r = 0; r < count; ++r)
        out[{i, static_cast<size_t>(first + r)}].assign(logits + r * model.config().vocab,
                                                        logits + (r + 1) * model.config().vocab);
    }));
  }
  return out;
}

class ThreadsGuard {
 public:
  ~ThreadsGuard() { set_thread_count(0); }
};

TEST(PrefixRunner, NothingOfTheScheduleShows) {
  const ThreadsGuard guard;
  const RandomModel random(odd_shape(), DType::bf16);
  const auto model = random.load();
  const uint64_t page = KvPool::page_bytes(model->config(), DType::f32);
  for (uint64_t seed : {1, 2, 3}) {
    auto requests = branching_requests(seed);
    const Logits expected = alone(*model, requests);
    const uint64_t least = PrefixTrie(requests, 1 << 20).plan(page).least_memory;
    for (int threads : {1, 2, 7}) {
      set_thread_count(threads);
      for (size_t sequences : {1u, 7u, 32u})
        for (uint64_t memory : {least, least + 2 * page, uint64_t{1} << 30}) {
          PrefixRunOptions options;
          options.kv_memory = memory;
          options.batch_sequences = sequences;
          options.batch_tokens = sequences == 7 ? 90 : 1024;
          EXPECT_EQ(run(*model, requests, options), expected) << threads << " " << sequences << " " << memory;
        }
    }
    // Another order of the requests; each alone, nothing shared.
    std::vector<size_t> order(requests.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    std::vector<PrefixRequest> shuffled;
    for (size_t i : order) shuffled.push_back(requests[i]);
    const Logits got = run(*model, shuffled, {});
    for (const auto& [key, logits] : got) EXPECT_EQ(logits, expected.at({order[key.first], key.second}));
    for (size_t i = 0; i < requests.size(); i += 9)
      for (const auto& [key, logits] : run(*model, {requests[i]}, {}))
        EXPECT_EQ(logits, expected.at({i, key.second}));
  }
}

// What is computed is one token for each different prefix; short pieces may be computed again.
TEST(PrefixRunner, ComputesEachPrefixOnce) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  for (uint64_t seed : {4, 5}) {
    const auto requests = branching_requests(seed);
    std::set<std::vector<int32_t>> prefixes, different;
    int64_t tokens = 0;
    for (const PrefixRequest& r : requests) {
      tokens += static_cast<int64_t>(r.tokens.size());
      different.insert(r.tokens);
      for (size_t n = 1; n <= r.tokens.size(); ++n)
        prefixes.insert({r.tokens.begin(), r.tokens.begin() + static_cast<std::ptrdiff_t>(n)});
    }
    PrefixRunReport report;
    run(*model, requests, {}, &report);
    EXPECT_EQ(report.tokens, tokens);
    EXPECT_GE(report.computed_tokens, static_cast<int64_t>(prefixes.size()));
    EXPECT_LE(report.computed_tokens, static_cast<int64_t>(prefixes.size()) * 5 / 4);
    EXPECT_LT(report.computed_tokens, tokens * 2 / 3);
    const PrefixPlan plan = PrefixTrie(requests, 1024).plan(1);
    EXPECT_EQ(plan.computed, report.computed_tokens);
    EXPECT_EQ(plan.different, static_cast<int64_t>(different.size()));
    EXPECT_EQ(plan.requests, 60);
  }
  std::vector<PrefixRequest> two = {{std::vector<int32_t>(100, 7), {99}},
                                    {std::vector<int32_t>(100, 7), {99}}};
  two[1].tokens[80] = 8;
  EXPECT_EQ(PrefixTrie(two, 1024).plan(1).text(),
            "2 prompts, 200 tokens, of which 80 (40 %) are shared: 120 to compute");
}

TEST(PrefixRunner, LeafBatchesFillUpWithTheNextPrompts) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  std::vector<PrefixRequest> requests;  // 20 contexts of 100 tokens with 4 ends of 2 tokens
  for (int32_t context = 0; context < 20; ++context)
    for (int32_t end = 0; end < 4; ++end) {
      auto tokens = random_tokens(100, 259, static_cast<uint64_t>(context));
      tokens.insert(tokens.end(), {end, 7});
      requests.push_back({tokens, {100, 101}});
    }
  PrefixRunOptions options;
  options.batch_tokens = 512;
  PrefixRunReport report;
  run(*model, requests, options, &report);
  EXPECT_EQ(report.computed_tokens, 20 * (100 + 4 * 2));
  EXPECT_LE(report.batches, 6);  // 2,160 tokens are 5 batches
}

TEST(PrefixRunner, MemoryForOnePromptIsNeededAndNamed) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  const uint64_t page = KvPool::page_bytes(model->config(), DType::f32);
  const std::vector<PrefixRequest> requests = {{random_tokens(130, 259, 1), {129}}, {{1, 2}, {1}}};
  PrefixRunOptions options;
  options.kv_memory = 3 * page;
  run(*model, requests, options);
  options.kv_memory -= 1;
  const auto nothing = [](size_t, size_t, const float*) {};
  const auto refused = run_shared_prefixes(*model, requests, options, nothing,
                                           [](std::span<const size_t>) -> Status { return {}; });
  EXPECT_CONTAINS(error_of(refused), "one prompt of 130 tokens need " + format_bytes(3 * page));
  EXPECT_EQ(refused.error().code(), Code::bad_input);
}

// Halved caches: the same bits for every schedule, and close to float32.
TEST(PrefixRunner, Bf16CachesAreCloseAndAsIndependent) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  const auto requests = branching_requests(6);
  PrefixRunOptions options;
  options.kv_dtype = DType::bf16;
  PrefixRunReport report, exact_report;
  const Logits first = run(*model, requests, options, &report);
  const Logits exact = run(*model, requests, {}, &exact_report);
  EXPECT_EQ(2 * report.kv_bytes, exact_report.kv_bytes);
  options.batch_sequences = 3;
  options.batch_tokens = 70;
  EXPECT_EQ(run(*model, requests, options), first);
  double largest = 0;
  for (const auto& [key, logits] : first)
    for (size_t i = 0; i < logits.size(); ++i)
      largest = std::max(largest, std::abs(static_cast<double>(logits[i] - exact.at(key)[i])));
  EXPECT_GT(largest, 0);
  EXPECT_LT(largest, 0.06);
}

}  // namespace
}  // namespace bm::testing
