#include "formats/inspect.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/file.h"
#include "formats/checkpoint.h"
#include "formats/convert.h"
#include "formats/megatron.h"
#include "formats/safetensors.h"
#include "paths.h"

namespace bm {
namespace {

std::string data(const std::string& name) {
  return testing::source_path("tests/parity/formats/data/" + name);
}

TEST(Inspect, AModelFolder) {
  auto found = inspect(data("base-bf16-pytorch-bin"));
  ASSERT_TRUE(found.ok()) << found.error().paragraph();
  EXPECT_EQ(found->kind, "Hugging Face folder");
  EXPECT_TRUE(found->problems.empty());
  Json json = found->json();
  EXPECT_EQ(json["parameters"].as_int(), 15528);
  EXPECT_EQ(json["tensors"].size(), 39u);
  EXPECT_EQ(json["tensors"][0]["dtype"].as_string(), "BF16");
}

TEST(Inspect, FindsWhatLoadingWouldTripOver) {
  testing::TemporaryFolder folder;
  Tensor embedding = Tensor::zeroed(DType::f32, {3, 2});
  embedding.as<float>()[4] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(
      write_safetensors(folder.file("model.safetensors"), {{"model.embed_tokens.weight", embedding.view()}})
          .ok());
  auto found = inspect(folder.path());
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->problems.size(), 1u);
  EXPECT_NE(found->problems[0].find("config.json is missing"), std::string::npos);
  ASSERT_TRUE(
      write_file_atomic(
          folder.file("config.json"),
          R"({"model_type":"llama","vocab_size":4,"hidden_size":2,"num_attention_heads":1,"num_hidden_layers":2})")
          .ok());
  ASSERT_TRUE(
      write_file_atomic(folder.file("README.md"), "---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n")
          .ok());
  InspectOptions options;
  options.values = true;
  found = inspect(folder.path(), options);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->problems.size(), 3u);
  EXPECT_NE(found->problems[0].find("vocab_size 4 is larger than the embedding's 3 rows"), std::string::npos);
  EXPECT_NE(found->problems[1].find("model.layers.1."), std::string::npos);
  EXPECT_NE(found->problems[2].find("element 4"), std::string::npos);
  EXPECT_EQ(found->licence, "apache-2.0");
  std::string bytes = *read_file(folder.file("model.safetensors"));
  ASSERT_TRUE(write_file_atomic(folder.file("model.safetensors"), bytes.substr(0, bytes.size() - 1)).ok());
  auto malformed = inspect(folder.path());
  ASSERT_FALSE(malformed.ok());
  EXPECT_EQ(malformed.error().code(), Code::bad_input);
}

TEST(Inspect, ACorpus) {
  testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.file("tokens"), 100);
  std::vector<int32_t> tokens = {1, 2, 3};
  ASSERT_TRUE(writer->add_sequence(tokens).ok());
  ASSERT_TRUE(writer->commit().ok());
  for (const std::string& path : {folder.path(), folder.file("tokens.idx"), folder.file("tokens.bin")}) {
    auto found = inspect(path);
    ASSERT_TRUE(found.ok()) << found.error().paragraph();
    EXPECT_EQ(found->kind, "Megatron corpus");
    EXPECT_EQ(found->facts["tokens"].as_int(), 3);
  }
}

TEST(Convert, PytorchToSafetensorsInAnotherDtype) {
  testing::TemporaryFolder folder;
  ConvertOptions options;
  options.model = data("base-bf16-pytorch-bin");
  options.out = folder.file("out");
  options.dtype = "f32";
  auto report = convert_model(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto from = Checkpoint::open(options.model), to = Checkpoint::open(options.out);
  ASSERT_TRUE(to.ok()) << to.error().paragraph();
  for (const std::string& name : from->names()) {
    EXPECT_EQ(to->get(name)->view.dtype, DType::f32);
    EXPECT_EQ(*to->get_f32(name), *from->get_f32(name));
  }
  EXPECT_EQ(to->config()["torch_dtype"].as_string(), "float32");
  auto again = convert_model(options, {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
}

}  // namespace
}  // namespace bm
