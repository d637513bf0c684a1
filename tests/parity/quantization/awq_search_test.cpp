// AutoAWQ's whole search, in mode peer: scales, losses, ratios, clips, and the folder it ends in.
// Tolerances are those of golden/quantization/SOURCE.txt.
#include "quantization/awq_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "formats/jsonl.h"
#include "golden.h"
#include "model/block.h"
#include "model/model.h"
#include "model/quantized_linear.h"
#include "quantization/awq_stage.h"
#include "quantization/quantize.h"
#include "quantization/source.h"
#include "tensor/awq_layout.h"

namespace bm::testing {
namespace {

struct SearchCase {
  std::string name, root, model, search_dtype, dtype, method;
  int64_t group, block, samples;
  bool duo, clip, folder;
};

const SearchCase kFp32Duo{"fp32_duo", "awq_search", "tiny_mistral", "f32", "f32", "awq-gemm", 128,
                          128,        36,           true,           true,  true};
const SearchCase kFp32XOnly{"fp32_x_only", "awq_search", "tiny_mistral", "f32", "f32", "awq-gemm", 128,
                            128,           36,           false,          true,  false};
const SearchCase kFp32NoClip{"fp32_duo_without_clip",
                             "awq_search",
                             "tiny_mistral",
                             "f32",
                             "f32",
                             "awq-gemm",
                             128,
                             128,
                             36,
                             true,
                             false,
                             false};
const SearchCase kFp16Duo{"fp16_duo", "awq_search", "tiny_mistral", "f16", "f16", "awq-gemm", 128,
                          128,        36,           true,           true,  true};
const SearchCase kMultiHead{"fp32_duo",
                            "multi_head/awq_search",
                            "tiny_mistral_multi_head",
                            "f32",
                            "f32",
                            "awq-gemm",
                            64,
                            64,
                            16,
                            true,
                            true,
                            true};
const SearchCase kMultiHeadGemv{"fp16_duo_gemv",
                                "multi_head/awq_search",
                                "tiny_mistral_multi_head",
                                "f16",
                                "f16",
                                "awq-gemv",
                                64,
                                64,
                                16,
                                true,
                                true,
                                true};

std::string golden_root(const SearchCase& c) { return shared_path("golden/quantization/" + c.root); }

Json read_json(const std::string& path) {
  auto json = read_json_file(path);
  if (!json) throw std::runtime_error(json.error().paragraph());
  return *json;
}

// The golden's ragged samples as the JSON lines --calibration reads.
std::string write_calibration(const SearchCase& c, const TemporaryFolder& folder) {
  Json calibration = read_json(golden_root(c) + "/calibration.json");
  std::string text;
  for (const Json& sample : calibration["samples"].items())
    text += Json::object({{"ids", sample}}).dump() + "\n";
  std::string path = folder.file("calibration.jsonl");
  EXPECT_TRUE(write_file_atomic(path, text).ok());
  return path;
}

QuantizeReport run(const SearchCase& c, const TemporaryFolder& folder) {
  QuantizeOptions options;
  options.model = shared_path("golden/quantization/" + c.model);
  options.out = folder.file("out");
  options.method = c.method;
  options.group = c.group;
  options.calibration = write_calibration(c, folder);
  options.calibration_block = c.block;
  options.samples = c.samples;
  options.search_dtype = c.search_dtype;
  options.dtype = c.dtype;
  options.duo_scaling = c.duo;
  options.clip = c.clip;
  CommonOptions common;
  common.mode = "peer";
  auto report = quantize(options, common);
  if (!report) throw std::runtime_error(report.error().paragraph());
  return *report;
}

double relative(double a, double b) { return std::fabs(a - b) / std::max(std::fabs(b), 1e-30); }

double worst_relative(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    worst = std::max(worst, relative(static_cast<double>(a[i]), static_cast<double>(b[i])));
  return worst;
}

// How far apart the two lowest losses are, relative.
double margin_of(std::vector<double> losses) {
  std::sort(losses.begin(), losses.end());
  return losses[1] / losses[0] - 1;
}

// The golden's scales as scalings of each layer.
std::vector<std::vector<AwqScaling>> read_awq_search_like(const SafetensorsFile& golden,
                                                          const ModelConfig& config, const SearchCase& c) {
  std::vector<std::vector<AwqScaling>> layers(static_cast<size_t>(config.layers));
  Json json = read_json(golden_root(c) + "/" + c.name + ".search.json");
  for (const Json& group : json["scaling"].items()) {
    LayerModule place = layer_module(group["previous"].as_string());
    AwqScaling scaling;
    scaling.previous = place.module;
    for (const Json& name : group["scaled"].items())
      scaling.scaled.push_back(layer_module(name.as_string()).module);
    scaling.scales = *to_f32(*golden.get(group["previous"].as_string() + ".scales"));
    layers[static_cast<size_t>(place.layer)].push_back(std::move(scaling));
  }
  return layers;
}

// Compares scaling groups; returns the linears whose scales agree in full.
std::vector<std::string> compare_scalings(const SearchCase& c, const Json& ours, const Json& theirs,
                                          const SafetensorsFile& a, const SafetensorsFile& b) {
  bool half = c.search_dtype == "f16";
  std::vector<std::string> disagreeing;
  EXPECT_EQ(ours["scaling"].size(), theirs["scaling"].size());
  for (size_t g = 0; g < std::min(ours["scaling"].size(), theirs["scaling"].size()); ++g) {
    const Json &mine = ours["scaling"][g], &peer = theirs["scaling"][g];
    std::string previous = peer["previous"].as_string();
    SCOPED_TRACE(previous);
    EXPECT_EQ(mine["previous"].as_string(), previous);
    EXPECT_TRUE(mine["scaled"] == peer["scaled"]);
    bool linear = peer["loss_measured_on"] == Json("the linear itself");
    double tolerance = half ? 1e-2 : linear ? 1e-5 : 1e-3;
    std::vector<double> losses;
    for (const Json& loss : peer["losses"].items()) losses.push_back(loss.as_double());
    EXPECT_EQ(mine["losses"].size(), losses.size());
    size_t close = 0;
    for (size_t i = 0; i < losses.size(); ++i) {
      double apart = relative(mine["losses"][i].as_double(), losses[i]);
      close += apart <= tolerance ? 1 : 0;
      // Where a scale differs in its last place (torch's pow and norm are not ours), single codes next to
      // .5 flip: those grid points get the bound SOURCE.txt states for flips.
      EXPECT_LE(apart, half ? 1e-2 : 1e-3) << "loss of grid point " << i;
    }
    EXPECT_GE(close, losses.size() * 4 / 5);
    double step = std::fabs(mine["ratio"].as_double() - peer["ratio"].as_double());
    if (margin_of(losses) >= (half ? 1e-2 : 1e-3))
      EXPECT_EQ(step, 0.0);
    else
      EXPECT_LE(step, half ? 0.05 + 1e-9 : 1.0);
    for (const char* part : {".x_mean", ".w_mean", ".scales"}) {
      if (std::string(part) == ".scales" && step != 0) continue;
      auto x = to_f32(*a.get(previous + part)), y = to_f32(*b.get(previous + part));
      EXPECT_LE(worst_relative(*x, *y), half ? 2e-3 : 1e-5) << part;
    }
    if (step == 0) continue;
    disagreeing.push_back(previous);
    for (const Json& name : peer["scaled"].items()) disagreeing.push_back(name.as_string());
  }
  return disagreeing;
}

// Clips for the golden's own scales: the scaled weights are then the peer's to the last bit. (In a group
// clipped at both ends the zero point is a tie, ±c/(2c/15) = 7.5, which the last bit of c decides; so clips
// of weights that differ in it are a coin's toss apart.)
void compare_clips(const SearchCase& c, const SafetensorsFile& golden) {
  auto source = QuantizeSource::open(shared_path("golden/quantization/" + c.model), c.dtype);
  ASSERT_TRUE(source.ok());
  auto model = Model::load(source->path(), {});
  ASSERT_TRUE(model.ok());
  auto stored = read_awq_search_like(golden, source->config(), c);
  Json calibration = read_json(golden_root(c) + "/calibration.json");
  std::vector<float> x;
  std::vector<int64_t> lengths;
  for (const Json& block : calibration["blocks"].items()) {
    std::vector<int32_t> ids;
    for (const Json& id : block.items()) ids.push_back(static_cast<int32_t>(id.as_int()));
    lengths.push_back(static_cast<int64_t>(ids.size()));
    x.resize(x.size() + ids.size() * static_cast<size_t>(source->config().hidden));
    ASSERT_TRUE(embed_tokens(**model, ids,
                             x.data() + x.size() - ids.size() * static_cast<size_t>(source->config().hidden))
                    .ok());
  }
  AwqSearchOptions options;
  options.group = c.group;
  options.switches = awq_switches(Mode::peer);
  options.precision = c.search_dtype == "f16" ? DType::f16 : DType::f32;
  for (int64_t layer = 0; layer < source->config().layers; ++layer) {
    auto weights = layer_weights_f32(**model, layer);
    ASSERT_TRUE(weights.ok());
    AwqLayerInput input{source->config(), *weights, [](std::string_view) { return true; }, lengths,
                        DType::f32};
    auto clips = search_clips(input, stored[static_cast<size_t>(layer)], options, x);
    ASSERT_TRUE(clips.ok());
    for (const AwqClip& clip : *clips) {
      std::string name = "model.layers." + std::to_string(layer) + "." + clip.module + ".clip_max";
      SCOPED_TRACE(name);
      auto expected = to_f32(*golden.get(name));
      ASSERT_EQ(expected->size(), clip.clip_max.size());
      size_t equal = 0;
      for (size_t i = 0; i < expected->size(); ++i)
        equal += relative(static_cast<double>(clip.clip_max[i]), static_cast<double>((*expected)[i])) < 1e-5
                     ? 1
                     : 0;
      EXPECT_GE(static_cast<double>(equal),
                (c.search_dtype == "f32" ? 0.995 : 0.95) * static_cast<double>(expected->size()));
    }
    run_layer(source->config(), *weights, lengths, x.data());
  }
}

void compare_folders(const SearchCase& c, const std::string& ours, const std::string& theirs) {
  auto a = Checkpoint::open(ours), b = Checkpoint::open(theirs);
  ASSERT_TRUE(a.ok()) << a.error().paragraph();
  ASSERT_TRUE(b.ok()) << b.error().paragraph();
  std::vector<std::string> mine = a->names(), peer = b->names();
  std::sort(mine.begin(), mine.end());
  std::sort(peer.begin(), peer.end());
  ASSERT_EQ(mine, peer);
  size_t codes = 0, equal = 0;
  for (const std::string& name : peer) {
    auto x = a->get(name), y = b->get(name);
    ASSERT_TRUE(x.ok() && y.ok());
    EXPECT_EQ(x->view.dtype, y->view.dtype) << name;
    EXPECT_EQ(x->shape, y->shape) << name;
    if (!ends_with(name, ".qweight")) continue;
    for (size_t i = 0; i < y->view.bytes(); ++i) {
      auto p = std::to_integer<unsigned>(x->view.data[i]), q = std::to_integer<unsigned>(y->view.data[i]);
      codes += 2;
      equal += ((p & 15u) == (q & 15u) ? 1u : 0u) + (p >> 4 == q >> 4 ? 1u : 0u);
    }
  }
  double share = static_cast<double>(equal) / static_cast<double>(codes);
  EXPECT_GE(share, c.search_dtype == "f32" ? 0.995 : 0.9) << share;
  Json config = read_json(ours + "/config.json")["quantization_config"];
  EXPECT_TRUE(config == read_json(theirs + "/config.json")["quantization_config"]) << config.dump();
}

void check(const SearchCase& c) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  TemporaryFolder temporary;
  run(c, temporary);
  std::string stem = golden_root(c) + "/" + c.name;
  Json ours = read_json(temporary.file("out/awq_search.json")), theirs = read_json(stem + ".search.json");
  auto a = SafetensorsFile::open(temporary.file("out/awq_search.safetensors"));
  auto b = SafetensorsFile::open(stem + ".search.safetensors");
  ASSERT_TRUE(a.ok() && b.ok());
  for (const char* key : {"dtype", "group_size", "bits", "zero_point", "n_grid", "duo_scaling", "apply_clip",
                          "max_calib_seq_len"})
    EXPECT_TRUE(ours[key] == theirs[key]) << key;
  Json calibration = read_json(golden_root(c) + "/calibration.json");
  EXPECT_EQ(ours["calibration"]["blocks"].as_int(), static_cast<int64_t>(calibration["blocks"].size()));
  EXPECT_EQ(ours["calibration"]["dropped"].as_int(), static_cast<int64_t>(calibration["dropped"].size()));
  std::vector<std::string> disagreeing = compare_scalings(c, ours, theirs, *a, *b);
  if (c.clip) compare_clips(c, *b);
  if (c.folder && disagreeing.empty()) compare_folders(c, temporary.file("out"), stem + "_folder");
}

TEST(AwqSearch, Float32DuoScaling) { check(kFp32Duo); }
TEST(AwqSearch, Float32ActivationsAlone) { check(kFp32XOnly); }
TEST(AwqSearch, Float32WithoutClip) { check(kFp32NoClip); }
TEST(AwqSearch, Float32ValueScalesOutputProjection) { check(kMultiHead); }
TEST(AwqSearch, Float16Gemv) { check(kMultiHeadGemv); }
TEST(AwqSearch, Float16DuoScaling) { check(kFp16Duo); }

// The bare peer on a CPU spoils its backup of the weights after the first grid point; up to there its
// numbers are those of the search.
TEST(AwqSearch, FirstGridPointOfTheBarePeerOnCpu) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  std::string root = shared_path("golden/quantization/awq_search/");
  Json spoiled = read_json(root + "fp32_as_is_on_cpu.search.json"),
       sound = read_json(root + "fp32_duo.search.json");
  const Json &a = spoiled["scaling"][0], &b = sound["scaling"][0];
  EXPECT_LE(relative(a["losses"][0].as_double(), b["losses"][0].as_double()), 1e-6);
  EXPECT_GT(relative(a["losses"][1].as_double(), b["losses"][1].as_double()), 1e-3);
}

