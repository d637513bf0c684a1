// The quantize stage end to end on small random models: what it writes loads and runs; what it cannot do it
// says by name; interrupted and repeated runs give the same bytes.
#include <gtest/gtest.h>

#include <limits>

#include "base/log.h"
#include "base/threads.h"
#include "model/model.h"
#include "model/quantized_linear.h"
#include "paths.h"
#include "quantization/quantize.h"
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
    options.calibration = folder.file("calibration.jsonl");
    options.calibration_block = 16;
    options.samples = 12;
  }
  return options;
}

void prepare(const TemporaryFolder& folder, const TinyModel& model = {}, const Edit& edit = {}) {
  write_tiny_model(folder.file("model"), model, edit);
  write_id_lines(folder.file("calibration.jsonl"), 14, 12, model.vocab);
}

std::vector<float> last_logits(const std::string& folder) {
  auto model = Model::load(folder, {});
  EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().paragraph());
  if (!model.ok()) return {};
  std::vector<int32_t> tokens = {1, 5, 9, 33, 4, 60};
  std::vector<int64_t> rows = {5};
  std::vector<float> logits;
  SequenceInput input{tokens, nullptr, rows};
  auto status = forward(**model, {&input, 1}, [&](size_t, int64_t, int64_t, const float* values) {
    logits.assign(values, values + (*model)->config().vocab);
  });
  EXPECT_TRUE(status.ok());
  return logits;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0, norm = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    sum += (static_cast<double>(a[i]) - static_cast<double>(b[i])) *
           (static_cast<double>(a[i]) - static_cast<double>(b[i]));
    norm += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return std::sqrt(sum / norm);
}

std::string weights_of(const std::string& folder) { return read_file(folder + "/model.safetensors").value(); }

class EveryMethod : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryMethod, TheFolderLoadsAndIsCloseToTheOriginal) {
  for (bool tied : {false, true}) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      TemporaryFolder folder;
      prepare(folder, {.tied = tied, .dtype = dtype});
      auto report = quantize(options_for(folder, GetParam()), {});
      ASSERT_TRUE(report.ok()) << report.error().paragraph();
      EXPECT_EQ(report->quantized, 14);
      EXPECT_TRUE(report->skipped.empty());
      EXPECT_TRUE(report->unscaled.empty());
      std::vector<float> before = last_logits(folder.file("model")), after = last_logits(folder.file("out"));
      ASSERT_EQ(before.size(), after.size());
      EXPECT_LT(distance(before, after), GetParam() == "int8" || GetParam() == "w8a8" ? 0.05
                                         : GetParam() == "fp4"                        ? 0.7
                                                                                      : 0.5);
      EXPECT_GT(distance(before, after), 0.0);
      EXPECT_TRUE(exists(folder.file("out/README.md")));
      auto manifest = read_manifest(folder.file("out"));
      ASSERT_TRUE(manifest.ok());
      EXPECT_EQ((*manifest)["results"]["quantized_linears"].as_int(), 14);
      EXPECT_FALSE(exists(folder.file("out/search")));
    }
  }
}

