// Mode `corrected` against the float64 ideals; identities between cases; order of execution; invalid
// configurations; random masks by their statistics.
#include <algorithm>

#include "golden.h"

namespace bm::testing {
namespace {

Result<MergeReport> run(const std::string& root, const Json& entry, const std::string& out,
                        const std::string& mode) {
  CommonOptions common;
  common.mode = mode;
  return merge(golden_options(root, "cases/" + entry["case"].as_string() + "/config.yml",
                              entry["command"].as_string(), out),
               common);
}

// The ideal rounded once to the stored type: at most half an ulp, plus the float32 arithmetic's own error
// in units of the tensor's maximum.
void check_against_ideal(const std::string& name, const GoldenTensor& ours, const GoldenTensor& ideal,
                         double allowance) {
  double maximum = 0;
  for (double x : ideal.values) maximum = std::max(maximum, std::abs(x));
  size_t wrong = 0;
  double worst = 0;
  for (size_t i = 0; i < ideal.values.size(); ++i) {
    double x = ours.values[i], y = ideal.values[i];
    double bound =
        (ours.dtype == DType::f32 ? 0 : 0.5 * std::max(ulp_of(x, ours.dtype), ulp_of(y, ours.dtype))) +
        allowance * maximum;
    if (std::abs(x - y) <= bound) continue;
    ++wrong;
    worst = std::max(worst, std::abs(x - y) / bound);
  }
  EXPECT_EQ(wrong, 0u) << name << ": up to " << worst << " times the bound";
}

void run_ideals(const std::string& root) {
  auto cases = read_json_file(root + "/cases.json");
  ASSERT_TRUE(cases.ok());
  size_t checked = 0;
  for (const Json& entry : cases->items()) {
    std::string folder = root + "/cases/" + entry["case"].as_string();
    GoldenTensors ideal = load_golden(folder + "/ideal.safetensors");
    if (ideal.empty()) continue;
    SCOPED_TRACE(entry["case"].as_string());
    TemporaryFolder out;
    auto report = run(root, entry, out.file("out"), "corrected");
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    GoldenTensors ours = load_golden(out.file("out"));
    ASSERT_EQ(ours.size(), ideal.size());
    for (const auto& [name, tensor] : ideal) check_against_ideal(name, ours[name], tensor, 4e-7);
    ++checked;
  }
  EXPECT_GE(checked, 30u);
}

TEST(MergeCorrected, MatchesTheFloat64Ideals) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  run_ideals(shared_path("golden/merge"));
}

// Where the stored result is float32 the peer's own distance from the ideal is known: ours may be no
// farther from the peer than that, plus its own float32 error.
TEST(MergeCorrected, IsCloseToThePeersFloat32) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  std::string root = shared_path("golden/merge");
  auto cases = read_json_file(root + "/cases.json");
  ASSERT_TRUE(cases.ok());
  for (const Json& entry : cases->items()) {
    const std::string& name = entry["case"].as_string();
    if (!ends_with(name, "-f32") || entry["peer_vs_ideal_max_abs"].is_null() || starts_with(name, "arcee"))
      continue;
    SCOPED_TRACE(name);
    TemporaryFolder out;
    auto report = run(root, entry, out.file("out"), "corrected");
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    GoldenTensors ours = load_golden(out.file("out")),
                  theirs = load_golden(root + "/cases/" + name + "/merged"),
                  band = load_golden(root + "/cases/" + name + "/tie_band.safetensors");
    double distance = entry["peer_vs_ideal_max_abs"].as_double() * 1.01 + 3e-7;
    for (const auto& [tensor, values] : theirs)
      for (size_t i =
               entry["tensors_where_the_peer_itself_is_far_from_the_ideal_relative_rms"].contains(tensor)
                   ? values.values.size()
                   : 0;
           i < values.values.size(); ++i) {
        if (band.contains(tensor) && band[tensor].values[i] != 0) continue;
        ASSERT_LE(std::abs(ours[tensor].values[i] - values.values[i]), distance) << tensor << "[" << i << "]";
      }
  }
}

TEST(MergePeer, Identities) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  std::string root = shared_path("golden/merge");
  auto identities = read_json_file(root + "/identities.json"), cases = read_json_file(root + "/cases.json");
  ASSERT_TRUE(identities.ok() && cases.ok());
  for (const std::string mode : {"peer", "corrected"})
    for (const Json::Member& member : identities->members()) {
      SCOPED_TRACE(mode + ": " + member.first);
      std::vector<GoldenTensors> sides;
      for (std::string_view side : split(member.first, ' ')) {
        if (side == "==") continue;
        for (const Json& entry : cases->items())
          if (entry["case"].as_string() == side) {
            TemporaryFolder out;
            ASSERT_TRUE(run(root, entry, out.file("out"), mode).ok());
            sides.push_back(load_golden(out.file("out")));
          }
      }
      ASSERT_EQ(sides.size(), 2u);
      ASSERT_EQ(sides[0].size(), sides[1].size());
      for (const auto& [name, tensor] : sides[0]) {
        EXPECT_EQ(tensor.dtype, sides[1][name].dtype);
        EXPECT_TRUE(tensor.values == sides[1][name].values) << name;
      }
    }
}

TEST(MergePeer, OrderOfExecution) {
  std::string root = source_path("tests/parity/merging/data");
  auto order = read_json_file(root + "/execution_order.json");
  MergeOptions options;
  options.config = root + "/cases/slerp-biomistral-bf16/config.yml";
  options.model_paths = golden_inputs(root);
  auto plan = merge_plan(options, {});
  ASSERT_TRUE(plan.ok()) << plan.error().paragraph();
  ASSERT_EQ((*plan)["tensors"].size(), order->size());
  for (size_t i = 0; i < order->size(); ++i) EXPECT_EQ((*plan)["tensors"][i]["name"], (*order)[i]);
}

