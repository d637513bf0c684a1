// Formats beyond AutoAWQ's and bitsandbytes' usual ones: whole-row groups, GEMVFast, GPTQ read, folders
// decoded.
#include <gtest/gtest.h>

#include <cstring>

#include "formats/checkpoint.h"
#include "model/model.h"
#include "model/quantized_linear.h"
#include "paths.h"
#include "quantization/gguf_export.h"
#include "quantization/quantize.h"
#include "tensor/awq_layout.h"
#include "tiny_model.h"

namespace bm::testing {
namespace {

QuantizeOptions options_for(const TemporaryFolder& folder, const std::string& method,
                            const std::string& out = "out") {
  QuantizeOptions options;
  options.model = folder.file("model");
  options.out = folder.file(out);
  options.method = method;
  options.group = 32;
  if (method.starts_with("awq")) {
    options.calibration = folder.file("text.jsonl");
    options.calibration_block = 16;
    options.samples = 8;
  }
  return options;
}

std::vector<float> decoded(const std::string& folder, const std::string& module) {
  auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.ok());
  auto linear = load_quantized_linear(*checkpoint, module, checkpoint->config()["quantization_config"]);
  EXPECT_TRUE(linear.ok()) << (linear.ok() ? "" : linear.error().paragraph());
  return linear.ok() ? linear->weight : std::vector<float>();
}

// The same codes whatever the layout: GEMVFast decodes to what GEMM decodes to.
TEST(OtherFormats, GemvFastHoldsTheSameWeightsAsGemm) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), {.hidden = 128, .intermediate = 256});
  write_id_lines(folder.file("text.jsonl"), 10, 12, 96);
  QuantizeOptions gemm = options_for(folder, "awq-gemm", "gemm"),
                  fast = options_for(folder, "awq-gemv-fast", "fast");
  gemm.group = fast.group = 128;
  ASSERT_TRUE(quantize(gemm, {}).ok());
  auto report = quantize(fast, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  for (const char* module : {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"}) {
    auto a = decoded(gemm.out, module), b = decoded(fast.out, module);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i)
      ASSERT_NEAR(a[i], b[i], 2e-3f * std::abs(a[i]) + 1e-6f) << module << " " << i;
  }
}

TEST(OtherFormats, AWholeRowIsAGroup) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), {});
  write_id_lines(folder.file("text.jsonl"), 10, 12, 96);
  QuantizeOptions options = options_for(folder, "awq-gemm");
  options.group = 0;
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto config = read_json_file(folder.file("out/config.json"));
  EXPECT_EQ((*config)["quantization_config"]["group_size"].as_int(), -1);
  auto checkpoint = Checkpoint::open(options.out);
  EXPECT_EQ(checkpoint->get("model.layers.0.mlp.down_proj.scales")->shape, (Shape{1, 64}));
  EXPECT_TRUE(Model::load(options.out, {}).ok());
  QuantizeOptions again = options_for(folder, "awq-gemv", "again");
  again.group = 0;
  again.calibration = "";
  again.search_from = options.out;
  EXPECT_TRUE(quantize(again, {}).ok());
}

