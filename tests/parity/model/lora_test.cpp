// Adapters against PEFT (golden/lora/SOURCE.txt holds formulas and tolerances).
#include "model/lora.h"

#include <cstring>

#include "golden.h"
#include "model/frozen_matrix.h"
#include "model/merge_adapter.h"
#include "model/reference.h"
#include "model/trainable.h"
#include "model/weights.h"

namespace bm::testing {
namespace {

const std::vector<std::string>& adapters() {
  static const std::vector<std::string> all = {"dora_r4_alpha8_attention", "lora_r16_alpha16_all7",
                                               "lora_r16_alpha16_q_v", "lora_r8_alpha32_q_v_rslora",
                                               "lora_rank_pattern_alpha_pattern"};
  return all;
}

std::string lora(const std::string& name) { return shared_path("golden/lora/" + name); }
std::string base() { return shared_path("golden/model/mistral_mqa_headdim16_tied_theta1e6_bf16_3shards/hf"); }

class GoldenAdapter : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!have_shared()) GTEST_SKIP() << "golden/lora lies in ../shared only";
  }
};
INSTANTIATE_TEST_SUITE_P(All, GoldenAdapter, ::testing::ValuesIn(adapters()),
                         [](const auto& info) { return info.param; });

TEST_P(GoldenAdapter, Logits) {
  const auto model = take(Model::load(lora(GetParam()) + "/adapter"));
  const Tensors expected = read_tensors(lora(GetParam()) + "/logits_with_adapter.safetensors");
  const Json batch = take(read_json_file(lora("batch.json")));
  for (size_t i = 0; i < batch["input_ids"].size(); ++i) {
    const auto it = expected.find("example_" + std::to_string(i) + ".logits_float64");
    if (it == expected.end()) continue;
    std::vector<int32_t> tokens = int_list(batch["input_ids"][i]);
    tokens.resize(it->second.size() / static_cast<size_t>(model->config().vocab));  // without the padding
    EXPECT_LE(largest_difference(fast_logits(*model, tokens), it->second), 3e-4) << i;
    EXPECT_LE(largest_difference(take(reference_forward(*model, tokens)), it->second), 1e-11) << i;
  }
}

TEST_P(GoldenAdapter, Losses) {
  const auto model = take(TrainableModel::load(lora(GetParam()) + "/adapter"));
  const Json expected = take(read_json_file(lora(GetParam()) + "/losses.json"));
  const Json batch = take(read_json_file(lora("batch.json")));
  for (const char* kind : {"all_tokens", "answer_only", "all_tokens_when_pad_id_is_eos_id"}) {
    std::vector<int32_t> tokens, labels;
    for (const Json& row : batch["input_ids"].items())
      for (int32_t id : int_list(row)) tokens.push_back(id);
    for (const Json& row : batch[std::string("labels_") + kind].items())
      for (int32_t id : int_list(row)) labels.push_back(id);
    const int64_t rows = static_cast<int64_t>(batch["input_ids"].size());
    const LossSum loss =
        take(model->evaluate({tokens, labels, rows, static_cast<int64_t>(tokens.size()) / rows}));
    EXPECT_EQ(loss.targets, expected[kind]["counted_targets"].as_int()) << kind;
    EXPECT_NEAR(loss.sum / static_cast<double>(loss.targets), expected[kind]["mean_loss_float64"].as_double(),
                1e-5)
        << kind;
  }
}

struct GoldenBatch {
  explicit GoldenBatch(const char* kind) {
    const Json json = take(read_json_file(lora("batch.json")));
    rows = static_cast<int64_t>(json["input_ids"].size());
    for (const Json& row : json["input_ids"].items())
      for (int32_t id : int_list(row)) tokens.push_back(id);
    for (const Json& row : json[std::string("labels_") + kind].items())
      for (int32_t id : int_list(row)) labels.push_back(id);
  }
  TrainingBatch view() const { return {tokens, labels, rows, static_cast<int64_t>(tokens.size()) / rows}; }
  int64_t rows = 0;
  std::vector<int32_t> tokens, labels;
};

