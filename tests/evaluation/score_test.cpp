// score, perplexity and compare on small random models: independence of order, batch, cache and threads;
// truncation; files of logits; requests that cannot be scored.
#include "evaluation/score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/threads.h"
#include "evaluation/compare.h"
#include "evaluation/perplexity.h"
#include "evaluation/score_io.h"
#include "evaluation/score_tokens.h"
#include "formats/safetensors.h"
#include "model/random_model.h"
#include "paths.h"

namespace bm {
namespace {

constexpr const char* letters_tokenizer = R"({
 "added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false}],
 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
  "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
 "decoder": {"type": "Fuse"},
 "model": {"type": "BPE", "vocab": {"a": 1, "b": 2, " ": 3, " a": 4, "\n": 5, "ab": 6}, "merges": ["  a", "a b"]}})";

class ScoreTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new testing::TemporaryFolder();
    RandomModelShape shape;
    shape.max_positions = 40;
    ASSERT_TRUE(write_random_model(folder->file("model"), shape, DType::f32, 3).ok());
    ASSERT_TRUE(write_random_model(folder->file("other"), shape, DType::f32, 4).ok());
    // A merge of " " and "a" cannot be written with a space between; pairs can.
    std::string json = letters_tokenizer;
    json.replace(json.find("[\"  a\", \"a b\"]"), 14, "[[\" \", \"a\"], [\"a\", \"b\"]]");
    ASSERT_TRUE(write_file_atomic(folder->file("model/tokenizer.json"), json).ok());
    auto loaded = Model::load(folder->file("model"));
    ASSERT_TRUE(loaded) << loaded.error().paragraph();
    model = *loaded;
    auto second = Model::load(folder->file("other"));
    ASSERT_TRUE(second);
    other = *second;
  }
  static void TearDownTestSuite() {
    model.reset();
    other.reset();
    delete folder;
  }
  static ScoreRequest request(std::vector<int32_t> prompt,
                              std::vector<std::vector<int32_t>> continuations = {}, int64_t next = 0,
                              bool logprobs = false) {
    ScoreRequest out;
    out.prompt_ids = std::move(prompt);
    out.continuation_ids = std::move(continuations);
    out.next = next;
    out.token_logprobs = logprobs;
    return out;
  }
  static testing::TemporaryFolder* folder;
  static std::shared_ptr<const Model> model, other;
};
testing::TemporaryFolder* ScoreTest::folder = nullptr;
std::shared_ptr<const Model> ScoreTest::model, ScoreTest::other;

// Log-probabilities of every next token after `ids`, from the float64 twin.
std::vector<double> twin_logprobs(const Model& model, const std::vector<int32_t>& ids) {
  auto logits = reference_forward(model, ids);
  EXPECT_TRUE(logits);
  auto vocab = static_cast<size_t>(model.config().vocab);
  std::vector<double> row(logits->end() - static_cast<ptrdiff_t>(vocab), logits->end());
  double top = *std::max_element(row.begin(), row.end()), sum = 0;
  for (double x : row) sum += std::exp(x - top);
  for (double& x : row) x -= top + std::log(sum);
  return row;
}

