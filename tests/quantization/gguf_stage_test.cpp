// GGUF written: types per tensor, values, metadata, tokenizer, importance, what is refused.
#include <gtest/gtest.h>

#include <limits>

#include "base/threads.h"
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "model/model.h"
#include "paths.h"
#include "quantization/gguf_export.h"
#include "tiny_model.h"
#include "tokenizer/tokenizer.h"

namespace bm::testing {
namespace {

TinyModel wide(bool tied = false) {
  return {
      .vocab = 96, .hidden = 256, .intermediate = 512, .layers = 3, .heads = 4, .kv_heads = 2, .tied = tied};
}

QuantizeOptions options_for(const TemporaryFolder& folder, const std::string& method,
                            const std::string& out = "out.gguf") {
  QuantizeOptions options;
  options.model = folder.file("model");
  options.out = folder.file(out);
  options.method = method;
  return options;
}

std::string type_of(const GgufFile& file, const std::string& name) {
  const GgufTensor* tensor = file.find(name);
  return tensor ? ggml_type_name(tensor->type) : "missing";
}

double relative_rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double miss = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += miss * miss;
    norm += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return std::sqrt(sum / norm);
}

TEST(GgufTypes, MixesGiveMoreBitsWhereLlamaCppDoes) {
  // i < n/8, i >= 7n/8, every third between; integer division.
  std::string more;
  for (int64_t layer = 0; layer < 30; ++layer) more += uses_more_bits(layer, 30) ? '1' : '0';
  EXPECT_EQ(more, "111001001001001001001001001111");
  auto mix = gguf_mix("q4_k_m");
  ASSERT_TRUE(mix.has_value());
  auto type = [&](std::string_view name, int64_t layer, int64_t columns, bool head = false) {
    return choose_gguf_type(*mix, {name, layer, 30, columns, head, false}).type.name();
  };
  EXPECT_EQ(type("blk.0.attn_v.weight", 0, 512), "Q6_K");
  EXPECT_EQ(type("blk.3.attn_v.weight", 3, 512), "Q4_K");
  EXPECT_EQ(type("blk.5.ffn_down.weight", 5, 1536), "Q6_K");
  EXPECT_EQ(type("blk.5.ffn_up.weight", 5, 512), "Q4_K");
  EXPECT_EQ(type("output.weight", -1, 512, true), "Q6_K");
  EXPECT_EQ(type("token_embd.weight", -1, 512), "Q4_K");
  EXPECT_EQ(type("blk.3.attn_v.weight", 3, 576), "Q5_0");
  EXPECT_EQ(type("blk.0.attn_v.weight", 0, 576), "Q8_0");
  EXPECT_EQ(type("output.weight", -1, 576, true), "Q8_0");
  EXPECT_EQ(type("blk.3.attn_q.weight", 3, 80), "F16");
}

TEST(GgufTypes, SymmetricFormatsAreSparedInTheFirstLayersOfAnImportanceMatrix) {
  GgufTensorPlace place{"blk.0.ffn_down.weight", 0, 32, 512, false, true};
  EXPECT_EQ(choose_gguf_type(*gguf_mix("q4_0"), place).type.name(), "Q4_1");
  EXPECT_EQ(choose_gguf_type(*gguf_mix("q5_0"), place).type.name(), "Q5_1");
  place.has_importance = false;
  EXPECT_EQ(choose_gguf_type(*gguf_mix("q4_0"), place).type.name(), "Q4_0");
}

class EveryGguf : public ::testing::TestWithParam<std::pair<const char*, double>> {};

TEST_P(EveryGguf, ReadsBackCloseAndTheSameForAnyThreads) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), wide());
  auto [method, worst] = GetParam();
  auto report = quantize(options_for(folder, method), {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->quantized, 3 * 7 + 2);  // embedding and head too
  auto from = Checkpoint::open(folder.file("model")), to = Checkpoint::open(folder.file("out.gguf"));
  ASSERT_TRUE(to.ok()) << to.error().paragraph();
  for (const std::string& name : from->names()) {
    auto a = from->get_f32(name), b = to->get_f32(name);
    ASSERT_TRUE(b.ok()) << b.error().paragraph();
    bool vector = from->get(name)->shape.size() == 1;
    EXPECT_LE(relative_rms(*a, *b), vector ? 0 : worst) << name;
  }
  EXPECT_TRUE(Model::load(folder.file("out.gguf"), {}).ok());
  auto again = quantize(options_for(folder, method), {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
  set_thread_count(3);
  ASSERT_TRUE(quantize(options_for(folder, method, "again.gguf"), {}).ok());
  set_thread_count(0);
  EXPECT_EQ(*read_file(folder.file("again.gguf")), *read_file(folder.file("out.gguf")));
}
INSTANTIATE_TEST_SUITE_P(Methods, EveryGguf,
                         ::testing::Values(std::pair("q8_0", 0.012), std::pair("q4_0", 0.12),
                                           std::pair("q4_1", 0.1), std::pair("q5_0", 0.06),
                                           std::pair("q5_1", 0.05), std::pair("q4_k", 0.08),
                                           std::pair("q5_k", 0.045), std::pair("q6_k", 0.026),
                                           std::pair("q4_k_m", 0.08), std::pair("q5_k_m", 0.045)));

TEST(Gguf, ATiedHeadIsTheEmbeddingInTheHeadsType) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), wide(true));
  ASSERT_TRUE(quantize(options_for(folder, "q4_k_m"), {}).ok());
  auto file = GgufFile::open(folder.file("out.gguf"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(type_of(*file, "output.weight"), "missing");
  EXPECT_EQ(type_of(*file, "token_embd.weight"), "Q6_K");
  EXPECT_EQ(type_of(*file, "blk.1.attn_norm.weight"), "F32");
  EXPECT_EQ(file->metadata()["general.file_type"].as_int(), 15);
}

TEST(Gguf, RowsThatDoNotFitAreSaidAndSkippedModulesStayHalf) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), {.hidden = 64, .intermediate = 128});
  QuantizeOptions options = options_for(folder, "q4_k");
  options.skip = {"down_proj"};
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto file = GgufFile::open(options.out);
  EXPECT_EQ(type_of(*file, "blk.0.attn_q.weight"), "Q5_0");
  EXPECT_EQ(type_of(*file, "blk.0.ffn_down.weight"), "F16");
  bool said = false;
  for (const SkippedModule& other : report->other_types)
    said |= other.name == "blk.0.attn_q.weight" && other.reason.find("64") != std::string::npos;
  EXPECT_TRUE(said);
  options.skip = {"no_such"};
  options.out = folder.file("other.gguf");
  EXPECT_FALSE(quantize(options, {}).ok());
  EXPECT_FALSE(exists(options.out));
}

