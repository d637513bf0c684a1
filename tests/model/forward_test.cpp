// Results that must not depend on how the work was cut, and the fast path against the float64 twin.
#include "base/threads.h"
#include "model/block.h"
#include "model/reference.h"
#include "support.h"

namespace bm::testing {
namespace {

RandomModelShape odd_shape() {
  RandomModelShape s;
  s.vocab = 331, s.hidden = 40, s.intermediate = 52, s.layers = 3, s.heads = 6, s.kv_heads = 3,
  s.head_dim = 10;
  s.sliding_window = 9;
  return s;
}

std::vector<float> with_cache(const Model& model, const std::vector<int32_t>& tokens,
                              const std::vector<size_t>& cuts) {
  KvCache cache(model.config(), static_cast<int64_t>(tokens.size()));
  std::vector<float> result;
  size_t begin = 0;
  for (size_t end : cuts) {
    const std::vector<int32_t> part(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                    tokens.begin() + static_cast<std::ptrdiff_t>(end));
    const std::vector<int64_t> rows = rows_from(0, part.size());
    const SequenceInput input{part, &cache, rows};
    check(forward(model, {&input, 1}, [&](size_t, int64_t, int64_t count, const float* logits) {
      result.insert(result.end(), logits, logits + count * model.config().vocab);
    }));
    begin = end;
  }
  EXPECT_EQ(cache.length(), static_cast<int64_t>(tokens.size()));
  return result;
}

class ThreadsGuard {
 public:
  ~ThreadsGuard() { set_thread_count(0); }
};

TEST(Forward, SameBitsForAnyThreadsCacheAndBatch) {
  const ThreadsGuard guard;
  for (const bool tied : {false, true}) {
    RandomModelShape shape = odd_shape();
    shape.tied_embeddings = tied;
    const RandomModel random(shape, DType::bf16);
    const auto model = random.load();
    const std::vector<int32_t> tokens = random_tokens(83, shape.vocab, 3);
    set_thread_count(1);
    const std::vector<float> expected = logits_of(*model, tokens);
    for (int threads : {2, 5}) {
      set_thread_count(threads);
      EXPECT_EQ(logits_of(*model, tokens), expected) << threads;
    }
    std::vector<size_t> one_by_one;
    for (size_t i = 1; i <= tokens.size(); ++i) one_by_one.push_back(i);
    EXPECT_EQ(with_cache(*model, tokens, one_by_one), expected);
    EXPECT_EQ(with_cache(*model, tokens, {1, 8, 64, 65, 83}), expected);

    // A ragged batch, one of them empty, one with a shared prefix in its cache, few rows wanted.
    const std::vector<int32_t> other = random_tokens(30, shape.vocab, 4),
                               rest(tokens.begin() + 40, tokens.end());
    const auto pool = std::make_shared<KvPool>(model->config());
    KvCache whole(pool, 90), prefix(pool, 90);
    const SequenceInput fill{tokens, &whole, {}};
    check(forward(*model, {&fill, 1},
                  [](size_t, int64_t, int64_t, const float*) { FAIL() << "no rows were wanted"; }));
    prefix.fork(whole, 40);
    const std::vector<int64_t> some = {3, 17, 42}, last = {29};
    const std::vector<SequenceInput> batch = {
        {other, nullptr, last}, {{}, nullptr, {}}, {rest, &prefix, some}};
    std::vector<std::vector<float>> rows(3);
    check(forward(*model, batch, [&](size_t sequence, int64_t first, int64_t count, const float* logits) {
      EXPECT_EQ(first * shape.vocab, static_cast<int64_t>(rows[sequence].size()));
      rows[sequence].insert(rows[sequence].end(), logits, logits + count * shape.vocab);
    }));
    const auto row = [&](const std::vector<float>& from, size_t r) {
      return std::vector<float>(from.begin() + static_cast<std::ptrdiff_t>(r) * shape.vocab,
                                from.begin() + static_cast<std::ptrdiff_t>(r + 1) * shape.vocab);
    };
    EXPECT_EQ(rows[0], row(logits_of(*model, other), 29));
    EXPECT_TRUE(rows[1].empty());
    ASSERT_EQ(rows[2].size(), some.size() * static_cast<size_t>(shape.vocab));
    for (size_t i = 0; i < some.size(); ++i)
      EXPECT_EQ(row(rows[2], i), row(expected, 40 + static_cast<size_t>(some[i])));
  }
}

TEST(Forward, TruncatedCacheForgets) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  const std::vector<int32_t> tokens = random_tokens(20, 331, 5);
  KvCache cache(model->config(), 20);
  const std::vector<int32_t> wrong_tokens = random_tokens(20, 331, 6);
  std::vector<int32_t> mixed(tokens.begin(), tokens.begin() + 12);
  mixed.insert(mixed.end(), wrong_tokens.begin(), wrong_tokens.begin() + 8);
  const SequenceInput first{mixed, &cache, {}};
  check(forward(*model, {&first, 1}, [](size_t, int64_t, int64_t, const float*) {}));
  cache.truncate(12);
  const std::vector<int32_t> rest(tokens.begin() + 12, tokens.end());
  const std::vector<int64_t> last = {7};
  const SequenceInput second{rest, &cache, last};
  std::vector<float> got;
  check(forward(*model, {&second, 1},
                [&](size_t, int64_t, int64_t, const float* logits) { got.assign(logits, logits + 331); }));
  const std::vector<float> all = logits_of(*model, tokens);
  EXPECT_EQ(got, std::vector<float>(all.end() - 331, all.end()));
}

TEST(Forward, AgainstTheFloat64Twin) {
  for (const bool llama : {false, true}) {
    RandomModelShape shape = odd_shape();
    shape.model_type = llama ? "llama" : "mistral";
    shape.attention_bias = shape.mlp_bias = llama;
    const RandomModel random(shape, llama ? DType::f16 : DType::f32);
    const auto model = random.load();
    const std::vector<int32_t> tokens = random_tokens(70, shape.vocab, 8);
    const std::vector<double> expected = take(reference_forward(*model, tokens));
    const std::vector<float> logits = logits_of(*model, tokens);
    ASSERT_EQ(logits.size(), expected.size());
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 2e-5) << i;
  }
}