TEST_F(ScoreTest, AgreesWithTheTwin) {
  std::vector<int32_t> prompt{0, 9, 33, 7};
  auto answers =
      score_requests(*model, std::vector<ScoreRequest>{request(prompt, {{5}, {5, 300, 2}}, 4, true)}, {});
  ASSERT_TRUE(answers) << answers.error().paragraph();
  const ScoreAnswer& answer = (*answers)[0];
  auto first = twin_logprobs(*model, prompt);
  EXPECT_NEAR(answer.continuations[0].logprob, first[5], 1e-4);
  EXPECT_EQ(answer.continuations[0].tokens, 1);
  double sum = first[5] + twin_logprobs(*model, {0, 9, 33, 7, 5})[300] +
               twin_logprobs(*model, {0, 9, 33, 7, 5, 300})[2];
  EXPECT_NEAR(answer.continuations[1].logprob, sum, 3e-4);
  EXPECT_EQ(answer.continuations[1].tokens, 3);
  auto best = static_cast<int32_t>(std::max_element(first.begin(), first.end()) - first.begin());
  EXPECT_EQ(answer.next[0].id, best);
  EXPECT_NEAR(answer.next[0].logprob, first[static_cast<size_t>(best)], 1e-4);
  ASSERT_EQ(answer.next.size(), 4u);
  for (size_t i = 1; i < 4; ++i) EXPECT_GE(answer.next[i - 1].logprob, answer.next[i].logprob);
  ASSERT_EQ(answer.token_logprobs.size(), 3u);
  EXPECT_NEAR(answer.token_logprobs[1], twin_logprobs(*model, {0, 9})[33], 1e-4);
  EXPECT_EQ(answer.prompt_tokens, 4);

  auto greedy =
      score_requests(*model, std::vector<ScoreRequest>{request(prompt, {{best}, {best == 5 ? 6 : 5}})}, {});
  ASSERT_TRUE(greedy);
  EXPECT_TRUE((*greedy)[0].continuations[0].greedy);
  EXPECT_FALSE((*greedy)[0].continuations[1].greedy);
}

// The same bits alone, together, in another order, with little cache, on another number of threads.
TEST_F(ScoreTest, DependsOnNothingAround) {
  std::vector<ScoreRequest> requests;
  uint32_t state = 1;
  auto random = [&](uint32_t n) {
    return static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % static_cast<int32_t>(n);
  };
  std::vector<int32_t> stem;
  for (int i = 0; i < 12; ++i) stem.push_back(random(320));
  for (int i = 0; i < 30; ++i) {
    std::vector<int32_t> prompt(stem.begin(), stem.begin() + 1 + random(11));
    for (int k = random(8); k >= 0; --k) prompt.push_back(random(320));
    requests.push_back(
        request(prompt, {{random(320)}, {random(320), random(320)}, {random(320)}}, 3, i % 3 == 0));
  }
  auto all = score_requests(*model, requests, {});
  ASSERT_TRUE(all) << all.error().paragraph();
  auto same = [](const ScoreAnswer& a, const ScoreAnswer& b) {
    ASSERT_EQ(a.continuations.size(), b.continuations.size());
    for (size_t k = 0; k < a.continuations.size(); ++k) {
      EXPECT_EQ(a.continuations[k].logprob, b.continuations[k].logprob);
      EXPECT_EQ(a.continuations[k].greedy, b.continuations[k].greedy);
    }
    EXPECT_EQ(a.token_logprobs, b.token_logprobs);
    for (size_t k = 0; k < a.next.size(); ++k) {
      EXPECT_EQ(a.next[k].id, b.next[k].id);
      EXPECT_EQ(a.next[k].logprob, b.next[k].logprob);
    }
  };
  std::vector<ScoreRequest> reversed(requests.rbegin(), requests.rend());
  ScoreOptions little;
  little.kv_memory.bytes = 4 * KvPool::page_bytes(model->config(), DType::f32);
  set_thread_count(3);
  auto backwards = score_requests(*model, reversed, little);
  set_thread_count(0);
  ASSERT_TRUE(backwards);
  for (size_t i = 0; i < requests.size(); ++i) {
    same((*all)[i], (*backwards)[requests.size() - 1 - i]);
    auto alone = score_requests(*model, std::span(requests).subspan(i, 1), {});
    ASSERT_TRUE(alone);
    same((*all)[i], (*alone)[0]);
  }
}

TEST_F(ScoreTest, SharedPrefixesAreComputedOnce) {
  std::vector<int32_t> stem(30, 7);
  std::vector<ScoreRequest> requests;
  for (int32_t i = 0; i < 10; ++i) {
    auto prompt = stem;
    prompt.push_back(i);
    requests.push_back(request(prompt, {{1}, {2}, {3}, {4}}));
  }
  ScoreReport report;
  ASSERT_TRUE(score_requests(*model, requests, {}, &report));
  EXPECT_EQ(report.input_tokens, 310) << "four one-token continuations share one input";
  EXPECT_LT(report.computed_tokens, 100);
}