TEST(Gguf, RefusesWhatFloat16AndNumbersCannotHold) {
  for (float bad : {7e4f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    TemporaryFolder folder;
    write_tiny_model(folder.file("model"), wide(), [&](const std::string& name, std::vector<float>& values) {
      if (name == "model.layers.1.mlp.up_proj.weight") values[300] = bad;
    });
    for (const char* method : {"q8_0", "q4_k"}) {
      auto report = quantize(options_for(folder, method), {});
      ASSERT_FALSE(report.ok());
      EXPECT_NE(report.error().paragraph().find("layers.1.mlp.up_proj"), std::string::npos);
      EXPECT_FALSE(exists(folder.file("out.gguf")));
    }
  }
}

TEST(Gguf, AnotherRunsFileIsNotOverwritten) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), wide());
  ASSERT_TRUE(quantize(options_for(folder, "q8_0"), {}).ok());
  std::string before = *read_file(folder.file("out.gguf"));
  EXPECT_FALSE(quantize(options_for(folder, "q4_0"), {}).ok());
  EXPECT_EQ(*read_file(folder.file("out.gguf")), before);
  CommonOptions common;
  common.overwrite = true;
  EXPECT_TRUE(quantize(options_for(folder, "q4_0"), common).ok());
  ASSERT_TRUE(write_file_atomic(folder.file("mine.gguf"), "x").ok());
  EXPECT_FALSE(quantize(options_for(folder, "q8_0", "mine.gguf"), {}).ok());
}