std::vector<float> logits_of(const std::string& folder, const std::vector<int32_t>& ids) {
  auto model = Model::load(folder, {});
  if (!model) throw std::runtime_error(model.error().paragraph());
  auto vocab = static_cast<size_t>((*model)->config().vocab);
  std::vector<float> logits(ids.size() * vocab);
  std::vector<int64_t> rows(ids.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  SequenceInput input{ids, nullptr, rows};
  auto status = forward(**model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* values) {
    std::copy_n(values, static_cast<size_t>(count) * vocab,
                logits.begin() + first * static_cast<int64_t>(vocab));
  });
  if (!status.ok()) throw std::runtime_error(status.error().paragraph());
  return logits;
}

TEST(AwqFolder, TheirFoldersGiveTheirLogits) {
  if (!have_shared()) GTEST_SKIP() << "needs ../shared";
  for (const SearchCase& c : {kFp32Duo, kFp16Duo, kMultiHead}) {
    SCOPED_TRACE(c.root + "/" + c.name);
    auto golden = SafetensorsFile::open(golden_root(c) + "/" + c.name + ".search.safetensors");
    ASSERT_TRUE(golden.ok());
    auto view = golden->get("check.input_ids");
    ASSERT_TRUE(view.ok());
    std::vector<int32_t> ids(view->as<int32_t>(), view->as<int32_t>() + view->count());
    auto expected = to_f32(*golden->get("check.logits_dequantised_weights_fp32_network"));
    std::vector<float> logits = logits_of(golden_root(c) + "/" + c.name + "_folder", ids);
    float top = 0, worst = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      top = std::max(top, std::fabs((*expected)[i]));
      worst = std::max(worst, std::fabs((*expected)[i] - logits[i]));
    }
    EXPECT_LE(worst, 1e-4f * top);
  }
}

}  // namespace
}  // namespace bm::testing