// The adapter trained further on its frozen base: every gradient, whatever is computed again.
TEST_P(GoldenAdapter, Gradients) {
  LoraOptions options;
  options.dropout = 0;
  const auto model =
      take(TrainableModel::load_lora(lora(GetParam()) + "/adapter", "", options, BaseFormat::stored));
  const Tensors expected =
      read_tensors(lora(GetParam()) + "/adapter_gradients_answer_only_float64.safetensors");
  const GoldenBatch batch("answer_only");
  const double targets = static_cast<double>(take(model->evaluate(batch.view())).targets);
  for (Checkpointing checkpointing : {Checkpointing::none, Checkpointing::cheap, Checkpointing::block}) {
    model->set_checkpointing(checkpointing);
    model->zero_gradients();
    take(model->forward_backward(batch.view(), 1 / targets));
    ASSERT_EQ(model->parameters().size(), expected.size());
    for (const Parameter& p : model->parameters()) {
      const auto& e = expected.at("base_model.model." + p.name);
      EXPECT_LE(largest_difference(p.gradient, e), 4e-5 * largest_entry(e)) << p.name;
    }
  }
}

// Merged matrices of the one adapter that has them; everything else must be the base's own.
class GoldenMerge : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!have_shared()) GTEST_SKIP() << "golden/lora lies in ../shared only";
  }
  Checkpoint merge(const MergeAdapterOptions& options) {
    check(take_status(merge_adapter(base(), lora("lora_r16_alpha16_all7/adapter"), out_.path(), options)));
    return take(Checkpoint::open(out_.path()));
  }
  static Status take_status(const Result<MergeAdapterReport>& report) {
    if (!report.ok()) return Error(report.error());
    return {};
  }
  void compare_bf16(bool safe, const char* file) {
    MergeAdapterOptions options;
    options.safe_merge = safe;
    const Checkpoint merged = merge(options);
    const SafetensorsFile expected = take(SafetensorsFile::open(lora("lora_r16_alpha16_all7/") + file));
    size_t entries = 0, different = 0;
    for (const auto& entry : expected.entries()) {
      const StoredTensor ours = take(merged.get(entry.name));
      const TensorView theirs = expected.view(entry);
      ASSERT_EQ(ours.view.dtype, DType::bf16);
      ASSERT_EQ(ours.shape, entry.shape);
      for (int64_t i = 0; i < theirs.count(); ++i, ++entries) {
        const int32_t a = ours.view.as<uint16_t>()[i], b = theirs.as<uint16_t>()[i];
        different += a != b;
        EXPECT_LE(std::abs(a - b), 1) << entry.name << " " << i;  // one bf16 ulp
      }
    }
    EXPECT_EQ(entries, 45120u);
    EXPECT_LE(different, entries / 1000);
    const Checkpoint original = take(Checkpoint::open(base()));
    for (const std::string& name : original.names()) {
      if (expected.find(name)) continue;
      const StoredTensor a = take(original.get(name)), b = take(merged.get(name));
      ASSERT_EQ(a.view.bytes(), b.view.bytes()) << name;
      EXPECT_EQ(std::memcmp(a.view.data, b.view.data, a.view.bytes()), 0) << name;
    }
  }
  TemporaryFolder out_;
};

TEST_F(GoldenMerge, Bfloat16OneRounding) { compare_bf16(false, "merged_bfloat16.safetensors"); }
TEST_F(GoldenMerge, Bfloat16SafeMerge) { compare_bf16(true, "merged_bfloat16_safe_merge.safetensors"); }
TEST_F(GoldenMerge, Float32) {
  MergeAdapterOptions options;
  options.dtype = "float32";
  const Checkpoint merged = merge(options);
  for (const auto& [name, values] : read_tensors(lora("lora_r16_alpha16_all7/merged_float32.safetensors")))
    EXPECT_LE(largest_difference(take(merged.get_f32(name)), values), 3e-7) << name;
}

}  // namespace
}  // namespace bm::testing
