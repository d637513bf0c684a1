#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/hf_folder.h"
#include "paths.h"

namespace bm {
namespace {

OutputTensor constant(const std::string& name, Shape shape, float value, DType dtype = DType::f32) {
  return {{name, dtype, shape}, [=]() -> Result<TensorView> {
            Tensor tensor(DType::f32, shape);
            for (int64_t i = 0; i < tensor.count(); ++i) tensor.as<float>()[i] = value;
            BM_TRY(Tensor out, convert(tensor.view(), dtype));
            return out.view();
          }};
}

const Json config = Json::object({{"model_type", "llama"}, {"vocab_size", 3}});

std::vector<OutputTensor> three() {
  return {constant("a", {4}, 1), constant("b", {4}, 2), constant("c", {2}, 3, DType::bf16)};
}

std::string refusal(const std::string& path) {
  auto checkpoint = Checkpoint::open(path);
  return checkpoint.ok() ? "accepted" : checkpoint.error().paragraph();
}

TEST(HfFolder, OneFileOrShards) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(write_hf_folder(folder.file("one"), config, three()).ok());
  EXPECT_TRUE(exists(folder.file("one/model.safetensors")));
  EXPECT_FALSE(exists(folder.file("one/model.safetensors.index.json")));
  EXPECT_EQ(*read_file(folder.file("one/config.json")),
            "{\n  \"model_type\": \"llama\",\n  \"vocab_size\": 3\n}\n");
  HfFolderOptions options;
  options.shard_bytes = 20;
  ASSERT_TRUE(write_hf_folder(folder.file("one"), config, three(), options).ok());
  EXPECT_FALSE(exists(folder.file("one/model.safetensors"))) << "the earlier form must go";
  EXPECT_EQ(*read_file(folder.file("one/model.safetensors.index.json")), R"({
  "metadata": {
    "total_parameters": 10,
    "total_size": 36
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}
)");
  auto checkpoint = Checkpoint::open(folder.file("one"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().paragraph();
  EXPECT_EQ(checkpoint->files().size(), 2u);
  EXPECT_EQ(checkpoint->names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(*checkpoint->get_f32("c"), (std::vector<float>{3, 3}));
  EXPECT_EQ(checkpoint->config()["vocab_size"].as_int(), 3);
  EXPECT_FALSE(checkpoint->is_gguf());
  auto missing = checkpoint->get("d");
  ASSERT_FALSE(missing.ok());
}

TEST(HfFolder, KeepsWholeShardsOnAResume) {
  testing::TemporaryFolder folder;
  HfFolderOptions options;
  options.shard_bytes = 16;
  int made = 0;
  auto tensors = three();
  for (auto& tensor : tensors)
    tensor.produce = [&made, inner = tensor.produce]() {
      ++made;
      return inner();
    };
  ASSERT_TRUE(write_hf_folder(folder.path(), config, tensors, options).ok());
  EXPECT_EQ(made, 3);
  ASSERT_TRUE(remove_all(folder.file("model-00002-of-00003.safetensors")).ok());
  ASSERT_TRUE(write_hf_folder(folder.path(), config, tensors, options).ok());
  EXPECT_EQ(made, 4);
  options.resume = false;
  ASSERT_TRUE(write_hf_folder(folder.path(), config, tensors, options).ok());
  EXPECT_EQ(made, 7);
  EXPECT_TRUE(Checkpoint::open(folder.path()).ok());
}

TEST(HfFolder, AFailedTensorNamesItself) {
  testing::TemporaryFolder folder;
  auto tensors = three();
  tensors[1].produce = []() -> Result<TensorView> { return bad_input("broken"); };
  auto status = write_hf_folder(folder.path(), config, tensors);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().paragraph().find("tensor b"), std::string::npos);
  EXPECT_FALSE(exists(folder.file("model.safetensors")));
  tensors[1].produce = [] { return Result<TensorView>(Tensor(DType::f32, {5}).view()); };
  EXPECT_FALSE(write_hf_folder(folder.path(), config, tensors).ok());
}

class Damaged : public ::testing::Test {
 protected:
  void SetUp() override {
    HfFolderOptions options;
    options.shard_bytes = 16;
    ASSERT_TRUE(write_hf_folder(folder_.path(), config, three(), options).ok());
    index_ = *read_file(folder_.file("model.safetensors.index.json"));
  }
  void write_index(std::string_view from, std::string_view to) {
    std::string text = index_;
    size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    ASSERT_TRUE(
        write_file_atomic(folder_.file("model.safetensors.index.json"), text.replace(at, from.size(), to))
            .ok());
  }
  testing::TemporaryFolder folder_;
  std::string index_;
};

TEST_F(Damaged, MissingShardIsNamed) {
  ASSERT_TRUE(remove_all(folder_.file("model-00002-of-00003.safetensors")).ok());
  EXPECT_NE(refusal(folder_.path()).find("shard model-00002-of-00003.safetensors is missing"),
            std::string::npos);
}

TEST_F(Damaged, IndexPathOutsideTheFolder) {
  for (const char* bad : {"../model-00002-of-00003.safetensors", "/etc/passwd", "..", "a\\\\b"}) {
    write_index("model-00002-of-00003.safetensors", bad);
    EXPECT_NE(refusal(folder_.path()).find("outside the model's folder"), std::string::npos) << bad;
  }
}

TEST_F(Damaged, TensorNotInItsShard) {
  write_index("\"b\": \"model-00002-of-00003.safetensors\"", "\"b\": \"model-00001-of-00003.safetensors\"");
  EXPECT_NE(refusal(folder_.path()).find("tensor b is not in shard model-00001"), std::string::npos)
      << refusal(folder_.path());
  write_index("\"b\"", "\"zz\"");
  EXPECT_NE(refusal(folder_.path()).find("tensor zz"), std::string::npos);
}

TEST_F(Damaged, DuplicateOverShards) {
  ASSERT_TRUE(copy_file(folder_.file("model-00001-of-00003.safetensors"),
                        folder_.file("model-00002-of-00003.safetensors"))
                  .ok());
  EXPECT_NE(refusal(folder_.path()).find("more than one shard"), std::string::npos);
}

TEST_F(Damaged, BothFormsPresent) {
  ASSERT_TRUE(
      copy_file(folder_.file("model-00001-of-00003.safetensors"), folder_.file("model.safetensors")).ok());
  EXPECT_NE(refusal(folder_.path()).find("both model.safetensors and"), std::string::npos);
}

TEST_F(Damaged, TruncatedShardSaysSo) {
  std::string shard = *read_file(folder_.file("model-00002-of-00003.safetensors"));
  ASSERT_TRUE(
      write_file_atomic(folder_.file("model-00002-of-00003.safetensors"), shard.substr(0, shard.size() - 3))
          .ok());
  std::string message = refusal(folder_.path());
  EXPECT_NE(message.find("model-00002-of-00003.safetensors"), std::string::npos);
  EXPECT_NE(message.find("truncated"), std::string::npos);
}

TEST_F(Damaged, WithoutItsIndexTheShardsStillServeWhenAllAreThere) {
  ASSERT_TRUE(remove_all(folder_.file("model.safetensors.index.json")).ok());
  EXPECT_EQ(refusal(folder_.path()), "accepted");
  ASSERT_TRUE(remove_all(folder_.file("model-00003-of-00003.safetensors")).ok());
  EXPECT_NE(refusal(folder_.path()).find("shard 3 of 3"), std::string::npos);
}

TEST_F(Damaged, IndexThatIsNone) {
  ASSERT_TRUE(write_file_atomic(folder_.file("model.safetensors.index.json"), "{}").ok());
  EXPECT_NE(refusal(folder_.path()).find("weight_map"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(folder_.file("model.safetensors.index.json"), "{").ok());
  EXPECT_NE(refusal(folder_.path()).find("index.json"), std::string::npos);
}

TEST(CheckpointOpen, NothingThere) {
  testing::TemporaryFolder folder;
  EXPECT_NE(refusal(folder.path()).find("no weights"), std::string::npos);
  EXPECT_NE(refusal(folder.file("nowhere")).find("does not exist"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(folder.file("notes.txt"), "these are notes").ok());
  EXPECT_NE(refusal(folder.file("notes.txt")).find("no weight file"), std::string::npos);
}

TEST(TokenizerFiles, AreCopied) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(make_directories(folder.file("from")).ok());
  for (const char* name : {"tokenizer.json", "vocab.json", "generation_config.json", "README.md"})
    ASSERT_TRUE(write_file_atomic(folder.file(std::string("from/") + name), name).ok());
  auto copied = copy_tokenizer_files(folder.file("from"), folder.file("to"));
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ(*copied, (std::vector<std::string>{"tokenizer.json", "vocab.json", "generation_config.json"}));
  EXPECT_FALSE(exists(folder.file("to/README.md")));
}

}  // namespace
}  // namespace bm
