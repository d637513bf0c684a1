// Against files that the peers wrote: safetensors (Rust), torch.save, transformers' shards and index,
// ggml's blocks and converter.
#include <gtest/gtest.h>

#include <cstring>

#include "base/file.h"
#include "formats/checkpoint.h"
#include "formats/gguf_tokenizer.h"
#include "formats/hf_folder.h"
#include "formats/safetensors.h"
#include "paths.h"

namespace bm {
namespace {

std::string data(const std::string& name) {
  return testing::source_path("tests/parity/formats/data/" + name);
}

void expect_same_weights(const std::string& a_path, const std::string& b_path) {
  auto a = Checkpoint::open(a_path), b = Checkpoint::open(b_path);
  ASSERT_TRUE(a.ok()) << a.error().paragraph();
  ASSERT_TRUE(b.ok()) << b.error().paragraph();
  ASSERT_EQ(a->names().size(), b->names().size());
  for (const std::string& name : a->names()) {
    auto x = a->get(name), y = b->get(name);
    ASSERT_TRUE(x.ok() && y.ok()) << name;
    EXPECT_EQ(x->shape, y->shape) << name;
    ASSERT_EQ(x->view.dtype, y->view.dtype) << name;
    EXPECT_EQ(std::memcmp(x->view.data, y->view.data, x->view.bytes()), 0) << name;
  }
}

TEST(PytorchParity, TorchSaveHoldsTheSameBytesAsSafetensors) {
  expect_same_weights(data("base-bf16-pytorch-bin"), data("base-bf16"));
}

TEST(ShardParity, ShardsHoldTheSameBytesAsOneFile) {
  expect_same_weights(data("base-bf16-sharded"), data("base-bf16"));
}

// Rewriting every file the reference wrote must give its bytes.
void expect_rewrites_itself(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().paragraph();
  testing::TemporaryFolder folder;
  std::vector<NamedTensor> tensors;
  for (auto entry = file->entries().rbegin(); entry != file->entries().rend(); ++entry)
    tensors.push_back({entry->name, file->view(*entry)});
  ASSERT_TRUE(write_safetensors(folder.file("again"), tensors, file->metadata()).ok());
  EXPECT_TRUE(*read_file(folder.file("again")) == *read_file(path)) << path;
}

TEST(SafetensorsParity, RewritingGivesTheReferenceBytes) {
  expect_rewrites_itself(data("base-bf16/model.safetensors"));
  for (int i = 1; i <= 3; ++i)
    expect_rewrites_itself(
        data("base-bf16-sharded/model-0000" + std::to_string(i) + "-of-00003.safetensors"));
  if (!testing::have_shared()) return;
  // Files by the Rust writer; merge/cases are mergekit's, lora ones PEFT's, quantization ones by several.
  size_t seen = 0;
  for (const char* folder : {"model", "training", "quantization", "lora", "merge/inputs"}) {
    auto files = list_files(testing::shared_path("golden/" + std::string(folder)));
    ASSERT_TRUE(files.ok());
    for (const std::string& file : *files) {
      if (!ends_with(file, ".safetensors") || *file_size(file) > 3'000'000) continue;
      expect_rewrites_itself(file);
      ++seen;
    }
  }
  EXPECT_GT(seen, 50u);
}

TEST(IndexParity, IndexIsTransformersBytes) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/model";
  std::string golden =
      testing::shared_path("golden/model/mistral_mqa_headdim16_tied_theta1e6_bf16_3shards/hf");
  auto checkpoint = Checkpoint::open(golden);
  ASSERT_TRUE(checkpoint.ok());
  // transformers cuts the state dict in module order.
  std::vector<std::string> order = {"model.embed_tokens.weight"};
  for (int layer = 0; layer < 3; ++layer)
    for (const char* part :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
          "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"})
      order.push_back("model.layers." + std::to_string(layer) + "." + part + ".weight");
  order.emplace_back("model.norm.weight");
  std::vector<OutputTensor> tensors;
  uint64_t total = 0;
  for (const std::string& name : order) {
    auto tensor = checkpoint->get(name);
    ASSERT_TRUE(tensor.ok()) << name;
    total += tensor->view.bytes();
    tensors.push_back({{name, tensor->view.dtype, tensor->shape},
                       [view = tensor->view] { return Result<TensorView>(view); }});
  }
  testing::TemporaryFolder folder;
  HfFolderOptions options;
  for (uint64_t percent = 30; percent < 70; ++percent) {  // as make_model_golden.py looked for three shards
    options.shard_bytes = total * percent / 100;
    if (plan_shards(tensors, options.shard_bytes).back() == 2) break;
  }
  ASSERT_TRUE(write_hf_folder(folder.path(), checkpoint->config(), tensors, options).ok());
  EXPECT_EQ(*read_file(folder.file("model.safetensors.index.json")),
            *read_file(golden + "/model.safetensors.index.json"));
  EXPECT_EQ(*read_file(folder.file("config.json")), *read_file(golden + "/config.json"));
  for (int i = 1; i <= 3; ++i) {
    std::string name = "/model-0000" + std::to_string(i) + "-of-00003.safetensors";
    EXPECT_TRUE(*read_file(folder.path() + name) == *read_file(golden + name)) << name;
  }
}

