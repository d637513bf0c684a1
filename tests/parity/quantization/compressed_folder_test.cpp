// W4A16 as llm-compressor's data-free oneshot saves it: our folder against theirs, byte for byte.
#include <gtest/gtest.h>

#include "base/file.h"
#include "golden.h"
#include "quantization/quantize.h"

namespace bm::testing {
namespace {

TEST(CompressedFolder, W4A16EqualsTheirsTensorByTensor) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  TemporaryFolder folder;
  QuantizeOptions options;
  options.model = shared_path("golden/quantization/tiny_mistral_multi_head");
  options.out = folder.file("out");
  options.method = "w4a16";
  options.dtype = "f16";
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto ours = SafetensorsFile::open(options.out + "/model.safetensors");
  auto theirs = SafetensorsFile::open(
      shared_path("golden/quantization/compressed_tensors/w4a16_folder/model.safetensors"));
  ASSERT_TRUE(ours.ok() && theirs.ok());
  ASSERT_EQ(ours->entries().size(), theirs->entries().size());
  for (const SafetensorsEntry& entry : theirs->entries()) {
    auto mine = ours->get(entry.name);
    ASSERT_TRUE(mine.ok()) << mine.error().paragraph();
    EXPECT_EQ(mine->dtype, entry.dtype) << entry.name;
    EXPECT_EQ(mine->shape, entry.shape) << entry.name;
    TensorView view = theirs->view(entry);
    ASSERT_EQ(mine->bytes(), view.bytes()) << entry.name;
    EXPECT_EQ(std::memcmp(mine->data, view.data, view.bytes()), 0) << entry.name;
  }
  auto a = read_json_file(options.out + "/config.json");
  auto b = read_json_file(shared_path("golden/quantization/compressed_tensors/w4a16_folder/config.json"));
  ASSERT_TRUE(a.ok() && b.ok());
  for (const char* key : {"format", "ignore", "quant_method"})
    EXPECT_TRUE((*a)["quantization_config"][key] == (*b)["quantization_config"][key]) << key;
}

}  // namespace
}  // namespace bm::testing