TEST(Gguf, AFolderHoldsFileCardAndManifest) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), wide());
  ASSERT_TRUE(quantize(options_for(folder, "q5_k", "out"), {}).ok());
  for (const char* name : {"model.gguf", "README.md", "manifest.json"})
    EXPECT_TRUE(exists(folder.file(std::string("out/") + name))) << name;
  EXPECT_TRUE(Model::load(folder.file("out"), {}).ok());
}

// Output errors of all linears on fresh inputs of the same kind, summed.
double loss_between(const std::string& reference, const std::string& other) {
  auto a = Model::load(reference, {}), b = Model::load(other, {});
  EXPECT_TRUE(a.ok() && b.ok());
  double sum = 0;
  for (int32_t start = 3; start < 40; start += 4) {
    std::vector<int32_t> tokens = {1, start, start + 7, start + 3, start + 11, start + 2};
    std::vector<int64_t> rows = {1, 2, 3, 4, 5};
    std::vector<float> logits[2];
    for (int i = 0; i < 2; ++i) {
      SequenceInput input{tokens, nullptr, rows};
      auto status =
          forward(i == 0 ? **a : **b, {&input, 1}, [&](size_t, int64_t, int64_t count, const float* v) {
            logits[i].insert(logits[i].end(), v, v + count * (*a)->config().vocab);
          });
      EXPECT_TRUE(status.ok());
    }
    sum += relative_rms(logits[0], logits[1]);
  }
  return sum;
}

TEST(Gguf, ImportanceLowersTheLossOfTheLogits) {
  TemporaryFolder folder;
  write_tiny_model(folder.file("model"), wide());
  write_id_lines(folder.file("text.jsonl"), 40, 16, 96);
  ASSERT_TRUE(quantize(options_for(folder, "q4_k", "plain.gguf"), {}).ok());
  QuantizeOptions weighted = options_for(folder, "q4_k", "weighted.gguf");
  weighted.calibration = folder.file("text.jsonl");
  weighted.calibration_block = 16;
  auto report = quantize(weighted, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  double plain = loss_between(folder.file("model"), folder.file("plain.gguf"));
  double better = loss_between(folder.file("model"), folder.file("weighted.gguf"));
  EXPECT_LT(better, plain);
  QuantizeOptions legacy = options_for(folder, "q8_0", "legacy.gguf");
  legacy.calibration = weighted.calibration;
  EXPECT_FALSE(quantize(legacy, {}).ok());  // would have no effect
}

TEST(Gguf, TheTokenizerReadsTheSame) {
  TemporaryFolder folder;
  std::string model = source_path("data/demo/stories260k");
  ConvertOptions options;
  options.model = model;
  options.to = "gguf";
  options.dtype = "f16";
  options.out = folder.file("s.gguf");
  auto report = convert_any(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto file = GgufFile::open(options.out);
  ASSERT_TRUE(file.ok());
  auto before = Tokenizer::load(model), after = Tokenizer::from_gguf(file->metadata());
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(after.ok()) << after.error().paragraph();
  for (const char* text :
       {"Once upon a time, there was a little girl.", " leading", "na\xc3\xafve \xe7\xb3\x96 5 mg\n\n", "",
        "a  b   c", "Patients (n = 12) had p < 0.05"})
    EXPECT_EQ((*before)->encode(text), (*after)->encode(text)) << text;
  // And back into a folder.
  ConvertOptions back;
  back.model = options.out;
  back.out = folder.file("back");
  ASSERT_TRUE(convert_any(back, {}).ok());
  auto folder_tokenizer = Tokenizer::load(back.out);
  ASSERT_TRUE(folder_tokenizer.ok()) << folder_tokenizer.error().paragraph();
  EXPECT_EQ((*before)->encode("Lily and Tom went home."),
            (*folder_tokenizer)->encode("Lily and Tom went home."));
  auto a = Checkpoint::open(model), b = Checkpoint::open(back.out);
  auto x = a->get_f32("model.layers.1.self_attn.q_proj.weight");
  auto y = b->get_f32("model.layers.1.self_attn.q_proj.weight");
  for (size_t i = 0; i < x->size(); ++i) ASSERT_EQ(round_to_f16((*x)[i]), (*y)[i]) << i;
}

}  // namespace
}  // namespace bm::testing