TEST(Forward, RefusesBadInput) {
  const RandomModel random(odd_shape());
  const auto model = random.load();
  const auto refusal = [&](std::vector<int32_t> tokens, KvCache* cache, std::vector<int64_t> rows) {
    const std::vector<SequenceInput> batch = {{{}, nullptr, {}}, {tokens, cache, rows}};
    return error_of(forward(*model, batch, [](size_t, int64_t, int64_t, const float*) { FAIL(); }));
  };
  EXPECT_CONTAINS(refusal({1, 331}, nullptr, {0}), "token 331 is outside the vocabulary");
  EXPECT_CONTAINS(refusal({1, 331}, nullptr, {0}), "sequence 1");
  EXPECT_CONTAINS(refusal({-1}, nullptr, {0}), "token -1");
  EXPECT_CONTAINS(refusal({1, 2}, nullptr, {2}), "logit row 2");
  EXPECT_CONTAINS(refusal({1, 2}, nullptr, {1, 0}), "ascend");
  KvCache cache(model->config(), 1);
  EXPECT_CONTAINS(refusal({1, 2}, &cache, {0}), "cache of 1 positions");
  EXPECT_EQ(cache.length(), 0);
}

// Layer by layer with the model's own weights gives the forward pass' logits.
TEST(Block, LayersGiveTheForwardPass) {
  RandomModelShape shape = odd_shape();
  shape.model_type = "llama";
  shape.attention_bias = shape.mlp_bias = true;
  const RandomModel random(shape, DType::bf16);
  const auto model = random.load();
  const std::vector<int32_t> a = random_tokens(21, shape.vocab, 1), b = random_tokens(13, shape.vocab, 2);
  std::vector<int32_t> both = a;
  both.insert(both.end(), b.begin(), b.end());
  const std::vector<int64_t> lengths = {21, 13};
  std::vector<float> x(34 * 40), logits(34 * 331);
  check(embed_tokens(*model, both, x.data()));
  std::vector<std::string> seen;
  for (int64_t n = 0; n < shape.layers; ++n) {
    const LayerWeightsF32 weights = take(layer_weights_f32(*model, n));
    run_layer(model->config(), weights, lengths, x.data(),
              [&](std::string_view module, const float* input, int64_t rows, int64_t columns) {
                seen.emplace_back(module);
                EXPECT_EQ(rows, 34);
                EXPECT_EQ(columns, weights.find(module)->columns);
                EXPECT_TRUE(std::isfinite(input[rows * columns - 1]));
              });
  }
  check(run_head(*model, x.data(), 34, logits.data()));
  std::vector<float> expected = logits_of(*model, a);
  const std::vector<float> second = logits_of(*model, b);
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_EQ(logits, expected);
  EXPECT_EQ(seen.size(), 21u);
  for (size_t i = 0; i < 7; ++i) EXPECT_NE(std::find(seen.begin(), seen.end(), kLayerLinears[i]), seen.end());
  EXPECT_FALSE(embed_tokens(*model, std::vector<int32_t>{400}, x.data()).ok());
  EXPECT_FALSE(layer_weights_f32(*model, 3).ok());
}

}  // namespace
}  // namespace bm::testing