// What the peer refuses ours refuses, with the place; what the peer lets pass by mistake too.
TEST(MergeInvalid, EveryConfigurationIsRefused) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  std::string root = shared_path("golden/merge");
  auto messages = read_json_file(root + "/invalid/peer_messages.json");
  ASSERT_TRUE(messages.ok());
  // A word that a message must hold to be at least as clear as the peer's.
  const std::map<std::string, std::string> words = {
      {"unknown-method", "slurp"},
      {"no-merge-method", "merge_method"},
      {"models-and-slices", "more than one"},
      {"nothing-to-merge", "none of"},
      {"empty-models", "none of"},
      {"slerp-three-models", "exactly 2"},
      {"slerp-one-model", "2"},
      {"slerp-no-base", "base"},
      {"slerp-base-is-third-model", "exactly 2"},
      {"slerp-same-model-twice", "twice"},
      {"slerp-no-t", "`t`"},
      {"ties-no-base", "base"},
      {"ties-no-weight", "`weight`"},
      {"linear-no-weight", "`weight`"},
      {"weight-not-a-number", "heavy"},
      {"filter-covers-not-everything", "`t`"},
      {"model-not-found", "no-such-model"},
      {"layer-range-beyond-model", "4 layers"},
      {"layer-range-unequal", "number of layers"},
      {"layer-range-negative", "-1"},
      {"layer-range-reversed", "reversed"},
      {"layer-range-three-numbers", "two whole numbers"},
      {"layer-range-missing", "layer_range"},
      {"bad-out-dtype", "fp8"},
      {"tokenizer-and-tokenizer-source", "tokenizer_source"},
      {"rows-mismatch", "[259, 8]"},
      {"rows-mismatch-ties", "[261, 8]"},
      {"shape-mismatch", "[40, 12]"},
      {"layer-count-mismatch", "3"},
      {"required-tensor-missing", "model.layers.1.mlp.up_proj.weight"},
      {"della-epsilon-too-big", "epsilon"},
      {"model-stock-two-models", "at least 3"},
      {"passthrough-two-models", "exactly 1"},
      {"nuslerp-three", "exactly 2 non-base"},
      {"density-above-one-not-an-error", "1.7"},
      {"density-negative-not-an-error", "-0.5"},
      {"empty-file", "empty"},
      {"bad-chat-template", "nosuch"}};
  for (const Json& entry : messages->items()) {
    std::string config = entry["config"].as_string(), name = fs::path(config).stem().string();
    SCOPED_TRACE(name);
    TemporaryFolder out;
    auto report = merge(golden_options(root, config, "", out.file("out")), {});
    if (name == "bad-dtype") {  // "bf16" is a name users write: accepted here
      EXPECT_TRUE(report.ok());
      continue;
    }
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code(), Code::bad_input);
    std::string message = report.error().paragraph();
    ASSERT_TRUE(words.contains(name)) << "untested: " << message;
    EXPECT_NE(message.find(words.at(name)), std::string::npos) << message;
    EXPECT_NE(message.find(name + ".yml"), std::string::npos) << message;
    EXPECT_FALSE(exists(out.file("out"))) << "nothing may be written";
  }
}

// DARE and DELLA over six seeds in both kinds of masks: the share kept lies within 4 σ of the expected.
TEST(MergeRandom, SharesKept) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  std::string root = shared_path("golden/merge");
  auto statistics = read_json_file(root + "/random_methods_statistics.json");
  ASSERT_TRUE(statistics.ok());
  GoldenTensors base = load_golden(root + "/inputs/base-f32"),
                tuned = load_golden(root + "/inputs/tuned-a-f32");
  for (const Json& run : (*statistics)["runs"].items()) {
    if (!(run["dtype"] == Json("f32"))) continue;
    for (const std::string mode : {"peer", "corrected"}) {
      SCOPED_TRACE(mode + " " + run["method"].as_string() + " " + std::to_string(run["seed"].as_int()));
      TemporaryFolder folder;
      std::string extra = run.contains("epsilon") ? ", epsilon: " + run["epsilon"].dump() : "";
      std::string yaml =
          "models:\n- model: ./inputs/base-f32\n- model: ./inputs/tuned-a-f32\n  parameters: {weight: 1.0, "
          "density: " +
          run["density"].dump() + extra + "}\nmerge_method: " + run["method"].as_string() +
          "\nbase_model: ./inputs/base-f32\ndtype: float32\n";
      ASSERT_TRUE(write_file_atomic(folder.file("c.yml"), yaml).ok());
      MergeOptions options;
      options.config = folder.file("c.yml");
      options.out = folder.file("out");
      options.model_paths = golden_inputs(root);
      options.random_seed = run["seed"].as_int();
      CommonOptions common;
      common.mode = mode;
      auto report = merge(options, common);
      ASSERT_TRUE(report.ok()) << report.error().paragraph();
      GoldenTensors out = load_golden(options.out);
      double of = 0, kept = 0;
      for (const auto& [name, x] : base)
        for (size_t i = 0; i < x.values.size(); ++i) {
          if (tuned[name].values[i] == x.values[i]) continue;
          ++of;
          kept += out[name].values[i] != x.values[i];
        }
      EXPECT_NEAR(kept / of, run["expected_fraction"].as_double(),
                  4 * run["binomial_sigma"].as_double() + 2e-3);
    }
  }
}

}  // namespace
}  // namespace bm::testing