void expect_blocks_decode(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().paragraph();
  for (BlockType type : {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1, BlockType::q8_0,
                         BlockType::q4_k, BlockType::q5_k, BlockType::q6_k}) {
    std::string name(block_name(type));
    auto bytes = file->get(name + ".bytes"), expected = file->get(name + ".dequantised");
    ASSERT_TRUE(bytes.ok() && expected.ok()) << name;
    ASSERT_EQ(static_cast<int64_t>(bytes->bytes()) / block_bytes(type) * block_elements(type),
              expected->count());
    std::vector<float> values(static_cast<size_t>(expected->count()));
    dequantize_blocks(type, bytes->data, values.data(), expected->count());
    EXPECT_EQ(std::memcmp(values.data(), expected->data, expected->bytes()), 0) << name;
  }
}

TEST(BlockParity, DecodesToGgmlsBits) {
  expect_blocks_decode(data("block_formats_subset.safetensors"));
  if (testing::have_shared())
    expect_blocks_decode(testing::shared_path("golden/quantization/gguf/block_formats.safetensors"));
}

TEST(GgufParity, CompleteFilesGiveTheSourceModel) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/quantization";
  auto source = Checkpoint::open(testing::shared_path("golden/quantization/tiny_mistral_small"));
  ASSERT_TRUE(source.ok()) << source.error().paragraph();
  for (const char* form : {"f32", "f16", "q8_0"}) {
    auto gguf = Checkpoint::open(
        testing::shared_path(std::string("golden/quantization/gguf/tiny_mistral_") + form + ".gguf"));
    ASSERT_TRUE(gguf.ok()) << gguf.error().paragraph();
    EXPECT_TRUE(gguf->is_gguf());
    ASSERT_EQ(gguf->names().size(), source->names().size());
    for (const std::string& name : source->names()) {
      auto expected = source->get_f32(name), got = gguf->get_f32(name);
      ASSERT_TRUE(expected.ok() && got.ok()) << name;
      ASSERT_EQ(expected->size(), got->size());
      EXPECT_EQ(gguf->get(name)->shape, source->get(name)->shape);
      float largest = 0, worst = 0;
      for (size_t i = 0; i < got->size(); ++i) {
        largest = std::max(largest, std::abs((*expected)[i]));
        worst = std::max(worst, std::abs((*expected)[i] - (*got)[i]));
      }
      // f16 sources: F32 and F16 files hold them exactly; a Q8_0 step is absmax/127, half of it the error
      // (and the f16 scale's rounding).
      EXPECT_LE(worst, std::string(form) == "q8_0" ? largest * 0.505f / 127 : 0.0f) << form << " " << name;
    }
    const Json &a = source->config(), &b = gguf->config();
    for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "max_position_embeddings", "vocab_size", "bos_token_id",
                            "eos_token_id", "tie_word_embeddings"})
      EXPECT_EQ(a[key].dump(), b[key].dump()) << key;
    double epsilon = a["rms_norm_eps"].as_double();
    EXPECT_EQ(b["rms_norm_eps"].as_double(), epsilon);
  }
}

// SmolLM2's tokenizer, as the golden has it, taken apart into GGUF metadata and put together again.
TEST(GgufTokenizerParity, GivesSmolLm2sTokenizerJson) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/tokenizer";
  std::string folder = testing::shared_path("golden/tokenizer/smollm2/");
  auto expected = read_json_file(folder + "tokenizer.json"),
       config = read_json_file(folder + "tokenizer_config.json");
  ASSERT_TRUE(expected.ok() && config.ok());
  std::vector<Json> tokens((*expected)["model"]["vocab"].size()), types(tokens.size(), Json(1)), merges;
  for (const auto& [token, id] : (*expected)["model"]["vocab"].members()) tokens[id.as_uint()] = token;
  for (const Json& added : (*expected)["added_tokens"].items()) types[added["id"].as_uint()] = Json(3);
  for (const Json& pair : (*expected)["model"]["merges"].items())
    merges.emplace_back(pair[0].as_string() + " " + pair[1].as_string());
  Json metadata = Json::object({{"tokenizer.ggml.model", "gpt2"},
                                {"tokenizer.ggml.pre", "smollm"},
                                {"llama.context_length", 8192},
                                {"tokenizer.ggml.tokens", Json::array(tokens)},
                                {"tokenizer.ggml.token_type", Json::array(types)},
                                {"tokenizer.ggml.merges", Json::array(merges)},
                                {"tokenizer.ggml.add_bos_token", false},
                                {"tokenizer.ggml.bos_token_id", 1},
                                {"tokenizer.ggml.eos_token_id", 2},
                                {"tokenizer.ggml.unknown_token_id", 0},
                                {"tokenizer.ggml.padding_token_id", 2},
                                {"tokenizer.chat_template", (*config)["chat_template"]}});
  auto files = tokenizer_files_from_gguf(metadata);
  ASSERT_TRUE(files.ok()) << files.error().paragraph();
  EXPECT_TRUE(*parse_json((*files)[0].content) == *expected);
  EXPECT_EQ(parse_json((*files)[1].content)->dump_pretty(), config->dump_pretty());
}

}  // namespace
}  // namespace bm
