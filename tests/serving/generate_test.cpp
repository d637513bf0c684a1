#include "serving/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <tuple>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/random_model.h"
#include "paths.h"
#include "serving/chat.h"
#include "serving/generate_batch.h"

namespace bm {
namespace {

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 3, 2}, {}, 0), 1);
}

TEST(Sampler, RepetitionPenaltyCountsOnce) {
  SamplingOptions options;
  options.repetition_penalty = 2;
  Sampler sampler(options);
  EXPECT_EQ(sampler.sample(std::vector<float>{4, 3, 1}, std::vector<int32_t>{0}, 0), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{4, 1.5f, 1}, std::vector<int32_t>{0, 0, 0}, 0), 0)
      << "4 / 2 is still above 1.5";
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1.5f}, std::vector<int32_t>{0}, 0), 1)
      << "negative logits are multiplied";
}

std::map<int32_t, double> shares(const SamplingOptions& options, const std::vector<float>& logits,
                                 int draws = 40000) {
  Sampler sampler(options);
  std::map<int32_t, double> out;
  for (int i = 0; i < draws; ++i) out[sampler.sample(logits, {}, static_cast<uint64_t>(i))] += 1.0 / draws;
  return out;
}

TEST(Sampler, DrawsByProbability) {
  std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 5;
  auto all = shares(options, logits);
  double expected[] = {0.5, 0.3, 0.15, 0.05};
  for (int32_t i = 0; i < 4; ++i) EXPECT_NEAR(all[i], expected[i], 0.015) << "6 standard deviations";
  options.top_k = 2;
  auto two = shares(options, logits);
  EXPECT_EQ(two.size(), 2u);
  EXPECT_NEAR(two[0], 0.625, 0.015);
  options.top_k = 0;
  options.top_p = 0.8;
  EXPECT_EQ(shares(options, logits).size(), 2u);
  options.top_p = 0.81;
  EXPECT_EQ(shares(options, logits).size(), 3u);
  options.top_p = 1e-9;
  EXPECT_EQ(shares(options, logits).size(), 1u);
  options.top_p = 1;
  options.min_p = 0.2;
  EXPECT_EQ(shares(options, logits).size(), 3u);
  options.min_p = 0;
  options.temperature = 0.5;
  EXPECT_NEAR(shares(options, logits)[0], 0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), 0.015);
}

TEST(Sampler, SameSeedSameDraws) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = 9;
  std::vector<float> logits(50, 0.0f);
  Sampler first(options), second(options);
  options.seed = 10;
  Sampler other(options);
  int different = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    int32_t id = first.sample(logits, {}, i);
    EXPECT_EQ(id, second.sample(logits, {}, i));
    different += id != other.sample(logits, {}, i);
  }
  EXPECT_GT(different, 30);
}

TEST(Sampler, RefusesNonsense) {
  auto refused = [](auto change) {
    SamplingOptions options;
    change(options);
    return !check(options).ok();
  };
  EXPECT_TRUE(refused([](auto& o) { o.temperature = -1; }));
  EXPECT_TRUE(refused([](auto& o) { o.temperature = NAN; }));
  EXPECT_TRUE(refused([](auto& o) { o.top_p = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.top_p = 1.1; }));
  EXPECT_TRUE(refused([](auto& o) { o.min_p = 2; }));
  EXPECT_TRUE(refused([](auto& o) { o.top_k = -1; }));
  EXPECT_TRUE(refused([](auto& o) { o.repetition_penalty = 0; }));
}