TEST_P(EveryMethod, SameBytesForAnyThreadsAndAgain) {
  TemporaryFolder folder;
  prepare(folder);
  set_thread_count(1);
  ASSERT_TRUE(quantize(options_for(folder, GetParam(), "one"), {}).ok());
  set_thread_count(3);
  auto three = quantize(options_for(folder, GetParam(), "three"), {});
  set_thread_count(0);
  ASSERT_TRUE(three.ok());
  EXPECT_TRUE(weights_of(folder.file("one")) == weights_of(folder.file("three")));
  auto again = quantize(options_for(folder, GetParam(), "three"), {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod,
                         ::testing::Values("nf4", "fp4", "int8", "rtn", "awq-gemm", "awq-gemv", "w4a16",
                                           "w8a8"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

TEST(Quantize, SizesAFormatCannotHoldAreLeftRecordedAndSaid) {
  // As stories260k: a feed-forward of 172 fits no AWQ group and no word of 8 outputs.
  TemporaryFolder folder;
  prepare(folder, {.intermediate = 172});
  auto options = options_for(folder, "awq-gemm");
  options.group = 64;
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->quantized, 8);
  ASSERT_EQ(report->skipped.size(), 6u);
  EXPECT_NE(report->skipped[0].reason.find("172"), std::string::npos);
  auto config = read_json_file(folder.file("out/config.json"));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["quantization_config"]["modules_to_not_convert"].dump(),
            R"(["mlp.gate_proj","mlp.up_proj","mlp.down_proj"])");
  EXPECT_LT(distance(last_logits(folder.file("model")), last_logits(folder.file("out"))), 0.5);
}

TEST(Quantize, AGroupThatHoldsOnlyAPartIsRefusedWithThoseThatFit) {
  TemporaryFolder folder;  // SmolLM2's shape in small: 192 inputs, no multiple of 128
  prepare(folder, {.hidden = 192, .intermediate = 256, .layers = 1});
  auto options = options_for(folder, "rtn");
  options.group = 128;
  auto report = quantize(options, {});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), Code::bad_input);
  EXPECT_NE(report.error().paragraph().find("--group 64"), std::string::npos) << report.error().paragraph();
  EXPECT_FALSE(exists(folder.file("out")));
}

TEST(Quantize, SkippedModulesStayAndStandInTheConfig) {
  TemporaryFolder folder;
  prepare(folder);
  auto options = options_for(folder, "int8");
  options.skip = {"model.layers.0.mlp", "o_proj"};
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->quantized, 14 - 3 - 2);
  auto config = read_json_file(folder.file("out/config.json"));
  ASSERT_TRUE(config.ok());
  Json skip = (*config)["quantization_config"]["llm_int8_skip_modules"];
  ASSERT_EQ(skip.size(), 6u);
  EXPECT_EQ(skip[0].as_string(), "lm_head");
  auto before = Checkpoint::open(folder.file("model")), after = Checkpoint::open(folder.file("out"));
  ASSERT_TRUE(before.ok() && after.ok());
  std::string name = "model.layers.0.mlp.up_proj.weight";
  EXPECT_EQ(*before->get_f32(name), *after->get_f32(name));
  options.skip = {"no_such_module"};
  options.out = folder.file("other");
  auto refused = quantize(options, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().paragraph().find("no_such_module"), std::string::npos);
}

TEST(Quantize, WeightsThatAreNotFiniteAreNamed) {
  for (const char* method : {"nf4", "int8", "rtn", "awq-gemm"}) {
    TemporaryFolder folder;
    prepare(folder, {}, [](const std::string& tensor, std::vector<float>& values) {
      if (tensor == "model.layers.1.mlp.up_proj.weight")
        values[64 * 3 + 17] = std::numeric_limits<float>::quiet_NaN();
    });
    auto report = quantize(options_for(folder, method), {});
    ASSERT_FALSE(report.ok()) << method;
    std::string text = report.error().paragraph();
    EXPECT_NE(text.find("model.layers.1.mlp.up_proj.weight"), std::string::npos) << text;
    EXPECT_NE(text.find("element 209"), std::string::npos) << text;  // row 3, column 17 of 64
  }
}

