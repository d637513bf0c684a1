#include "model/trainable.h"

#include <algorithm>

#include "base/file.h"
#include "base/threads.h"
#include "formats/checkpoint.h"
#include "model/reference.h"
#include "model/save.h"
#include "support.h"

namespace bm::testing {
namespace {

struct Batch {
  Batch(int64_t rows, int64_t length, int64_t vocab, uint64_t seed)
      : tokens(random_tokens(static_cast<size_t>(rows * length), vocab, seed)), labels(tokens) {
    for (size_t i = 0; i < labels.size(); ++i)
      if (i % 5 == 2) labels[i] = -100;
    view = {tokens, labels, rows, length};
  }
  std::vector<int32_t> tokens, labels;
  TrainingBatch view;
};

RandomModelShape shape_of(int variant) {
  RandomModelShape s;
  s.vocab = 301, s.hidden = 24, s.intermediate = 34, s.layers = 2, s.heads = 4,
  s.kv_heads = variant == 1 ? 1 : 2, s.head_dim = 6;
  s.sliding_window = variant == 0 ? 5 : 0;
  s.tied_embeddings = variant == 1;
  if (variant == 2) s.model_type = "llama", s.attention_bias = s.mlp_bias = true;
  return s;
}

TEST(Trainable, GradientsAgainstTheFloat64Twin) {
  for (int variant = 0; variant < 3; ++variant) {
    const RandomModel random(shape_of(variant), DType::f32, 11);
    const auto model = take(TrainableModel::load(random.folder.path()));
    const Batch batch(3, 67, 301, 2);  // lengths around the attention tiles
    const LossSum loss = take(model->forward_backward(batch.view, 0.25));
    const ReferenceModel twin = take(ReferenceModel::load(*random.load()));
    const ReferenceGradients expected = take(reference_gradients(twin, batch.view, 0.25));
    EXPECT_EQ(loss.targets, expected.loss.targets);
    EXPECT_NEAR(loss.sum, expected.loss.sum, 1e-5 * static_cast<double>(loss.targets));
    ASSERT_EQ(model->parameters().size(), expected.gradients.size());
    for (const Parameter& p : model->parameters()) {
      const auto& e = expected.gradients.at(p.name);
      double largest = 0, difference = 0;
      for (size_t i = 0; i < e.size(); ++i) {
        largest = std::max(largest, std::abs(e[i]));
        difference = std::max(difference, std::abs(e[i] - static_cast<double>(p.gradient[i])));
      }
      EXPECT_LE(difference, 2e-5 * largest) << variant << " " << p.name;
      EXPECT_GT(largest, 0) << p.name;
    }
  }
}

// The twin's own gradients: central differences of its loss.
TEST(Trainable, TwinAgainstFiniteDifferences) {
  for (int variant = 0; variant < 3; ++variant) {
    const RandomModel random(shape_of(variant), DType::f32, 12);
    ReferenceModel twin = take(ReferenceModel::load(*random.load()));
    const Batch batch(1, 9, 301, 3);
    const ReferenceGradients gradients = take(reference_gradients(twin, batch.view, 1));
    for (auto& [name, values] : twin.weights) {
      const auto& g = gradients.gradients.at(name);
      const size_t at = static_cast<size_t>(std::max_element(g.begin(), g.end()) - g.begin());
      const double kept = values[at], h = 1e-5;
      values[at] = kept + h;
      const double above = take(reference_gradients(twin, batch.view, 1)).loss.sum;
      values[at] = kept - h;
      const double below = take(reference_gradients(twin, batch.view, 1)).loss.sum;
      values[at] = kept;
      EXPECT_NEAR((above - below) / (2 * h), g[at], 1e-6 * std::abs(g[at]) + 1e-8) << name;
    }
  }
}

TEST(Trainable, GradientsAddUpAndAreTheSameForAnyThreads) {
  const RandomModel random(shape_of(0));
  const auto model = take(TrainableModel::load(random.folder.path()));
  const Batch batch(2, 40, 301, 4);
  std::vector<std::vector<float>> first;
  for (int threads : {1, 4}) {
    set_thread_count(threads);
    model->zero_gradients();
    const LossSum loss = take(model->forward_backward(batch.view, 1));
    EXPECT_EQ(take(model->evaluate(batch.view)).sum, loss.sum);
    for (size_t i = 0; i < model->parameters().size(); ++i) {
      if (threads == 1) first.push_back(model->parameters()[i].gradient);
      EXPECT_EQ(model->parameters()[i].gradient, first[i]);
    }
  }
  set_thread_count(0);
  take(model->forward_backward(batch.view, 1));
  for (size_t i = 0; i < first.size(); ++i)
    for (size_t j = 0; j < first[i].size(); j += 97)
      EXPECT_NEAR(model->parameters()[i].gradient[j], 2 * first[i][j], 1e-4 * std::abs(first[i][j]) + 1e-6);
  model->zero_gradients();
  for (const Parameter& p : model->parameters())
    EXPECT_TRUE(std::all_of(p.gradient.begin(), p.gradient.end(), [](float g) { return g == 0; }));
}

// Causal attention: what stands behind the last target of a row changes nothing.
TEST(Trainable, PaddingOnTheRightChangesNothing) {
  const RandomModel random(shape_of(2));
  const auto model = take(TrainableModel::load(random.folder.path()));
  Batch batch(1, 20, 301, 5);
  std::fill(batch.labels.begin() + 12, batch.labels.end(), -100);
  const double loss = take(model->evaluate(batch.view)).sum;
  std::fill(batch.tokens.begin() + 12, batch.tokens.end(), 0);
  EXPECT_EQ(take(model->evaluate(batch.view)).sum, loss);
}

TEST(Trainable, RefusesBadBatches) {
  const RandomModel random(shape_of(0));
  const auto model = take(TrainableModel::load(random.folder.path()));
  Batch batch(2, 10, 301, 6);
  TrainingBatch wrong = batch.view;
  wrong.rows = 3;
  EXPECT_FALSE(model->evaluate(wrong).ok());
  batch.tokens[13] = 301;
  EXPECT_CONTAINS(error_of(model->evaluate(batch.view)), "row 1, position 3");
  batch.tokens[13] = 1;
  batch.labels[4] = -7;
  EXPECT_CONTAINS(error_of(model->forward_backward(batch.view, 1)), "label -7");
  EXPECT_GT(model->activation_bytes(2, 10), uint64_t{2 * 10 * 24 * 4});
}

TEST(Save, FolderRoundTrip) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const RandomModel random(shape_of(1), DType::bf16);
    const auto model = take(TrainableModel::load(random.folder.path()));
    check(write_file_atomic(random.folder.file("tokenizer_config.json"), "{}"));
    const TemporaryFolder out;
    check(save_model_folder(*model, random.folder.path(), out.path(), dtype));
    EXPECT_TRUE(exists(out.file("tokenizer_config.json")));
    const std::vector<int32_t> tokens = {1, 2, 3};
    EXPECT_EQ(logits_of(*take(Model::load(out.path())), tokens), logits_of(*random.load(), tokens));
    model->parameters()[0].value[0] += 1;  // the folder of an earlier checkpoint is replaced
    check(save_model_folder(*model, random.folder.path(), out.path(), dtype));
    EXPECT_NE(take(take(Checkpoint::open(out.path())).get_f32(model->parameters()[0].name))[0],
              take(take(Checkpoint::open(random.folder.path())).get_f32(model->parameters()[0].name))[0]);
    EXPECT_FALSE(save_model_folder(*model, random.folder.path(), out.path(), DType::i8).ok());
  }
}

// Both generations of transformers must find what they need (golden/model, trap 1).
TEST(Save, PortableConfig) {
  const Json source =
      take(parse_json(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8,
      "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "dtype": "float32",
      "quantization_config": {"quant_method": "awq"}, "unknown_key": [1],
      "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}})"));
  const ModelConfig config = take(parse_model_config(source));
  const Json json = portable_config(config, DType::bf16);
  EXPECT_EQ(json["torch_dtype"], Json("bfloat16"));
  EXPECT_EQ(json["dtype"], Json("bfloat16"));
  EXPECT_EQ(json["rope_theta"].as_double(), 5e5);
  EXPECT_EQ(json["rope_scaling"]["rope_type"], Json("llama3"));
  EXPECT_FALSE(json.contains("quantization_config"));
  EXPECT_EQ(json["unknown_key"], source["unknown_key"]);
  const ModelConfig again = take(parse_model_config(json));
  EXPECT_EQ(rope_inverse_frequencies(again), rope_inverse_frequencies(config));
  Json older = json;  // what transformers 4 sees
  older.erase("rope_parameters");
  EXPECT_EQ(rope_inverse_frequencies(take(parse_model_config(older))), rope_inverse_frequencies(config));
}

}  // namespace
}  // namespace bm::testing