TEST_F(ScoreTest, BadRequestsFailAlone) {
  std::vector<ScoreRequest> requests;
  requests.push_back(request({1, 2}, {{3}}));
  requests.push_back(request({1, 320}, {{3}}));
  requests.push_back(request({1, -1}, {{3}}));
  requests.push_back(request({1}, {{}}));
  requests.push_back(request({}, {{1}}));
  requests.push_back(request(std::vector<int32_t>(41, 1), {}, 1));
  requests.push_back(parse_score_request("{\"id\": 7, \"promt\": \"a\"}"));
  requests.push_back(parse_score_request("not json"));
  requests.push_back(parse_score_request(R"({"prompt_ids": [1], "continuations": ["a"]})"));
  requests.push_back(parse_score_request(R"({"prompt_ids": [1.5]})"));
  auto answers = score_requests(*model, requests, {});
  ASSERT_TRUE(answers);
  EXPECT_EQ((*answers)[0].error, "");
  EXPECT_NE((*answers)[1].error.find("320"), std::string::npos);
  EXPECT_NE((*answers)[2].error.find("-1"), std::string::npos);
  EXPECT_NE((*answers)[3].error.find("empty"), std::string::npos);
  EXPECT_NE((*answers)[5].error.find("--truncate left"), std::string::npos);
  EXPECT_NE((*answers)[6].error.find("promt"), std::string::npos);
  for (size_t i = 1; i < requests.size(); ++i) EXPECT_NE((*answers)[i].error, "") << i;
  Json line = score_answer_json(requests[6], (*answers)[6], nullptr);
  EXPECT_EQ(line["id"].as_int(), 7);
  EXPECT_TRUE(line.contains("error"));
  EXPECT_EQ(line.size(), 2u);
  auto no_tokenizer = score_requests(
      *other, std::vector<ScoreRequest>{parse_score_request(R"({"prompt": "a", "next": 1})")}, {});
  ASSERT_TRUE(no_tokenizer);
  EXPECT_NE((*no_tokenizer)[0].error.find("tokenizer"), std::string::npos);
}

TEST_F(ScoreTest, TruncatesOnTheLeftAndCounts) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 50; ++i) prompt.push_back(i);
  ScoreOptions options;
  options.truncate = "left";
  ScoreReport report;
  auto cut =
      score_requests(*model, std::vector<ScoreRequest>{request(prompt, {{60, 61}}, 1)}, options, &report);
  ASSERT_TRUE(cut);
  EXPECT_EQ((*cut)[0].error, "");
  EXPECT_EQ((*cut)[0].prompt_tokens, 50);
  EXPECT_EQ(report.truncated, 1);
  // 40 positions hold the last 39 of the prompt and the continuation's first token.
  std::vector<int32_t> kept(prompt.end() - 39, prompt.end());
  auto direct = score_requests(*model, std::vector<ScoreRequest>{request(kept, {{60, 61}})}, {});
  ASSERT_TRUE(direct);
  EXPECT_EQ((*cut)[0].continuations[0].logprob, (*direct)[0].continuations[0].logprob);
  std::vector<int32_t> last40(prompt.end() - 40, prompt.end());
  auto next = score_requests(*model, std::vector<ScoreRequest>{request(last40, {}, 1)}, {});
  EXPECT_EQ((*cut)[0].next[0].logprob, (*next)[0].next[0].logprob);
}