TEST(Quantize, Int8RefusesWhatFloat16CannotHold) {
  TemporaryFolder folder;
  prepare(folder, {.dtype = DType::bf16}, [](const std::string& tensor, std::vector<float>& values) {
    if (tensor == "model.layers.0.self_attn.q_proj.weight") values[5] = 1e6f;
  });
  auto report = quantize(options_for(folder, "int8"), {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().paragraph().find("beyond float16"), std::string::npos)
      << report.error().paragraph();
}

TEST(Quantize, BadOptionsAreRefusedBeforeAnythingIsWritten) {
  TemporaryFolder folder;
  prepare(folder);
  auto expect_refused = [&](QuantizeOptions options, const std::string& part) {
    options.out = folder.file("refused");
    auto report = quantize(options, {});
    ASSERT_FALSE(report.ok()) << part;
    EXPECT_EQ(report.error().code(), Code::bad_input);
    EXPECT_NE(report.error().paragraph().find(part), std::string::npos) << report.error().paragraph();
    EXPECT_FALSE(exists(folder.file("refused"))) << part;
  };
  auto nf4 = options_for(folder, "nf4"), awq = options_for(folder, "awq-gemm");
  auto with = [](QuantizeOptions options, const auto& change) {
    change(options);
    return options;
  };
  expect_refused(with(nf4, [](auto& o) { o.method = "nf5"; }), "did you mean nf4");
  expect_refused(with(nf4, [](auto& o) { o.block = 48; }), "--block 48");
  expect_refused(with(nf4, [](auto& o) { o.dtype = "int4"; }), "--dtype int4");
  expect_refused(with(nf4, [](auto& o) { o.calibration = "x"; }), "--calibration");
  expect_refused(with(awq, [](auto& o) { o.calibration = ""; }), "needs text to search on");
  expect_refused(with(awq, [](auto& o) { o.double_quant = true; }), "--double-quant");
  expect_refused(with(awq, [](auto& o) { o.grid = 0; }), "--grid 0");
  expect_refused(with(awq, [](auto& o) { o.group = -1; }), "--group -1");
  expect_refused(with(nf4, [&](auto& o) { o.model = folder.file("nowhere"); }), "nowhere");
}

TEST(Quantize, CalibrationTextThatIsTooShortOrForeignIsRefused) {
  TemporaryFolder folder;
  prepare(folder);
  auto options = options_for(folder, "awq-gemm");
  options.calibration_block = 4;  // every sample is longer
  auto dropped = quantize(options, {});
  ASSERT_FALSE(dropped.ok());
  EXPECT_NE(dropped.error().paragraph().find("14 longer than a block were dropped"), std::string::npos)
      << dropped.error().paragraph();
  ASSERT_TRUE(write_file_atomic(folder.file("calibration.jsonl"), "{\"ids\": [1, 5000]}\n").ok());
  options.out = folder.file("other");
  auto foreign = quantize(options, {});
  ASSERT_FALSE(foreign.ok());
  EXPECT_NE(foreign.error().paragraph().find("id 5000 is outside the vocabulary of 96"), std::string::npos);
}

TEST(Quantize, DryRunWritesNothing) {
  TemporaryFolder folder;
  prepare(folder);
  CommonOptions common;
  common.dry_run = true;
  auto report = quantize(options_for(folder, "nf4"), common);
  ASSERT_TRUE(report.ok());
  EXPECT_GT(report->bytes_after, 0u);
  EXPECT_LT(report->bytes_after, report->bytes_before);
  EXPECT_FALSE(exists(folder.file("out")));
}

TEST(Awq, ASearchIsPackedAgainWithoutSearching) {
  TemporaryFolder folder;
  prepare(folder);
  ASSERT_TRUE(quantize(options_for(folder, "awq-gemm"), {}).ok());
  auto again = options_for(folder, "awq-gemm", "again");
  again.calibration.clear();
  again.search_from = folder.file("out");
  auto report = quantize(again, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_TRUE(weights_of(folder.file("out")) == weights_of(folder.file("again")));
  auto gemv = options_for(folder, "awq-gemv", "gemv");
  gemv.calibration.clear();
  gemv.search_from = folder.file("out");
  ASSERT_TRUE(quantize(gemv, {}).ok());
  EXPECT_EQ(last_logits(folder.file("gemv")),
            last_logits(folder.file("out")));  // the same codes, laid out otherwise
  gemv.group = 64;
  gemv.out = folder.file("other");
  auto refused = quantize(gemv, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().paragraph().find("give --group 32"), std::string::npos);
}

TEST(Awq, AnUnfinishedSearchGoesOnWhereItStopped) {
  TemporaryFolder folder;
  prepare(folder);
  ASSERT_TRUE(quantize(options_for(folder, "awq-gemm"), {}).ok());
  // What a run killed after its first layer leaves: the manifest, one layer's search, no weights.
  auto options = options_for(folder, "awq-gemm", "resumed");
  ASSERT_TRUE(quantize(options, {}).ok());
  auto manifest = read_json_file(folder.file("resumed/manifest.json"));
  ASSERT_TRUE(manifest.ok());
  manifest->set("status", "running");
  ASSERT_TRUE(write_file_atomic(folder.file("resumed/manifest.json"), manifest->dump_pretty()).ok());
  for (const char* name : {"model.safetensors", "awq_search.safetensors", "awq_search.json", "README.md"})
    ASSERT_TRUE(remove_all(folder.file(std::string("resumed/") + name)).ok());
  // Layer 0 of the finished search as the layer file: other losses, so that using it can be seen.
  auto search = read_json_file(folder.file("out/awq_search.json"));
  ASSERT_TRUE(search.ok());
  Json layer = Json::object({{"scaling", Json::array()}});
  Json first = Json::array();
  for (const Json& group : (*search)["scaling"].items())
    if (group["previous"].as_string().find("layers.0.") != std::string::npos) {
      Json marked = group;
      marked.set("output_mean_square", 12345.0);
      first.push_back(marked);
    }
  layer.set("scaling", first);
  ASSERT_TRUE(make_directories(folder.file("resumed/search")).ok());
  ASSERT_TRUE(write_file_atomic(folder.file("resumed/search/layer-0.json"), layer.dump()).ok());
  auto all = SafetensorsFile::open(folder.file("out/awq_search.safetensors"));
  ASSERT_TRUE(all.ok());
  std::vector<NamedTensor> tensors;
  for (const SafetensorsEntry& entry : all->entries())
    if (entry.name.find("layers.0.") != std::string::npos) tensors.push_back({entry.name, all->view(entry)});
  ASSERT_TRUE(write_safetensors(folder.file("resumed/search/layer-0.safetensors"), tensors).ok());

  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_TRUE(weights_of(folder.file("out")) == weights_of(folder.file("resumed")));
  auto resumed = read_json_file(folder.file("resumed/awq_search.json"));
  ASSERT_TRUE(resumed.ok());
  EXPECT_EQ((*resumed)["scaling"][0]["output_mean_square"].as_double(), 12345.0);
  EXPECT_NE((*resumed)["scaling"][(*resumed)["scaling"].size() - 1]["output_mean_square"].as_double(),
            12345.0);
}

TEST(Awq, TheSearchIsNotWorseThanRounding) {
  TemporaryFolder folder;
  prepare(folder);
  ASSERT_TRUE(quantize(options_for(folder, "rtn", "rtn"), {}).ok());
  ASSERT_TRUE(quantize(options_for(folder, "awq-gemm", "awq"), {}).ok());
  auto search = read_json_file(folder.file("awq/awq_search.json"));
  ASSERT_TRUE(search.ok());
  for (const Json& group : (*search)["scaling"].items()) {
    double identity = group["identity_loss"].as_double(), best = identity;
    ASSERT_EQ(group["losses"].size(), 20u);
    for (const Json& loss : group["losses"].items()) best = std::min(best, loss.as_double());
    if (group["ratio"].is_null()) {
      EXPECT_EQ(best, identity);
    } else {
      auto step = static_cast<size_t>(std::lround(group["ratio"].as_double() * 20));
      EXPECT_EQ(group["losses"][step].as_double(), best);
    }
  }
}

TEST(Quality, IsMeasuredAndWritten) {
  TemporaryFolder folder;
  prepare(folder);
  auto options = options_for(folder, "int8");
  options.quality = folder.file("calibration.jsonl");
  auto report = quantize(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto quality = read_json_file(folder.file("out/quality.json"));
  ASSERT_TRUE(quality.ok());
  EXPECT_EQ((*quality)["tokens"].as_int(), 14 * 11);
  EXPECT_NEAR((*quality)["perplexity_quantized"].as_double() / (*quality)["perplexity_original"].as_double(),
              1.0, 0.05);
  EXPECT_GT((*quality)["kl_mean"].as_double(), 0.0);
  EXPECT_LE((*quality)["kl_mean"].as_double(), (*quality)["kl_max"].as_double());
  EXPECT_GE((*quality)["top_token_agreement"].as_double(), 0.8);
}

}  // namespace
}  // namespace bm::testing
