// Folders as transformers 5.23 + bitsandbytes 0.50.2 save them: our file byte for byte, our reading of
// theirs through to logits.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "golden.h"
#include "model/model.h"
#include "model/quantized_linear.h"
#include "quantization/quantize.h"

namespace bm::testing {
namespace {

struct FolderCase {
  std::string name, method, dtype;
  bool nested;
};

class BitsandbytesFolder : public ::testing::TestWithParam<FolderCase> {};

std::string small_model() { return shared_path("golden/quantization/tiny_mistral_small"); }
std::string their_folder(const FolderCase& c) {
  return shared_path("golden/quantization/bitsandbytes/tiny_mistral_" + c.name + "_folder");
}

TEST_P(BitsandbytesFolder, OursEqualsTheirsTensorByTensor) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  const FolderCase& c = GetParam();
  TemporaryFolder temporary;
  QuantizeOptions options;
  options.model = small_model();
  options.out = temporary.file("out");
  options.method = c.method;
  options.dtype = c.dtype;
  options.double_quant = c.nested;
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->quantized, 14);
  EXPECT_TRUE(report->skipped.empty());
  auto ours = read_file(options.out + "/model.safetensors");
  auto theirs = read_file(their_folder(c) + "/model.safetensors");
  ASSERT_TRUE(ours.ok() && theirs.ok());
  // With double quantization the offset may differ in its last places (order of a float32 sum).
  if (!c.nested) {
    EXPECT_TRUE(*ours == *theirs) << "model.safetensors differs";
  }
  auto a = SafetensorsFile::open(options.out + "/model.safetensors");
  auto b = SafetensorsFile::open(their_folder(c) + "/model.safetensors");
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->entries().size(), b->entries().size());
  for (const SafetensorsEntry& entry : b->entries()) {
    auto mine = a->get(entry.name);
    ASSERT_TRUE(mine.ok()) << mine.error().paragraph();
    EXPECT_EQ(mine->dtype, entry.dtype) << entry.name;
    if (c.nested && entry.name.find("quant_state") != std::string::npos) continue;
    EXPECT_EQ(mine->shape, entry.shape) << entry.name;
    TensorView view = b->view(entry);
    ASSERT_EQ(mine->bytes(), view.bytes());
    size_t differ = 0;
    for (size_t i = 0; i < view.bytes(); ++i) differ += mine->data[i] != view.data[i] ? 1 : 0;
    // Maxima nested with an offset two units away may fall on the neighbouring code.
    bool nested_part = c.nested && entry.name.find("absmax") != std::string::npos;
    if (nested_part)
      EXPECT_LE(differ, view.bytes() / 4) << entry.name;
    else
      EXPECT_EQ(differ, 0u) << entry.name;
  }
  auto config = read_json_file(options.out + "/config.json");
  auto wanted = read_json_file(their_folder(c) + "/config.json");
  ASSERT_TRUE(config.ok() && wanted.ok());
  Json mine = (*config)["quantization_config"], peer = (*wanted)["quantization_config"];
  mine.erase("bnb_4bit_compute_dtype");  // a choice of the caller: ours is the model's dtype
  peer.erase("bnb_4bit_compute_dtype");
  EXPECT_TRUE(mine == peer) << mine.dump() << "\n" << peer.dump();
}

// Their quantized linears between the unquantized model's embeddings, norms and head: what the golden's
// logits were computed with (their own folder stores those in the model's dtype, bf16 for nf4).
void write_mixed_folder(const FolderCase& c, const std::string& folder) {
  auto base = SafetensorsFile::open(small_model() + "/model.safetensors");
  auto theirs = SafetensorsFile::open(their_folder(c) + "/model.safetensors");
  ASSERT_TRUE(base.ok() && theirs.ok());
  std::vector<NamedTensor> tensors;
  for (const SafetensorsEntry& entry : theirs->entries()) {
    bool quantized =
        is_quantization_tensor(entry.name) || entry.dtype == DType::u8 || entry.dtype == DType::i8;
    tensors.push_back({entry.name, quantized ? theirs->view(entry) : *base->get(entry.name)});
  }
  ASSERT_TRUE(make_directories(folder).ok());
  ASSERT_TRUE(write_safetensors(folder + "/model.safetensors", tensors).ok());
  ASSERT_TRUE(copy_file(their_folder(c) + "/config.json", folder + "/config.json").ok());
}

TEST_P(BitsandbytesFolder, TheirLinearsGiveTheirLogits) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  const FolderCase& c = GetParam();
  TemporaryFolder temporary;
  write_mixed_folder(c, temporary.file("mixed"));
  GoldenFile golden = GoldenFile::open("bitsandbytes/tiny_mistral_logits.safetensors");
  auto model = Model::load(temporary.file("mixed"), {});
  ASSERT_TRUE(model.ok()) << model.error().paragraph();
  std::vector<int32_t> ids = golden.values<int32_t>("input_ids");
  std::vector<float> expected = golden.f32("logits." + c.name + ".dequantised_weights_fp32_network");
  std::vector<float> logits(expected.size());
  std::vector<int64_t> rows(ids.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  SequenceInput input{ids, nullptr, rows};
  auto vocab = static_cast<size_t>((*model)->config().vocab);
  auto status = forward(**model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* values) {
    std::copy_n(values, static_cast<size_t>(count) * vocab,
                logits.begin() + first * static_cast<int64_t>(vocab));
  });
  ASSERT_TRUE(status.ok()) << status.error().paragraph();
  float top = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    top = std::max(top, std::fabs(expected[i]));
    worst = std::max(worst, std::fabs(expected[i] - logits[i]));
  }
  EXPECT_LE(worst, 1e-4f * top);
}

INSTANTIATE_TEST_SUITE_P(Goldens, BitsandbytesFolder,
                         ::testing::Values(FolderCase{"nf4", "nf4", "bf16", false},
                                           FolderCase{"nf4_double", "nf4", "bf16", true},
                                           FolderCase{"fp4_default", "fp4", "f16", false},
                                           FolderCase{"int8", "int8", "f16", false}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace bm::testing