TEST_F(ScoreTest, TextIsTokenizedAsLmEvalDoes) {
  const Tokenizer& tokenizer = *model->tokenizer();
  using Ids = std::vector<int32_t>;
  auto pair = [&](const char* context, const char* continuation) {
    return *encode_pair_as_lm_eval(tokenizer, context, continuation);
  };
  EXPECT_EQ(pair("b ", "a").context, (Ids{0, 2})) << "the trailing space moves";
  EXPECT_EQ(pair("b ", "a").continuation, (Ids{4}));
  EXPECT_EQ(pair("b \n", "a").continuation, (Ids{3, 5, 1})) << "newlines move too";
  EXPECT_EQ(pair("a", "b").continuation, (Ids{})) << "joint ids may leave nothing, as in lm-eval";
  EXPECT_EQ(pair("", "ab").context, (Ids{0}));
  EXPECT_EQ(pair("", "ab").continuation, (Ids{6}));
  EXPECT_EQ(encode_as_lm_eval(tokenizer, "<s>ab"), (Ids{0, 6})) << "no second BOS";
}

TEST_F(ScoreTest, LogitsFile) {
  std::vector<ScoreRequest> requests = {request({1, 2, 3}), request({999}), request({1, 2, 3, 4}, {}, 1)};
  requests[0].id = Json("first");
  requests[2].id = Json(17);
  ScoreOptions options;
  options.logits = folder->file("logits.safetensors");
  options.all_logits = true;
  auto answers = score_requests(*model, requests, options);
  ASSERT_TRUE(answers) << answers.error().paragraph();
  auto file = SafetensorsFile::open(options.logits);
  ASSERT_TRUE(file) << file.error().paragraph();
  auto last = file->get("last_logits"), first = file->get("logits.first"), third = file->get("logits.17");
  ASSERT_TRUE(last && first && third);
  EXPECT_EQ(last->shape, (Shape{3, 320}));
  EXPECT_EQ(first->shape, (Shape{3, 320}));
  EXPECT_EQ(third->shape, (Shape{4, 320}));
  for (size_t i = 0; i < 320; ++i) {
    EXPECT_EQ(last->as<float>()[i], first->as<float>()[640 + i]);
    EXPECT_TRUE(std::isnan(last->as<float>()[320 + i]));
    EXPECT_EQ(third->as<float>()[640 + i], first->as<float>()[640 + i]) << "a prefix has the same bits";
  }
  auto best =
      std::max_element(third->as<float>() + 960, third->as<float>() + 1280) - (third->as<float>() + 960);
  EXPECT_EQ((*answers)[2].next[0].id, best);
  requests[2].id = Json("first");
  EXPECT_FALSE(score_requests(*model, requests, options)) << "two tensors of one name";
}

TEST_F(ScoreTest, PerplexityWindows) {
  TextIds text;
  for (int32_t i = 0; i < 57; ++i) text.ids.push_back((i * 37) % 320);
  auto windows = plan_windows({&text, 1}, 20, 8);
  ASSERT_EQ(windows.size(), 6u);
  int64_t next = 1;
  for (const TextWindow& window : windows) {
    EXPECT_EQ(window.first_target, next) << "every token but the first is scored once";
    next = window.end;
  }
  EXPECT_EQ(next, 57);
  PerplexityOptions options;
  options.window = 20;
  options.stride = 8;
  auto result = perplexity_of(*model, {&text, 1}, options);
  ASSERT_TRUE(result) << result.error().paragraph();
  EXPECT_EQ(result->scored_tokens, 56);
  double sum = 0;
  for (const TextWindow& window : windows) {
    for (int64_t t = window.first_target; t < window.end; ++t) {
      std::vector<int32_t> before(text.ids.begin() + window.begin, text.ids.begin() + t);
      sum -= twin_logprobs(*model, before)[static_cast<size_t>(text.ids[static_cast<size_t>(t)])];
    }
  }
  EXPECT_NEAR(result->nll, sum, 1e-4 * sum);
  text.scored_bytes = 100;
  Json json = perplexity_json(*perplexity_of(*model, {&text, 1}, options), "exact");
  EXPECT_NEAR(json["bits_per_byte"].as_double(), sum / std::log(2.0) / 100, 1e-4);
  EXPECT_EQ(json["protocol"]["average"].as_string(), "exact");
  options.window = 41;
  EXPECT_FALSE(perplexity_of(*model, {&text, 1}, options)) << "beyond the positions";
  options.window = 20;
  options.stride = 21;
  EXPECT_FALSE(perplexity_of(*model, {&text, 1}, options));
  options.stride = 0;
  text.ids.resize(1);
  EXPECT_FALSE(perplexity_of(*model, {&text, 1}, options)) << "nothing to score";
}