// GPTQ's files have the layout that AutoAWQ's repacking for ExLlama gives (golden/quantization/awq_packing),
// so the same codes must decode to the same weights, with and without act-order.
TEST(OtherFormats, GptqReadsWhatItsLayoutHolds) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), {});
  ASSERT_TRUE(quantize(options_for(folder, "rtn", "awq"), {}).ok());
  auto from = Checkpoint::open(folder.file("awq"));
  ASSERT_TRUE(from.ok());
  for (bool shuffled : {false, true}) {
    std::string out = folder.file(shuffled ? "gptq-shuffled" : "gptq");
    std::vector<NamedTensor> tensors;
    std::vector<Tensor> keep;
    auto add = [&](const std::string& name, DType dtype, Shape shape, const void* data) {
      Tensor tensor(dtype, std::move(shape));
      std::memcpy(tensor.data(), data, tensor.bytes());
      tensors.push_back({name, tensor.view()});
      keep.push_back(std::move(tensor));
    };
    for (const std::string& name : from->names()) {
      auto stored = from->get(name);
      if (!is_quantization_tensor(name)) add(name, stored->view.dtype, stored->shape, stored->view.data);
      if (!name.ends_with(".qweight")) continue;
      std::string module = name.substr(0, name.size() - 8);
      AwqPacked packed;
      packed.columns = stored->shape[0];
      packed.rows = stored->shape[1] * 8;
      packed.group = 32;
      auto copy = [&](const std::string& part, auto& values) {
        auto tensor = from->get(module + part);
        values.resize(static_cast<size_t>(tensor->view.count()));
        std::memcpy(values.data(), tensor->view.data, tensor->view.bytes());
      };
      copy(".qweight", packed.qweight);
      copy(".qzeros", packed.qzeros);
      copy(".scales", packed.scales);
      AwqCodes codes = awq_unpack(packed);
      std::vector<int32_t> groups(static_cast<size_t>(codes.columns));
      for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<int32_t>(i / 32);
      if (shuffled) {  // inputs 0 and 40 change places, and their groups with them
        for (int64_t r = 0; r < codes.rows; ++r)
          std::swap(codes.codes[static_cast<size_t>(r * codes.columns)],
                    codes.codes[static_cast<size_t>(r * codes.columns + 40)]);
        std::swap(groups[0], groups[40]);
      }
      ExllamaPacked words = awq_to_exllama(codes, false);
      int64_t rows = codes.rows, columns = codes.columns;
      add(module + ".qweight", DType::i32, {columns / 8, rows}, words.qweight.data());
      add(module + ".qzeros", DType::i32, {columns / 32, rows / 8}, words.qzeros.data());
      add(module + ".scales", DType::f16, {columns / 32, rows}, packed.scales.data());
      add(module + ".g_idx", DType::i32, {columns}, groups.data());
    }
    Json config = from->config();
    config.set(
        "quantization_config",
        Json::object({{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}, {"desc_act", shuffled}}));
    ASSERT_TRUE(make_directories(out).ok());
    ASSERT_TRUE(write_safetensors(out + "/model.safetensors", tensors).ok());
    ASSERT_TRUE(write_file_atomic(out + "/config.json", config.dump_pretty()).ok());
    std::string module = "model.layers.1.mlp.gate_proj";
    auto a = decoded(folder.file("awq"), module), b = decoded(out, module);
    ASSERT_EQ(a.size(), b.size());
    if (shuffled)
      for (size_t r = 0; r < 128; ++r) std::swap(b[r * 64], b[r * 64 + 40]);
    EXPECT_EQ(a, b);
    EXPECT_TRUE(Model::load(out, {}).ok());
  }
}

// What a quantized folder stands for, dense: the same weights as its own reader gives.
TEST(OtherFormats, AQuantizedFolderIsDecoded) {
  for (const char* method : {"nf4", "int8", "rtn", "w4a16", "w8a8"}) {
    TemporaryFolder folder;
    write_tiny_model(folder.file("model"), {.dtype = DType::bf16});
    ASSERT_TRUE(quantize(options_for(folder, method), {}).ok()) << method;
    ConvertOptions options;
    options.model = folder.file("out");
    options.out = folder.file("dense");
    options.dtype = "f32";
    auto report = convert_any(options, {});
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    auto dense = Checkpoint::open(options.out);
    ASSERT_TRUE(dense.ok());
    EXPECT_TRUE(dense->config()["quantization_config"].is_null());
    std::string module = "model.layers.0.mlp.up_proj";
    EXPECT_EQ(*dense->get_f32(module + ".weight"), decoded(folder.file("out"), module)) << method;
    EXPECT_TRUE(Model::load(options.out, {}).ok());
  }
}

TEST(OtherFormats, CompressedGroupsOfZerosAndOutliers) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), {}, [](const std::string& name, std::vector<float>& values) {
    if (name != "model.layers.0.self_attn.q_proj.weight") return;
    for (size_t i = 0; i < 32; ++i) values[i] = 0;        // a group of zeros
    for (size_t i = 32; i < 64; ++i) values[i] = 0.25f;   // constant
    for (size_t i = 64; i < 96; ++i) values[i] = 1e-40f;  // subnormal
    values[70] = 4;                                       // and one outlier
  });
  ASSERT_TRUE(quantize(options_for(folder, "w4a16"), {}).ok());
  auto w = decoded(folder.file("out"), "model.layers.0.self_attn.q_proj");
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(w[i], 0) << i;
  for (size_t i = 32; i < 64; ++i) EXPECT_NEAR(w[i], 0.25f, 0.02f) << i;
  EXPECT_NEAR(w[70], 4, 0.3);
  EXPECT_EQ(w[71], 0);
}

}  // namespace
}  // namespace bm::testing