TEST(StopWatcher, HoldsBackOnlyWhatCouldBeAStop) {
  StopWatcher watcher({"\n\n", "END"});
  EXPECT_EQ(watcher.push("abc\n"), "abc");
  EXPECT_EQ(watcher.push("d E"), "\nd ");
  EXPECT_EQ(watcher.push("N"), "");
  EXPECT_EQ(watcher.push("x"), "ENx");
  EXPECT_EQ(watcher.push("q END r"), "q ");
  EXPECT_TRUE(watcher.stopped());
  EXPECT_EQ(watcher.push("more"), "");
  StopWatcher open({"END"});
  EXPECT_EQ(open.push("EN"), "");
  EXPECT_EQ(open.flush(), "EN");
  EXPECT_EQ(StopWatcher({}).push("x"), "x");
}

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomModelShape shape;
    shape.vocab = 40;
    shape.max_positions = 30;
    ASSERT_TRUE(write_random_model(folder.file("m"), shape, DType::f32, 1).ok());
    auto loaded = Model::load(folder.file("m"));
    ASSERT_TRUE(loaded) << loaded.error().paragraph();
    model = *loaded;
    options.max_tokens = 8;
    options.ignore_eos = true;
  }
  testing::TemporaryFolder folder;
  std::shared_ptr<const Model> model;
  GenerateOptions options;
};

TEST_F(SessionTest, ReuseChangesNothing) {
  std::vector<int32_t> prompt{1, 5, 7, 9};
  GenerationSession fresh(*model), kept(*model);
  auto first = kept.generate(prompt, options);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->reused_tokens, 0);
  std::vector<int32_t> longer = prompt;
  longer.insert(longer.end(), first->ids.begin(), first->ids.end());
  longer.push_back(3);
  auto again = kept.generate(longer, options), alone = fresh.generate(longer, options);
  ASSERT_TRUE(again && alone);
  EXPECT_EQ(again->ids, alone->ids);
  EXPECT_GE(again->reused_tokens, 11);
  EXPECT_EQ(kept.generate(prompt, options)->ids, first->ids);
}

TEST_F(SessionTest, EndsAtTheContext) {
  options.max_tokens = 100;
  GenerationSession session(*model);
  auto made = session.generate(std::vector<int32_t>(20, 3), options);
  ASSERT_TRUE(made) << made.error().paragraph();
  EXPECT_EQ(made->reason, "context");
  EXPECT_EQ(made->ids.size(), 11u) << "the last position still predicts one token";
  EXPECT_FALSE(session.generate(std::vector<int32_t>(31, 3), options));
}

TEST_F(SessionTest, Refusals) {
  GenerationSession session(*model);
  EXPECT_FALSE(session.generate({}, options));
  EXPECT_FALSE(session.generate(std::vector<int32_t>{40}, options));
  options.stop = {"x"};
  EXPECT_FALSE(session.generate(std::vector<int32_t>{1}, options)) << "stop texts need a tokenizer";
  EXPECT_FALSE(Conversation::start(*model, "", ""));
}

// Batches of any size, prompts that share their start, several samples, little memory: the texts that each
// prompt gives alone.
TEST_F(SessionTest, BatchesGiveTheTextsOfOneByOne) {
  options.sampling.temperature = 1;
  options.sampling.seed = 3;
  std::vector<BatchPrompt> prompts;
  for (int32_t i = 0; i < 9; ++i) {
    std::vector<int32_t> ids = {1, 5, 7};
    for (int32_t k = 0; k <= i % 4; ++k) ids.push_back((7 * i + k) % 40);
    prompts.push_back({ids, 0});
  }
  prompts.push_back({{1, 5, 99}, 0});
  prompts.push_back({std::vector<int32_t>(27, 4), 0});
  std::vector<std::vector<int32_t>> expected;
  for (const BatchPrompt& prompt : prompts) {
    GenerationSession session(*model);
    auto made = session.generate(prompt.ids, options);
    expected.push_back(made ? made->ids : std::vector<int32_t>{});
  }
  const uint64_t page = KvPool::page_bytes(model->config(), DType::f32);
  for (int64_t sequences : {1, 3, 8, 50})
    for (uint64_t memory : {2 * page, 5 * page, uint64_t{1} << 30}) {
      std::vector<int> seen(prompts.size(), 0);
      GenerateBatchOptions batch;
      batch.sequences = sequences;
      batch.kv_memory = memory;
      auto done =
          generate_batch(*model, prompts, options, batch, [&](size_t i, Result<Generation> made) -> Status {
            ++seen[i];
            EXPECT_EQ(made.ok(), i != 9) << i;
            if (made) {
              EXPECT_EQ(made->ids, expected[i]) << i << " of " << sequences;
            }
            if (made && i == 10) {
              EXPECT_EQ(made->reason, "context");
            }
            return {};
          });
      ASSERT_TRUE(done.ok()) << done.error().paragraph();
      EXPECT_EQ(seen, std::vector<int>(prompts.size(), 1));
    }
  GenerateBatchOptions small;
  small.kv_memory = page;
  auto refused =
      generate_batch(*model, prompts, options, small, [](size_t, Result<Generation>) { return Status(); });
  EXPECT_FALSE(refused.ok());
  EXPECT_NE(refused.error().paragraph().find(format_bytes(2 * page)), std::string::npos);
}

