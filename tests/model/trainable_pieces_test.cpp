// Pieces of a batch, checkpointing, adapters on frozen bases.
#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/threads.h"
#include "model/adapter_save.h"
#include "model/frozen_matrix.h"
#include "model/lora.h"
#include "model/trainable.h"
#include "support.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm::testing {
namespace {

RandomModelShape small_shape() {
  RandomModelShape s;
  s.vocab = 151, s.hidden = 24, s.intermediate = 40, s.layers = 3, s.heads = 4, s.kv_heads = 2,
  s.head_dim = 6;
  s.sliding_window = 9;
  return s;
}

std::vector<std::vector<float>> gradients(TrainableModel& model, const TrainingBatch& batch) {
  model.zero_gradients();
  take(model.forward_backward(batch, 0.5));
  std::vector<std::vector<float>> result;
  for (const Parameter& p : model.parameters()) result.push_back(p.gradient);
  return result;
}

// Documents of a packed row that do not see each other are the same as rows of their own.
TEST(TrainablePieces, AreRowsOfTheirOwn) {
  const RandomModel random(small_shape());
  const auto model = take(TrainableModel::load(random.folder.path()));
  const std::vector<int64_t> lengths = {17, 1, 70, 12};
  const std::vector<int32_t> tokens = random_tokens(100, 151, 3);
  const TrainingBatch packed{tokens, tokens, 1, 100, lengths};
  const LossSum together = take(model->evaluate(packed));
  const auto got = gradients(*model, packed);
  model->zero_gradients();
  double sum = 0;
  size_t at = 0;
  for (int64_t length : lengths) {
    const std::span<const int32_t> row(tokens.data() + at, static_cast<size_t>(length));
    sum += take(model->forward_backward({row, row, 1, length}, 0.5)).sum;
    at += static_cast<size_t>(length);
  }
  EXPECT_EQ(together.targets, 96);
  EXPECT_NEAR(together.sum, sum, 1e-4);
  for (size_t i = 0; i < got.size(); ++i) {
    const auto& alone = model->parameters()[i].gradient;
    float largest = 0;
    for (float g : alone) largest = std::max(largest, std::abs(g));
    for (size_t j = 0; j < alone.size(); ++j) ASSERT_NEAR(got[i][j], alone[j], 1e-5f * largest);
  }
  const std::vector<int64_t> wrong = {17, 70};
  EXPECT_CONTAINS(error_of(model->evaluate({tokens, tokens, 1, 100, wrong})), "87 tokens");
}

TEST(TrainableCheckpointing, ChangesNoBit) {
  const RandomModel random(small_shape());
  LoraOptions lora;
  lora.rank = 3;
  lora.dropout = 0.25;
  const std::vector<int32_t> tokens = random_tokens(80, 151, 4);
  const TrainingBatch batch{tokens, tokens, 2, 40, {}, 99};
  const auto full = take(TrainableModel::load(random.folder.path()));
  const auto adapted = take(TrainableModel::load_lora(random.folder.path(), "", lora, BaseFormat::nf4));
  for (Parameter& p : adapted->parameters())  // B starts at zero, where A has no gradient
    for (size_t i = 0; i < p.value.size(); ++i) p.value[i] += 0.01f * static_cast<float>(i % 7);
  for (TrainableModel* model : {full.get(), adapted.get()}) {
    const auto expected = gradients(*model, batch);
    const uint64_t most = model->activation_bytes(2, 40);
    for (Checkpointing checkpointing : {Checkpointing::cheap, Checkpointing::block}) {
      model->set_checkpointing(checkpointing);
      EXPECT_LT(model->activation_bytes(2, 40), most);
      EXPECT_EQ(gradients(*model, batch), expected) << checkpointing_name(checkpointing);
    }
  }
}

// Another row length between passes must not leave anything behind.
TEST(TrainableCheckpointing, BatchesOfDifferentSizes) {
  const RandomModel random(small_shape());
  const std::vector<int32_t> tokens = random_tokens(60, 151, 5);
  const std::span<const int32_t> all(tokens), part = all.first(33);
  const auto model = take(TrainableModel::load(random.folder.path()));
  const auto expected = gradients(*model, {part, part, 1, 33});
  for (Checkpointing checkpointing : {Checkpointing::none, Checkpointing::cheap, Checkpointing::block}) {
    model->set_checkpointing(checkpointing);
    gradients(*model, {all, all, 2, 30});
    take(model->evaluate({part, part, 1, 33}));
    EXPECT_EQ(gradients(*model, {part, part, 1, 33}), expected);
  }
}

TEST(TrainableLora, DropoutIsAFunctionOfItsKeyAndRightOnAverage) {
  const RandomModel random(small_shape());
  LoraOptions lora;
  lora.rank = 4;
  lora.dropout = 0.2;
  const auto model = take(TrainableModel::load_lora(random.folder.path(), "", lora, BaseFormat::stored));
  for (Parameter& p : model->parameters())
    for (size_t i = 0; i < p.value.size(); ++i) p.value[i] += 0.02f * static_cast<float>(i % 5);
  const std::vector<int32_t> tokens = random_tokens(64, 151, 6);
  const auto loss = [&](uint64_t key) {
    return take(model->forward_backward({tokens, tokens, 1, 64, {}, key}, 1)).sum;
  };
  EXPECT_EQ(loss(5), loss(5));
  EXPECT_NE(loss(5), loss(6));
  const double without = take(model->evaluate({tokens, tokens, 1, 64, {}, 5})).sum;
  EXPECT_EQ(without, loss(0));
  double mean = 0;
  for (uint64_t key = 1; key <= 60; ++key) mean += loss(key) / 60;
  EXPECT_NEAR(mean, without, 0.05 * without);
  // One adapter's gradient against a central difference of the loss under the same dropout.
  for (size_t index : {size_t{0}, size_t{1}, model->parameters().size() - 2}) {
    Parameter& p = model->parameters()[index];
    model->zero_gradients();
    loss(7);
    const auto at =
        static_cast<size_t>(std::max_element(p.gradient.begin(), p.gradient.end(),
                                             [](float a, float b) { return std::abs(a) < std::abs(b); }) -
                            p.gradient.begin());
    const double expected = p.gradient[at], h = 1e-2;
    const float kept = p.value[at];
    p.value[at] = kept + static_cast<float>(h);
    const double above = loss(7);
    p.value[at] = kept - static_cast<float>(h);
    const double below = loss(7);
    p.value[at] = kept;
    EXPECT_NEAR((above - below) / (2 * h), expected, 0.02 * std::abs(expected)) << p.name;
  }
}

// A frozen base held in 4 or 8 bits is the base with those values.
TEST(TrainableLora, QuantizedBaseIsTheDecodedOne) {
  const RandomModel random(small_shape());
  const std::vector<int32_t> tokens = random_tokens(50, 151, 7);
  LoraOptions lora;
  lora.rank = 2;
  for (BaseFormat format : {BaseFormat::nf4, BaseFormat::fp4, BaseFormat::int8}) {
    const auto plain = take(TrainableModel::load(random.folder.path()));
    for (Parameter& p : plain->parameters()) {
      if (p.name.find("proj") == std::string::npos) continue;
      const auto n = static_cast<int64_t>(p.value.size());
      if (format == BaseFormat::int8) {
        std::vector<float> scb(static_cast<size_t>(p.shape[0]));
        std::vector<int8_t> codes(p.value.size());
        int8_row_maxima(p.value.data(), p.shape[0], p.shape[1], scb.data());
        int8_encode_rows(p.value.data(), p.shape[0], p.shape[1], codes.data());
        int8_decode_rows(codes.data(), scb.data(), p.shape[0], p.shape[1], p.value.data());
        continue;
      }
      const FourBitKind kind = format == BaseFormat::nf4 ? FourBitKind::nf4 : FourBitKind::fp4;
      std::vector<float> absmax(static_cast<size_t>(four_bit_blocks(n, 64)));
      std::vector<uint8_t> packed(static_cast<size_t>(four_bit_bytes(n)));
      four_bit_absmax(p.value.data(), n, 64, absmax.data());
      four_bit_encode(kind, p.value.data(), n, 64, packed.data());
      four_bit_decode(kind, packed.data(), absmax.data(), n, 64, DType::f32, p.value.data());
    }
    const auto held = take(TrainableModel::load_lora(random.folder.path(), "", lora, format));
    EXPECT_EQ(take(held->evaluate({tokens, tokens, 1, 50})).sum,
              take(plain->evaluate({tokens, tokens, 1, 50})).sum);
  }
}

TEST(TrainableLora, SavedAdapterIsReadBackAndKnowsItsBase) {
  const RandomModel random(small_shape()), other(small_shape(), DType::f32, 77);
  LoraOptions lora;
  lora.rank = 2;
  lora.targets = {"q_proj", "down_proj"};
  lora.modules_to_save = {"embed_tokens"};
  const auto model = take(TrainableModel::load_lora(random.folder.path(), "", lora, BaseFormat::stored));
  EXPECT_EQ(model->parameters().size(), 3u * 2 * 2 + 1);
  for (Parameter& p : model->parameters())
    for (size_t i = 0; i < p.value.size(); ++i) p.value[i] += 0.01f * static_cast<float>(i % 3);
  TemporaryFolder out;
  check(save_adapter_folder(*model, out.path(), DType::f32));
  const std::vector<int32_t> tokens = random_tokens(40, 151, 8);
  const TrainingBatch batch{tokens, tokens, 1, 40};
  const double sum = take(model->evaluate(batch)).sum;
  EXPECT_NEAR(take(take(TrainableModel::load(out.path()))->evaluate(batch)).sum, sum, 1e-4) << "merged";
  const auto again = take(TrainableModel::load_lora(out.path(), "", LoraOptions(), BaseFormat::stored));
  EXPECT_EQ(take(again->evaluate(batch)).sum, sum);
  EXPECT_CONTAINS(
      error_of(TrainableModel::load_lora(out.path(), other.folder.path(), LoraOptions(), BaseFormat::stored)),
      "trained on a base with the fingerprint");
}

TEST(TrainableLora, RefusesWhatCannotBe) {
  const RandomModel random(small_shape());
  const auto refusal = [&](auto change) {
    LoraOptions lora;
    lora.rank = 2;
    change(lora);
    return error_of(TrainableModel::load_lora(random.folder.path(), "", lora, BaseFormat::stored));
  };
  EXPECT_CONTAINS(refusal([](auto& o) { o.targets = {"q_proj", "query"}; }), "no linear is called query");
  EXPECT_CONTAINS(refusal([](auto& o) { o.targets = {"q_(proj"}; }), "no regular expression");
  EXPECT_CONTAINS(refusal([](auto& o) { o.targets = {".*nothing.*"}; }), "matches no linear");
  EXPECT_CONTAINS(refusal([](auto& o) { o.rank = 1000; }), "larger than a side");
  EXPECT_CONTAINS(refusal([](auto& o) { o.rank = 0; }), "1 or more");
  EXPECT_CONTAINS(refusal([](auto& o) { o.dropout = 1; }), "[0, 1)");
  EXPECT_CONTAINS(refusal([](auto& o) { o.modules_to_save = {"score"}; }), "no module score");
}

}  // namespace
}  // namespace bm::testing
