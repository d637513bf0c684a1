// Files written by us against files written by the gguf package (golden/quantization/gguf): the same tensors,
// byte for byte, and the same metadata where it decides numbers.
#include <gtest/gtest.h>

#include <algorithm>

#include "formats/gguf.h"
#include "golden.h"
#include "quantization/gguf_export.h"

namespace bm {
namespace {

TEST(GgufFiles, TensorsOfTheGoldenFiles) {
  std::string folder = testing::golden_path("tiny_mistral_small");
  if (folder.empty() || testing::golden_path("gguf/tiny_mistral_f32.gguf").empty())
    GTEST_SKIP() << "golden/quantization/gguf is not here";
  testing::TemporaryFolder out;
  for (const char* type : {"f32", "f16", "q8_0"}) {
    ConvertOptions options;
    options.model = folder;
    options.out = out.file(std::string(type) + ".gguf");
    options.to = "gguf";
    options.dtype = type;
    auto report = convert_any(options, {});
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    auto ours = GgufFile::open(options.out);
    auto theirs = GgufFile::open(testing::golden_path("gguf/tiny_mistral_" + std::string(type) + ".gguf"));
    ASSERT_TRUE(ours.ok() && theirs.ok());
    EXPECT_EQ(ours->tensors().size(), theirs->tensors().size());
    for (const GgufTensor& tensor : theirs->tensors()) {
      const GgufTensor* mine = ours->find(tensor.name);
      ASSERT_NE(mine, nullptr) << tensor.name;
      EXPECT_EQ(mine->type, tensor.type) << tensor.name;
      EXPECT_EQ(mine->shape, tensor.shape) << tensor.name;
      auto a = ours->data(*mine), b = theirs->data(tensor);
      EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << type << " " << tensor.name;
    }
    for (const auto& [key, value] : theirs->metadata().members()) {
      if (!key.starts_with("llama.") && key != "general.file_type") continue;
      EXPECT_TRUE(ours->metadata()[key] == value) << key;
    }
  }
}

}  // namespace
}  // namespace bm