TEST_F(SessionTest, SamplesOfOnePromptShareItAndDiffer) {
  RandomModelShape shape;
  shape.vocab = 40;
  ASSERT_TRUE(write_random_model(folder.file("long"), shape, DType::f32, 1).ok());
  auto longer = Model::load(folder.file("long"));
  ASSERT_TRUE(longer) << longer.error().paragraph();
  options.sampling.temperature = 1.5;
  std::vector<BatchPrompt> prompts;
  for (uint64_t s = 0; s < 5; ++s) prompts.push_back({std::vector<int32_t>(100, 4), s});
  std::map<std::vector<int32_t>, int> texts;
  int64_t reused = 0;
  auto done = generate_batch(**longer, prompts, options, {}, [&](size_t, Result<Generation> made) -> Status {
    ++texts[made->ids];
    reused += made->reused_tokens;
    return {};
  });
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(texts.size(), 5u);
  EXPECT_EQ(reused, 4 * 99);
}

// Only as much of the vocabulary is sorted as a draw needs; the draws are those of a whole sort.
TEST(Sampler, DrawsOfALargeVocabularyAreThoseOfAWholeSort) {
  std::vector<float> logits(5000);
  const CounterRandom random(3, 4);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(std::round(8 * random.normal(i)) / 4);
  SamplingOptions options;
  options.temperature = 1.3;
  options.seed = 11;
  const CounterRandom draws(options.seed, hash64("next token"));
  for (const auto& [top_k, top_p, min_p] : std::vector<std::tuple<int64_t, double, double>>{
           {0, 1, 0}, {700, 1, 0}, {0, 0.9, 0}, {0, 1, 0.02}, {300, 0.8, 0.01}, {1, 1, 0}}) {
    options.top_k = top_k, options.top_p = top_p, options.min_p = min_p;
    Sampler sampler(options);
    for (uint64_t position = 0; position < 60; ++position) {
      std::vector<std::pair<float, int32_t>> order;
      for (size_t i = 0; i < logits.size(); ++i) order.push_back({-logits[i], static_cast<int32_t>(i)});
      std::sort(order.begin(), order.end());
      if (top_k) order.resize(static_cast<size_t>(top_k));
      std::vector<double> weights;
      double total = 0, kept = 0;
      for (const auto& [minus, id] : order)
        total += weights.emplace_back(
            std::exp((static_cast<double>(order[0].first) - static_cast<double>(minus)) / 1.3));
      size_t keep = 0;
      while (keep < order.size() && (keep == 0 || (kept < top_p * total && weights[keep] >= min_p)))
        kept += weights[keep++];
      double wanted = draws.uniform53(position) * kept, sum = 0;
      size_t chosen = 0;
      while (chosen + 1 < keep && (sum += weights[chosen]) <= wanted) ++chosen;
      ASSERT_EQ(sampler.sample(logits, {}, position), order[chosen].second) << top_k << " " << position;
    }
  }
}

}  // namespace
}  // namespace bm
