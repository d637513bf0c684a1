// Bad checkpoints and adapters: every one is refused with the place and the cure.
#include "model/weights.h"

#include <cstring>

#include "base/file.h"
#include "formats/adapter.h"
#include "formats/hf_folder.h"
#include "model/merge_adapter.h"
#include "model/save.h"
#include "support.h"

namespace bm::testing {
namespace {

const RandomModelShape kShape = {
    .vocab = 40, .hidden = 16, .intermediate = 24, .layers = 1, .heads = 2, .kv_heads = 1, .head_dim = 8};

// A folder with the tensors of a random model, some of them changed.
struct Changed {
  using Change = std::function<void(std::vector<NamedTensor>&, Json& config)>;
  explicit Changed(const Change& change) {
    const RandomModel original(kShape);
    Json config = take(read_json_file(original.folder.file("config.json")));
    SafetensorsFile file = take(SafetensorsFile::open(original.folder.file("model.safetensors")));
    std::vector<NamedTensor> tensors;
    for (const auto& entry : file.entries()) tensors.push_back({entry.name, file.view(entry)});
    change(tensors, config);
    check(write_safetensors(folder.file("model.safetensors"), tensors));
    check(write_config_json(folder.path(), config));
  }
  std::string refusal() const { return error_of(Model::load(folder.path())); }
  TemporaryFolder folder;
};

NamedTensor& find(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& t : tensors)
    if (t.name == name) return t;
  throw std::runtime_error("no tensor " + name);
}

TEST(Weights, ScalarTypesGiveTheSameModel) {
  RandomModelShape shape = kShape;
  const RandomModel narrow(shape, DType::bf16);
  const auto model = narrow.load();
  const TemporaryFolder wide;  // the same values as float32
  const Checkpoint checkpoint = take(Checkpoint::open(narrow.folder.path()));
  std::vector<NamedTensor> tensors;
  std::vector<std::vector<float>> memory;
  for (const std::string& name : checkpoint.names()) memory.push_back(take(checkpoint.get_f32(name)));
  for (size_t i = 0; i < memory.size(); ++i)
    tensors.push_back({checkpoint.names()[i],
                       {DType::f32,
                        take(checkpoint.get(checkpoint.names()[i])).shape,
                        reinterpret_cast<const std::byte*>(memory[i].data()),
                        {}}});
  check(write_safetensors(wide.file("model.safetensors"), tensors));
  check(write_config_json(wide.path(), checkpoint.config()));
  const std::vector<int32_t> tokens = random_tokens(9, shape.vocab, 1);
  EXPECT_EQ(logits_of(*model, tokens), logits_of(*take(Model::load(wide.path())), tokens));
  EXPECT_EQ(model->parameter_count(), 2 * 40 * 16 + 16 * 16 * 2 + 2 * 8 * 16 + 3 * 24 * 16 + 3 * 16);
}

TEST(Weights, MissingTensorIsNamed) {
  const Changed c([](auto& tensors, Json&) {
    std::erase_if(tensors,
                  [](const NamedTensor& t) { return t.name == "model.layers.0.mlp.up_proj.weight"; });
  });
  EXPECT_CONTAINS(c.refusal(), "model.layers.0.mlp.up_proj.weight");
  EXPECT_CONTAINS(c.refusal(), c.folder.path());
}

TEST(Weights, MissingHeadNamesTheKey) {
  const Changed c([](auto& tensors, Json&) {
    std::erase_if(tensors, [](const NamedTensor& t) { return t.name == "lm_head.weight"; });
  });
  EXPECT_CONTAINS(c.refusal(), "tie_word_embeddings");
}

TEST(Weights, TiedModelIgnoresACopyOfTheHead) {
  const Changed c([](auto&, Json& config) { config.set("tie_word_embeddings", true); });
  EXPECT_EQ(c.refusal(), "no error");
}

TEST(Weights, VocabularyLargerThanTheEmbedding) {
  const Changed c([](auto&, Json& config) { config.set("vocab_size", 64); });
  EXPECT_CONTAINS(c.refusal(), "vocab_size is 64, but there are 40 rows");
}

TEST(Weights, TransposedMatrix) {
  const Changed c([](auto& tensors, Json&) {
    std::swap(find(tensors, "model.layers.0.mlp.up_proj.weight").view.shape[0],
              find(tensors, "model.layers.0.mlp.up_proj.weight").view.shape[1]);
  });
  EXPECT_CONTAINS(c.refusal(), "transposed");
}

TEST(Weights, OtherShape) {
  const Changed c([](auto&, Json& config) { config.set("intermediate_size", 32); });
  EXPECT_CONTAINS(c.refusal(), "[24, 16]");
  EXPECT_CONTAINS(c.refusal(), "[32, 16]");
}

TEST(Weights, BiasTheConfigurationDoesNotHave) {
  const Changed c([](auto& tensors, Json&) {
    NamedTensor bias = find(tensors, "model.norm.weight");
    bias.name = "model.layers.0.self_attn.q_proj.bias";
    tensors.push_back(bias);
  });
  EXPECT_CONTAINS(c.refusal(), "q_proj.bias");
  EXPECT_CONTAINS(c.refusal(), "attention_bias");
}

TEST(Weights, OldRotaryBuffersAreIgnored) {
  const Changed c([](auto& tensors, Json&) {
    NamedTensor extra = find(tensors, "model.norm.weight");
    extra.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    tensors.push_back(extra);
  });
  EXPECT_EQ(c.refusal(), "no error");
}

TEST(Weights, NotANumberIsNamed) {
  std::vector<float> damaged(16, 1.0f);
  damaged[5] = std::nanf("");
  const Changed c([&](auto& tensors, Json&) {
    find(tensors, "model.norm.weight").view.data = reinterpret_cast<const std::byte*>(damaged.data());
  });
  EXPECT_CONTAINS(c.refusal(), "model.norm.weight");
  EXPECT_CONTAINS(c.refusal(), "element 5");
}

TEST(Weights, IntegerWeights) {
  std::vector<int32_t> integers(16, 1);
  const Changed c([&](auto& tensors, Json&) {
    find(tensors, "model.norm.weight").view = {
        DType::i32, {16}, reinterpret_cast<const std::byte*>(integers.data()), {}};
  });
  EXPECT_CONTAINS(c.refusal(), "I32");
}

TEST(Weights, NoSuchFolderAndNoConfig) {
  EXPECT_CONTAINS(error_of(Model::load("/nonexistent/model")), "/nonexistent/model");
  const RandomModel model(kShape);
  std::filesystem::remove(model.folder.file("config.json"));
  EXPECT_CONTAINS(error_of(Model::load(model.folder.path())), "config.json");
}

TEST(Weights, TokenizerOnlyWhenNeeded) {
  const RandomModel model(kShape);
  EXPECT_EQ(model.load()->tokenizer(), nullptr);
  EXPECT_FALSE(Model::load(model.folder.path(), {.need_tokenizer = true}).ok());
}

struct TestAdapter {
  explicit TestAdapter(const Json& changes, const std::string& module = "model.layers.0.self_attn.q_proj",
                       int64_t rank = 2) {
    Json config = Json::object({{"peft_type", "LORA"},
                                {"base_model_name_or_path", base.folder.path()},
                                {"r", 2},
                                {"lora_alpha", 4}});
    for (const auto& [key, value] : changes.members()) config.set(key, value);
    check(write_file_atomic(folder.file("adapter_config.json"), config.dump()));
    const std::vector<float> values(64, 0.5f);
    const auto* data = reinterpret_cast<const std::byte*>(values.data());
    check(write_safetensors(
        folder.file("adapter_model.safetensors"),
        {{"base_model.model." + module + ".lora_A.weight", {DType::f32, {rank, 16}, data, {}}},
         {"base_model.model." + module + ".lora_B.weight", {DType::f32, {16, rank}, data, {}}}}));
  }
  std::string refusal() const { return error_of(Model::load(folder.path())); }
  RandomModel base{kShape};
  TemporaryFolder folder;
};

TEST(Adapters, MergedIntoTheBase) {
  const TestAdapter adapter(Json::object({}));
  const auto model = take(Model::load(adapter.folder.path())), base = adapter.base.load();
  const auto changed = take(model->weights().source.f64("model.layers.0.self_attn.q_proj.weight"));
  const auto original = take(base->weights().source.f64("model.layers.0.self_attn.q_proj.weight"));
  for (size_t i = 0; i < changed.size(); ++i)
    EXPECT_DOUBLE_EQ(changed[i], original[i] + 2 * (0.25 + 0.25));  // s = 4 / 2
  EXPECT_NE(logits_of(*model, {1, 2}), logits_of(*base, {1, 2}));
}

TEST(Adapters, Refused) {
  EXPECT_CONTAINS(TestAdapter(Json::object({{"r", 4}})).refusal(), "rank 2");
  EXPECT_CONTAINS(TestAdapter(Json::object({{"peft_type", "IA3"}})).refusal(), "IA3");
  EXPECT_CONTAINS(TestAdapter(Json::object({{"fan_in_fan_out", true}})).refusal(), "fan_in_fan_out");
  EXPECT_CONTAINS(TestAdapter(Json::object({{"use_dora", true}})).refusal(), "lora_magnitude_vector");
  EXPECT_CONTAINS(TestAdapter(Json::object({{"rank_pattern", Json::object({{"(", 3}})}})).refusal(),
                  "regular expression");
  EXPECT_CONTAINS(TestAdapter(Json::object({}), "model.layers.7.self_attn.q_proj").refusal(),
                  "model.layers.7");
  EXPECT_CONTAINS(TestAdapter(Json::object({}), "model.layers.0.self_attn.k_proj").refusal(), "[8, 16]");
  EXPECT_CONTAINS(TestAdapter(Json::object({{"base_model_name_or_path", "someone/elsewhere"}})).refusal(),
                  "--base");
}

TEST(MergeAdapter, FolderRunsAsTheAdapterDoes) {
  const TestAdapter adapter(Json::object({{"use_rslora", true}}));
  const TemporaryFolder out;
  const MergeAdapterReport plan =
      take(plan_merge_adapter(adapter.base.folder.path(), adapter.folder.path(), {}));
  EXPECT_EQ(plan.merged, 1);
  EXPECT_EQ(plan.replaced, 0);
  const MergeAdapterReport report =
      take(merge_adapter(adapter.base.folder.path(), adapter.folder.path(), out.path(), {}));
  EXPECT_EQ(report.copied + report.merged, 12);
  EXPECT_EQ(report.bytes, plan.bytes);
  EXPECT_EQ(logits_of(*take(Model::load(out.path())), {3, 1, 2}),
            logits_of(*take(Model::load(adapter.folder.path())), {3, 1, 2}));
}

TEST(MergeAdapter, RefusedBeforeAnythingIsWritten) {
  const TestAdapter adapter(Json::object({{"lora_alpha", 1e9}})),
      wrong(Json::object({}), "model.layers.3.mlp.up_proj");
  const TemporaryFolder parent;
  const std::string out = parent.file("out"), base = adapter.base.folder.path();
  MergeAdapterOptions options;
  options.dtype = "int8";
  EXPECT_CONTAINS(error_of(merge_adapter(base, adapter.folder.path(), out, options)), "int8");
  EXPECT_CONTAINS(error_of(merge_adapter(base, wrong.folder.path(), out, {})), "model.layers.3");
  EXPECT_CONTAINS(error_of(merge_adapter(adapter.folder.path(), adapter.folder.path(), out, {})),
                  "itself an adapter");
  EXPECT_FALSE(exists(out));
  options.dtype = "float16";  // 2.5e8 does not fit
  EXPECT_CONTAINS(error_of(merge_adapter(base, adapter.folder.path(), out, options)), "q_proj.weight");
  EXPECT_FALSE(exists(out + "/model.safetensors"));
}

}  // namespace
}  // namespace bm::testing
