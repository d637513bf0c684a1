// Adapters in references, several configurations in one file, extraction of adapters, statistics.
#include <gtest/gtest.h>

#include "merging/documents.h"
#include "merging/extract_lora.h"
#include "merging/svd.h"
#include "tiny_models.h"

namespace bm::testing {
namespace {

const std::string kName = "model.layers.1.mlp.up_proj.weight";

double largest_difference(const std::vector<float>& x, const std::vector<float>& y) {
  EXPECT_EQ(x.size(), y.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
  return worst;
}

TEST(Svd, AgreesWithAKnownDecomposition) {
  // Two orthogonal directions of known size on either side, in a matrix large enough for the subspace form.
  for (auto [rows, columns] : {std::pair<int64_t, int64_t>{30, 50}, {50, 30}, {300, 220}}) {
    std::vector<float> matrix(static_cast<size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        double even = r % 2 == 0 ? 1 : 0, odd = 1 - even, low = c < columns / 2 ? 1 : 0, high = 1 - low;
        matrix[static_cast<size_t>(r * columns + c)] = static_cast<float>(3 * even * low + 2 * odd * high);
      }
    const double quarter = std::sqrt(static_cast<double>(rows * columns)) / 2, first = 3 * quarter,
                 second = 2 * quarter;
    TruncatedSvd svd = truncated_svd(matrix.data(), rows, columns, 5);
    ASSERT_EQ(svd.values.size(), 2u) << "its rank is two";
    EXPECT_NEAR(svd.values[0], first, 1e-4 * first);
    EXPECT_NEAR(svd.values[1], second, 1e-4 * second);
    EXPECT_NEAR(svd.total, first * first + second * second, 1e-6 * svd.total);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        double x = 0;
        for (size_t k = 0; k < 2; ++k)
          x += svd.values[k] *
               static_cast<double>(svd.left[k * static_cast<size_t>(rows) + static_cast<size_t>(r)]) *
               static_cast<double>(svd.right[k * static_cast<size_t>(columns) + static_cast<size_t>(c)]);
        ASSERT_NEAR(x, matrix[static_cast<size_t>(r * columns + c)], 1e-4);
      }
  }
}

// A slow twin: the largest eigenvalue of MᵀM by plain power iteration, deflated, against the subspace form.
TEST(Svd, SubspaceFormFindsTheLargest) {
  const int64_t rows = 180, columns = 240;
  CounterRandom random(5, 6);
  std::vector<double> exact(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < exact.size(); ++i) exact[i] = random.normal(i);
  for (int64_t k = 0; k < 6; ++k)  // some directions that stand out
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        exact[static_cast<size_t>(r * columns + c)] += (6.0 - static_cast<double>(k)) *
                                                       std::cos(0.1 * static_cast<double>((k + 1) * r)) *
                                                       std::cos(0.07 * static_cast<double>((k + 2) * c));
  std::vector<float> matrix(exact.begin(), exact.end());
  TruncatedSvd svd = truncated_svd(matrix.data(), rows, columns, 4);
  ASSERT_EQ(svd.values.size(), 4u);
  for (double value : svd.values) {
    std::vector<double> v(static_cast<size_t>(columns), 1.0), u(static_cast<size_t>(rows));
    for (size_t i = 0; i < v.size(); ++i) v[i] += 0.01 * static_cast<double>(i);
    double norm = 0;
    for (int step = 0; step < 400; ++step) {
      for (int64_t r = 0; r < rows; ++r) {
        u[static_cast<size_t>(r)] = 0;
        for (int64_t c = 0; c < columns; ++c)
          u[static_cast<size_t>(r)] +=
              exact[static_cast<size_t>(r * columns + c)] * v[static_cast<size_t>(c)];
      }
      std::fill(v.begin(), v.end(), 0.0);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          v[static_cast<size_t>(c)] +=
              exact[static_cast<size_t>(r * columns + c)] * u[static_cast<size_t>(r)];
      norm = 0;
      for (double x : v) norm += x * x;
      norm = std::sqrt(norm);
      for (double& x : v) x /= norm;
    }
    double sigma = std::sqrt(norm);
    EXPECT_NEAR(value, sigma, 2e-3 * sigma);
    for (int64_t r = 0; r < rows; ++r) {  // deflate
      double share = 0;
      for (int64_t c = 0; c < columns; ++c)
        share += exact[static_cast<size_t>(r * columns + c)] * v[static_cast<size_t>(c)];
      for (int64_t c = 0; c < columns; ++c)
        exact[static_cast<size_t>(r * columns + c)] -= share * v[static_cast<size_t>(c)];
    }
  }
}

class ExtractedAdapter : public ::testing::Test {
 protected:
  // An adapter of the full rank (24 rows) and one of rank 4, from a and base.
  void SetUp() override {
    for (const char* name : {"full", "low"}) {
      ExtractLoraOptions options;
      options.rank = std::string(name) == "full" ? 24 : 4;
      auto done = extract_lora(models.file("a"), models.file("base"), models.file(name), options, {});
      ASSERT_TRUE(done.ok()) << done.error().paragraph();
      results[name] = *done;
    }
  }
  MergeOptions with_adapter(const std::string& yaml, const std::string& out, const std::string& adapter) {
    MergeOptions options = models.options(yaml, out);
    options.model_paths["adapter"] = models.file(adapter);
    return options;
  }
  TinyMerge models;
  std::map<std::string, Json> results;
};

TEST_F(ExtractedAdapter, GivesTheModelBack) {
  EXPECT_LT(results["full"]["relative_error"].as_double(), 1e-5);
  double lost = results["low"]["relative_error"].as_double();
  EXPECT_GT(lost, 0.3);
  EXPECT_LT(lost, 0.95);
  const std::string yaml = "models:\n- model: ./base+adapter\nmerge_method: passthrough\ndtype: float32\n";
  auto report = merge(with_adapter(yaml, "back", "full"), {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  for (const WeightName& weight : tiny_names(2))
    EXPECT_LT(largest_difference(models.tensor("back", weight.name), models.tensor("a", weight.name)), 1e-5)
        << weight.name;
  ASSERT_TRUE(merge(with_adapter(yaml, "rough", "low"), {}).ok());
  // What is lost is what the report says.
  double missing = 0, whole = 0;
  for (const WeightName& weight : tiny_names(2)) {
    if (weight.name.find("norm") != std::string::npos || weight.name == "model.embed_tokens.weight") continue;
    auto got = models.tensor("rough", weight.name), tuned = models.tensor("a", weight.name),
         base = models.tensor("base", weight.name);
    for (size_t i = 0; i < got.size(); ++i) {
      missing += std::pow(static_cast<double>(got[i]) - static_cast<double>(tuned[i]), 2);
      whole += std::pow(static_cast<double>(base[i]) - static_cast<double>(tuned[i]), 2);
    }
  }
  EXPECT_NEAR(std::sqrt(missing / whole), lost, 1e-4);
}

TEST_F(ExtractedAdapter, ReferencesAreRefusedWhenTheyDoNotFit) {
  const std::string yaml = "models:\n- model: ./base+adapter\nmerge_method: passthrough\n";
  MergeOptions options = models.options(yaml, "out");
  auto missing = merge(options, {});
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().paragraph().find("adapter of"), std::string::npos) << missing.error().paragraph();
  write_tiny_model(models.file("wide"), 9, 48);
  options.model_paths["./base"] = models.file("wide");
  options.model_paths["adapter"] = models.file("low");
  auto other = merge(options, {});
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().paragraph().find("Is this the adapter's base?"), std::string::npos)
      << other.error().paragraph();
  EXPECT_FALSE(exists(models.file("out")));
}

// First a and b are averaged, then the result is merged with base: the same as doing it in two files.
TEST(MergeDocuments, LaterOnesUseEarlierOnes) {
  TinyMerge models;
  const std::string average =
      "models:\n- model: ./a\n  parameters: {weight: 1}\n- model: ./b\n  parameters: {weight: "
      "1}\nmerge_method: linear\ndtype: float32\n";
  const std::string last =
      "models:\n- model: ./base\n- model: average\nmerge_method: slerp\nbase_model: ./base\nparameters: {t: "
      "0.4}\ndtype: float32\n";
  auto both = models.run(last + "---\nname: average\n" + average, "both");
  ASSERT_TRUE(both.ok()) << both.error().paragraph();
  ASSERT_TRUE(models.run(average, "alone").ok());
  MergeOptions second = models.options(last, "second");
  second.model_paths["average"] = models.file("alone");
  ASSERT_TRUE(merge(second, {}).ok());
  EXPECT_TRUE(models.weights("both") == models.weights("second"));
  EXPECT_TRUE(exists(models.file("both.intermediate/average/config.json")));
  EXPECT_EQ(*read_file(models.file("both/mergekit_config.yml")), last);
  auto again = models.run(last + "---\nname: average\n" + average, "both");
  ASSERT_TRUE(again.ok()) << again.error().paragraph();
  EXPECT_TRUE(again->already_complete);

  CommonOptions dry;
  dry.dry_run = true;
  auto plan = models.run(last + "---\nname: average\n" + average, "planned", dry);
  ASSERT_TRUE(plan.ok()) << plan.error().paragraph();
  EXPECT_EQ(plan->summary["earlier"].size(), 1u);
  EXPECT_EQ(plan->summary["method"], Json("slerp"));
  EXPECT_FALSE(exists(models.file("planned.intermediate")));
}

TEST(MergeDocuments, CirclesAndDoublesAreRefused) {
  TinyMerge models;
  auto entry = [](const std::string& name, const std::string& model) {
    return (name.empty() ? "" : "name: " + name + "\n") + "models:\n- model: " + model +
           "\nmerge_method: passthrough\n";
  };
  struct Case {
    std::string yaml, message;
  };
  for (const Case& c :
       {Case{entry("x", "y") + "---\n" + entry("y", "x") + "---\n" + entry("", "y"), "circle"},
        Case{entry("x", "x") + "---\n" + entry("", "x"), "input of itself"},
        Case{entry("", "./a") + "---\n" + entry("", "./b"), "no `name`"},
        Case{entry("x", "./a") + "---\n" + entry("x", "./b"), "are named \"x\""},
        Case{entry("../x", "./a") + "---\n" + entry("", "./b"), "cannot be a folder's"},
        Case{entry("x", "./missing") + "---\n" + entry("", "x"), "not found"}}) {
    auto report = models.run(c.yaml, "out");
    ASSERT_FALSE(report.ok()) << c.yaml;
    EXPECT_EQ(report.error().code(), Code::bad_input);
    EXPECT_NE(report.error().paragraph().find(c.message), std::string::npos) << report.error().paragraph();
    EXPECT_FALSE(exists(models.file("out")));
  }
}

TEST(MergeStatistics, AreThoseOfTheDefinition) {
  TinyMerge models(700, 130);  // tensors of two blocks
  MergeOptions options = models.options(kTiesYaml, "out");
  options.statistics = true;
  auto report = merge(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  Json file = *read_json_file(models.file("out/merge_statistics.json"));
  Json found;
  for (const Json& tensor : file["tensors"].items())
    if (tensor["tensor"] == Json(kName)) found = tensor;
  auto base = models.tensor("base", kName), a = models.tensor("a", kName), b = models.tensor("b", kName),
       merged = models.tensor("out", kName);
  double aa = 0, bb = 0, ab = 0, rr = 0, ar = 0, kept = 0, voted = 0, agreed = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    double x = a[i] - base[i], y = b[i] - base[i],
           r = static_cast<double>(merged[i]) - static_cast<double>(base[i]);
    aa += x * x, bb += y * y, ab += x * y, rr += r * r, ar += x * r;
    kept += r != 0;
    if (x != 0 && y != 0) voted += 1, agreed += (x > 0) == (y > 0);
  }
  EXPECT_NEAR(found["models"][size_t{0}]["delta_norm"].as_double(), std::sqrt(aa), 1e-9 * std::sqrt(aa));
  EXPECT_NEAR(found["models"][size_t{0}]["cosine"].as_double(), ar / std::sqrt(aa * rr), 1e-9);
  EXPECT_NEAR(found["pairs"][size_t{0}]["cosine"].as_double(), ab / std::sqrt(aa * bb), 1e-9);
  EXPECT_NEAR(found["kept"].as_double(), kept / static_cast<double>(base.size()), 1e-12);
  EXPECT_NEAR(found["sign_agreement"].as_double(), agreed / voted, 1e-12);
  EXPECT_EQ(file["layers"].size(), 5u);  // lm_head, embeddings, two layers, norm
  std::string card = *read_file(models.file("out/README.md"));
  EXPECT_NE(card.find("| model.layers.1 | `./a`"), std::string::npos) << card;
}

}  // namespace
}  // namespace bm::testing