TEST_F(ScoreTest, TextFilesAndLines) {
  ASSERT_TRUE(write_file_atomic(folder->file("t.txt"), "ab ab").ok());
  ASSERT_TRUE(write_file_atomic(folder->file("t.jsonl"), "{\"text\": \"ab\"}\n{\"ids\": [3, 4]}\n").ok());
  auto text = read_text_ids(folder->file("t.txt"), model->tokenizer(), 0);
  ASSERT_TRUE(text);
  EXPECT_EQ((*text)[0].ids, (std::vector<int32_t>{0, 6, 4, 2}));
  EXPECT_EQ((*text)[0].scored_bytes, 5);
  auto lines = read_text_ids(folder->file("t.jsonl"), model->tokenizer(), 0);
  ASSERT_TRUE(lines);
  EXPECT_EQ(lines->size(), 2u);
  EXPECT_EQ(read_text_ids(folder->file("t.jsonl"), model->tokenizer(), 1)->size(), 1u);
  EXPECT_FALSE(read_text_ids(folder->file("t.jsonl"), nullptr, 0));
  ASSERT_TRUE(write_file_atomic(folder->file("bad.jsonl"), "{\"text\": \"ab\"}\n{\"txt\": 1}\n").ok());
  auto bad = read_text_ids(folder->file("bad.jsonl"), model->tokenizer(), 0);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().paragraph().find("line 2"), std::string::npos);
}

TEST_F(ScoreTest, ComparesDistributions) {
  TextIds text;
  for (int32_t i = 0; i < 30; ++i) text.ids.push_back((i * 41) % 320);
  auto same = compare_distributions(*model, *model, {&text, 1}, 15);
  ASSERT_TRUE(same) << same.error().paragraph();
  EXPECT_EQ(same->positions, 28);
  EXPECT_EQ(same->kl_max, 0);
  EXPECT_EQ(same->top_agreement, 1);
  auto different = compare_distributions(*model, *other, {&text, 1}, 15);
  ASSERT_TRUE(different);
  double kl = 0, worst = 0;
  for (int64_t begin : {0, 15}) {
    for (int64_t t = 1; t < 15; ++t) {
      std::vector<int32_t> before(text.ids.begin() + begin, text.ids.begin() + begin + t);
      auto p = twin_logprobs(*model, before), q = twin_logprobs(*other, before);
      double one = 0;
      for (size_t i = 0; i < p.size(); ++i) one += std::exp(p[i]) * (p[i] - q[i]);
      kl += one / 28;
      worst = std::max(worst, one);
    }
  }
  EXPECT_NEAR(different->kl_mean, kl, 1e-4 * kl);
  EXPECT_NEAR(different->kl_max, worst, 1e-4 * worst);
  EXPECT_LE(different->kl_99, different->kl_max);
  PerplexityOptions options;
  options.window = 15;
  EXPECT_NEAR(different->model_nll, perplexity_of(*other, {&text, 1}, options)->exact, 1e-9);
}

TEST_F(ScoreTest, ComparesWeights) {
  auto same = compare_weights(folder->file("model"), folder->file("model"));
  ASSERT_TRUE(same) << same.error().paragraph();
  EXPECT_EQ(same->changed, 0);
  EXPECT_EQ(same->relative_error, 0);
  auto different = compare_weights(folder->file("model"), folder->file("other"));
  ASSERT_TRUE(different);
  EXPECT_GT(different->changed, different->parameters * 9 / 10);
  EXPECT_GT(different->relative_error, 1.0)
      << "independent weights: the square root of 2, less the norms' common 1";
  EXPECT_LT(different->relative_error, 1.5);
  EXPECT_TRUE(different->skipped.empty());
  EXPECT_FALSE(different->worst_tensor.empty());
}

}  // namespace
}  // namespace bm
