// golden/metrics: accuracy, calibration, intervals, paired tests and agreement against numpy, scipy,
// scikit-learn and statsmodels (versions.json). Tolerances are the SOURCE's: closed forms 1e-12 + 1e-10
// relative, ECE and MCE 1e-12.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "paths.h"
#include "statistics/agreement.h"
#include "statistics/calibration.h"
#include "statistics/intervals.h"
#include "statistics/paired.h"
#include "statistics/summary.h"

namespace bm {
namespace {

std::string golden_path(const std::string& name) {
  std::string shared = testing::shared_path("golden/metrics/" + name);
  return exists(shared) ? shared : testing::source_path("tests/parity/statistics/data/" + name);
}

Json golden(const std::string& name) {
  auto json = read_json_file(golden_path(name));
  if (!json.ok()) ADD_FAILURE() << json.error().paragraph();
  return json.ok() ? json.value() : Json();
}

#define EXPECT_CLOSED_FORM(found, wanted) EXPECT_NEAR(found, wanted, 1e-12 + 1e-10 * std::abs(wanted))

struct Input {
  LetterProbabilities probabilities;
  std::vector<uint8_t> best_right;
};

Input read_input(const std::string& name, const Json& letters) {
  Input input;
  auto text = read_file(golden_path("inputs/" + name + ".jsonl"));
  if (!text.ok()) {
    ADD_FAILURE() << text.error().paragraph();
    return input;
  }
  input.probabilities.letters = static_cast<int64_t>(letters.size());
  for (const auto& line : split(*text, '\n')) {
    if (trim(line).empty()) continue;
    Json item = parse_json(line).value();
    int32_t gold = -1;
    for (size_t c = 0; c < letters.size(); ++c) {
      const Json& p = item["predictions"][letters[c].as_string()];
      input.probabilities.values.push_back(p.is_number() ? p.as_double() : 0);
      if (letters[c] == item["correct_letter"]) gold = static_cast<int32_t>(c);
    }
    input.probabilities.gold.push_back(gold);
    input.best_right.push_back(item["correct_letter"] == item["best_prediction"]);
  }
  return input;
}

double number(const Json& object, const std::string& key, const std::string& library) {
  const Json* value = object[key].find(library);
  if (!value || !value->is_number()) ADD_FAILURE() << key << " / " << library << " is not in the golden";
  return value && value->is_number() ? value->as_double() : NAN;
}

void expect_table(const std::vector<Bin>& found, const Json& wanted, const std::string& what) {
  ASSERT_EQ(found.size(), wanted.size()) << what;
  for (size_t b = 0; b < found.size(); ++b) {
    EXPECT_EQ(found[b].count, wanted[b]["count"].as_int()) << what << " bin " << b;
    if (wanted[b]["low"].is_number()) {
      EXPECT_EQ(found[b].low, wanted[b]["low"].as_double()) << what << " bin " << b;
      EXPECT_EQ(found[b].high, wanted[b]["high"].as_double()) << what << " bin " << b;
    }
    EXPECT_EQ(found[b].accuracy.has_value(), wanted[b]["accuracy"].is_number());
    if (!found[b].accuracy || !wanted[b]["accuracy"].is_number()) continue;
    EXPECT_NEAR(*found[b].accuracy, wanted[b]["accuracy"].as_double(), 1e-12) << what << " bin " << b;
    EXPECT_NEAR(*found[b].confidence, wanted[b]["confidence"].as_double(), 1e-12) << what << " bin " << b;
    if (wanted[b]["gap"].is_number()) {
      EXPECT_NEAR(*found[b].gap(), wanted[b]["gap"].as_double(), 1e-12);
    }
  }
}

void expect_calibration(const LetterProbabilities& p, const Json& wanted, const std::string& name) {
  const std::string numpy = "numpy (lo,hi]", mass = "numpy array_split of the stable sort";
  auto [confidence, right] = confidences(p);
  int64_t zero = std::count(confidence.begin(), confidence.end(), 0.0);
  EXPECT_EQ(zero, wanted["items_with_confidence_0"].as_int());
  for (int bins : {5, 10, 15}) {
    std::string n = std::to_string(bins);
    auto table = reliability_table(confidence, right, bins);
    expect_table(table, wanted["reliability_table_" + n], name + " width " + n);
    EXPECT_NEAR(expected_calibration_error(table, p.n()), number(wanted, "ece_" + n + "_equal_width", numpy),
                1e-12);
    EXPECT_NEAR(maximum_calibration_error(table), number(wanted, "mce_" + n + "_equal_width", numpy), 1e-12);
    auto equal_mass = equal_mass_table(confidence, right, bins);
    if (p.n() >= bins)
      expect_table(equal_mass, wanted["ece_" + n + "_equal_mass"]["bins"], name + " mass " + n);
    EXPECT_NEAR(expected_calibration_error(equal_mass, p.n()),
                number(wanted, "ece_" + n + "_equal_mass", mass), 1e-12);
  }
  auto s = calibration_summary(p);
  EXPECT_CLOSED_FORM(s.mean_confidence, wanted["mean_confidence"].as_double());
  EXPECT_EQ(s.ece_5, expected_calibration_error(reliability_table(confidence, right, 5), p.n()));
  EXPECT_NEAR(s.ece_10, number(wanted, "ece_10_equal_width", numpy), 1e-12);
  EXPECT_NEAR(s.ece_15, number(wanted, "ece_15_equal_width", numpy), 1e-12);
  EXPECT_NEAR(s.mce_15, number(wanted, "mce_15_equal_width", numpy), 1e-12);
  EXPECT_NEAR(s.ece_10_equal_mass, number(wanted, "ece_10_equal_mass", mass), 1e-12);
  EXPECT_CLOSED_FORM(s.brier,
                     number(wanted, "brier_multiclass_sum_over_letters", "numpy mean(sum((p-y)^2))"));
  EXPECT_CLOSED_FORM(s.brier_top_label,
                     number(wanted, "brier_top_label", "scikit-learn brier_score_loss(correct, confidence)"));
  EXPECT_CLOSED_FORM(s.nll,
                     number(wanted, "nll_mean_eps_clipped", "numpy -mean(log(clip(p_gold, 2.22e-16, 1)))"));
  const Json* area = wanted["auroc_confidence_vs_correct"].find("scikit-learn roc_auc_score");
  auto found = auroc(confidence, right);
  ASSERT_EQ(found.has_value(), area && area->is_number()) << name;
  if (found) {
    EXPECT_NEAR(*found, area->as_double(), 1e-12);
  }
}

void expect_interval(Interval found, const Json& wanted, const std::string& name) {
  ASSERT_TRUE(wanted.is_array()) << name;
  EXPECT_CLOSED_FORM(found.low, wanted[0].as_double()) << name;
  EXPECT_CLOSED_FORM(found.high, wanted[1].as_double()) << name;
}

TEST(MetricsGolden, CalibrationAndAccuracy) {
  Json all = golden("calibration_and_accuracy.json");
  ASSERT_GE(all.size(), 6u);
  for (const auto& [name, wanted] : all.members()) {
    SCOPED_TRACE(name);
    Input input = read_input(name, wanted["letters"]);
    const auto& p = input.probabilities;
    ASSERT_EQ(p.n(), wanted["n"].as_int());
    std::vector<int32_t> predicted;
    int64_t ties = 0;
    for (int64_t i = 0; i < p.n(); ++i) {
      predicted.push_back(argmax_first(p.row(i)));
      ties += top_is_tied(p.row(i));
    }
    EXPECT_EQ(ties, wanted["items_with_tied_top_letter"].as_int());
    auto confusion = confusion_matrix(p.gold, predicted, static_cast<int32_t>(p.letters));
    const Json& matrix = wanted["confusion_rows_gold_columns_predicted"]["scikit-learn"];
    for (size_t g = 0; g < confusion.size(); ++g)
      for (size_t c = 0; c < confusion.size(); ++c) EXPECT_EQ(confusion[g][c], matrix[g][c].as_int());
    EXPECT_CLOSED_FORM(macro_f1(confusion),
                       number(wanted, "macro_f1_letter_argmax",
                              "scikit-learn f1_score(macro, labels=all letters, zero_division=0)"));
    EXPECT_CLOSED_FORM(balanced_accuracy(confusion),
                       number(wanted, "balanced_accuracy", "scikit-learn balanced_accuracy_score"));
    std::vector<double> rights;
    int64_t letter_right = 0, best = 0;
    for (size_t i = 0; i < predicted.size(); ++i) {
      letter_right += predicted[i] == p.gold[i];
      best += input.best_right[i];
      rights.push_back(predicted[i] == p.gold[i] ? 1 : 0);
    }
    double n = static_cast<double>(p.n());
    EXPECT_EQ(static_cast<double>(best) / n, wanted["accuracy_best_prediction"].as_double());
    EXPECT_EQ(static_cast<double>(letter_right) / n,
              number(wanted, "accuracy_letter_argmax", "scikit-learn accuracy_score"));
    expect_calibration(p, wanted["raw"], name + " raw");
    if (wanted.contains("renormalised_over_letters"))
      expect_calibration(renormalized(p), wanted["renormalised_over_letters"], name + " renormalized");
    const Json& intervals = wanted["accuracy_interval_95"];
    expect_interval(wilson_interval(letter_right, p.n()),
                    intervals["wilson (statsmodels proportion_confint)"], "wilson");
    expect_interval(clopper_pearson_interval(letter_right, p.n()),
                    intervals["clopper_pearson (statsmodels beta)"], "cp");
    expect_interval(normal_interval(letter_right, p.n()), intervals["normal"], "normal");
    expect_interval(agresti_coull_interval(letter_right, p.n()), intervals["agresti_coull"], "agresti");
    expect_interval(jeffreys_interval(letter_right, p.n()), intervals["jeffreys"], "jeffreys");
    auto bootstrap = bootstrap_share_interval(letter_right, p.n());
    auto accelerated = bootstrap_share_interval_bca(letter_right, p.n());
    for (const auto& [key, value] : intervals.members()) {
      if (starts_with(key, "bootstrap_exact_limit")) expect_interval(bootstrap, value, "bootstrap");
      if (!starts_with(key, "bootstrap_percentile") && !starts_with(key, "bootstrap_BCa")) continue;
      if (!value.is_array()) continue;  // all right or all wrong: scipy gives nothing
      auto found = starts_with(key, "bootstrap_BCa") ? accelerated : bootstrap;
      double tolerance = 3 * 0.027 * standard_error(rights) + 1 / n + 1e-12;
      EXPECT_NEAR(found.low, value[0].as_double(), tolerance) << key;
      EXPECT_NEAR(found.high, value[1].as_double(), tolerance) << key;
    }
    const Json& errors = wanted["standard_error_of_mean"];
    EXPECT_CLOSED_FORM(standard_error(rights),
                       errors["sample std / sqrt(n) (lm_eval's acc_stderr)"].as_double());
  }
}

TEST(MetricsGolden, RunsAndMacroAverage) {
  Json all = golden("runs_and_macro_average.json");
  std::vector<double> runs, accuracies;
  for (const auto& run : all["three_runs"].items()) runs.push_back(run.as_double());
  EXPECT_CLOSED_FORM(mean(runs), all["mean (statistics.mean)"].as_double());
  EXPECT_CLOSED_FORM(population_sd(runs), all["population_std (statistics.pstdev)"].as_double());
  EXPECT_CLOSED_FORM(sample_sd(runs), all["sample_std (statistics.stdev)"].as_double());
  EXPECT_EQ(mean_sd_text(runs), all["printed"].as_string());
  for (const auto& [name, accuracy] : all["accuracy_in_points"].members())
    accuracies.push_back(accuracy.as_double());
  EXPECT_CLOSED_FORM(mean(accuracies), all["macro_average_unweighted"].as_double());
  for (const auto& [text, printed] : all["rounding_cases {:.1f}"].members())
    EXPECT_EQ(format_fixed(std::stod(text), 1), printed.as_string()) << text;
  // Every published row's printed average is the plain mean of its ten tasks (paper.md 6.1).
  const auto& rows = all["published"]["rows"].items();
  ASSERT_GE(rows.size(), 12u);
  for (size_t r = 1; r < rows.size(); ++r) {
    std::vector<double> row;
    for (size_t c = 1; c + 1 < rows[r].size(); ++c) row.push_back(std::stod(rows[r][c].as_string()));
    EXPECT_NEAR(mean(row), std::stod(rows[r][rows[r].size() - 1].as_string()), 0.0501)
        << rows[r][0].as_string();
  }
}

TEST(MetricsGolden, TwoSystems) {
  Json all = golden("two_systems.json");
  for (const auto& pair : all["pairs"].items()) {
    SCOPED_TRACE(pair["dataset"].as_string() + " " + pair["system_1"].as_string() + " " +
                 pair["system_2"].as_string());
    PairedCounts counts{pair["both_right"].as_int(), pair["only_1_right"].as_int(),
                        pair["only_2_right"].as_int(), pair["both_wrong"].as_int()};
    int64_t b = counts.only_first, c = counts.only_second;
    EXPECT_CLOSED_FORM(mcnemar_exact(b, c), pair["mcnemar_exact_p"]["scipy binomtest"].as_double());
    EXPECT_CLOSED_FORM(mcnemar_mid_p(b, c),
                       pair["mcnemar_mid_p"]["scipy binom (2*cdf(min)-pmf(min))"].as_double());
    for (bool continuity : {true, false}) {
      const Json& wanted =
          pair[continuity ? "mcnemar_chi2_with_continuity" : "mcnemar_chi2_without"]["statsmodels"];
      if (!wanted.is_array() || !wanted[0].is_number()) continue;
      auto found = mcnemar_chi_square(b, c, continuity);
      EXPECT_CLOSED_FORM(found.statistic, wanted[0].as_double());
      EXPECT_CLOSED_FORM(found.p, wanted[1].as_double());
    }
    for (const auto& [key, value] : pair.members()) {
      if (starts_with(key, "paired_permutation_p_exact")) {
        EXPECT_CLOSED_FORM(mcnemar_exact(b, c), value.as_double());
      }
    }
    for (const auto& [key, value] : pair["difference_interval_95"].members()) {
      if (!value.is_array()) continue;  // b = c = 0: scipy resamples a constant and gives nothing
      bool normal = starts_with(key, "normal");
      auto found = normal ? paired_difference_interval(counts) : paired_bootstrap_interval(counts);
      double n = static_cast<double>(counts.n());
      double error = std::sqrt(static_cast<double>(b + c)) / n;  // of the mean difference
      for (auto [end, wanted] :
           {std::pair(found.low, value[0].as_double()), std::pair(found.high, value[1].as_double())})
        EXPECT_NEAR(end, wanted, normal ? 1e-12 + 1e-10 * std::abs(wanted) : 3 * 0.027 * error + 1 / n)
            << key;
    }
    std::vector<int32_t> first, second;
    std::vector<double> differences;
    auto add = [&](int64_t count, int32_t one, int32_t two) {
      for (int64_t i = 0; i < count; ++i) {
        first.push_back(one);
        second.push_back(two);
        differences.push_back(one - two);
      }
    };
    add(counts.both, 1, 1), add(b, 1, 0), add(c, 0, 1), add(counts.neither, 0, 0);
    EXPECT_CLOSED_FORM(cohen_kappa(first, second),
                       pair["cohen_kappa_of_correctness"]["scikit-learn cohen_kappa_score"].as_double());
    double exact = mcnemar_exact(b, c);
    double error = std::sqrt(exact * (1 - exact) / 2000) + 1.0 / 2000;
    EXPECT_NEAR(sign_flip_test(differences, 2000, 3), exact, 3 * error);
  }
}

TEST(MetricsGolden, MultipleComparisons) {
  Json all = golden("two_systems.json")["multiple_comparisons"];
  std::vector<double> p;
  for (const auto& value : all["p"].items()) p.push_back(value.as_double());
  auto expect = [&](const std::vector<double>& found, const char* key) {
    const Json& wanted = all[key];
    ASSERT_EQ(found.size(), wanted.size()) << key;
    for (size_t i = 0; i < found.size(); ++i) EXPECT_CLOSED_FORM(found[i], wanted[i].as_double()) << key << i;
  };
  expect(holm_adjust(p), "holm (statsmodels multipletests)");
  expect(bonferroni_adjust(p), "bonferroni (statsmodels multipletests)");
  expect(benjamini_hochberg_adjust(p), "fdr_bh (statsmodels multipletests)");
  expect(holm_sidak_adjust(p), "holm-sidak (statsmodels multipletests)");
  for (const auto& [key, wanted] : all["small_examples_holm"].members()) {
    std::vector<double> small;
    Json values = parse_json(key).value();
    for (const auto& value : values.items()) small.push_back(value.as_double());
    auto found = holm_adjust(small);
    for (size_t i = 0; i < small.size(); ++i) EXPECT_CLOSED_FORM(found[i], wanted[i].as_double()) << key;
  }
}

// The labels themselves are in the shared predictions file; Fleiss' and Randolph's kappa and Cochran's Q
// over all systems of a data set.
TEST(MetricsGolden, SeveralSystems) {
  std::string path = testing::shared_path("data/reference_predictions/medagents_zero_shot/predictions.csv");
  if (!exists(path)) GTEST_SKIP() << "needs ../shared (per-item predictions of eight systems)";
  std::string text = read_file(path).value();
  std::map<std::string, std::map<std::string, std::map<std::string, std::pair<std::string, std::string>>>>
      table;
  for (const auto& line : split(text, '\n')) {
    auto cells = split(trim(line), ',');
    if (cells.size() == 5 && cells[0] != "dataset")
      table[cells[0]][cells[1]][cells[2]] = {cells[3], cells[4]};
  }
  Json all = golden("several_systems.json");
  for (const auto& wanted : all.items()) {
    auto& systems = table[wanted["dataset"].as_string()];
    SCOPED_TRACE(wanted["dataset"].as_string());
    std::vector<std::string> names, items;
    for (const auto& name : wanted["systems"].items()) names.push_back(name.as_string());
    for (const auto& [item, answer] : systems[names[0]]) {
      bool everywhere = true;
      for (const auto& name : names) everywhere = everywhere && systems[name].count(item);
      if (everywhere) items.push_back(item);
    }
    ASSERT_EQ(static_cast<int64_t>(items.size()), wanted["items"].as_int());
    std::map<std::string, int32_t> category;
    for (const auto& c : wanted["categories"].items())
      category.emplace(c.as_string(), static_cast<int32_t>(category.size()));
    std::vector<std::vector<int32_t>> labels, correctness;
    std::vector<std::vector<uint8_t>> right;
    for (const auto& name : names) {
      labels.emplace_back(), correctness.emplace_back(), right.emplace_back();
      for (const auto& item : items) {
        auto [gold, predicted] = systems[name][item];
        ASSERT_TRUE(category.count(predicted)) << predicted;
        labels.back().push_back(category[predicted]);
        right.back().push_back(gold == predicted);
        correctness.back().push_back(gold == predicted);
      }
    }
    int32_t categories = static_cast<int32_t>(category.size());
    EXPECT_CLOSED_FORM(fleiss_kappa(labels, categories),
                       wanted["fleiss_kappa_of_predictions (statsmodels)"].as_double());
    EXPECT_CLOSED_FORM(randolph_kappa(labels, categories),
                       wanted["randolph_kappa (statsmodels)"].as_double());
    EXPECT_CLOSED_FORM(fleiss_kappa(correctness, 2),
                       wanted["fleiss_kappa_of_correctness (statsmodels)"].as_double());
    auto q = cochran_q(right);
    EXPECT_CLOSED_FORM(q.statistic, wanted["cochran_q (statsmodels)"][0].as_double());
    EXPECT_CLOSED_FORM(q.p, wanted["cochran_q (statsmodels)"][1].as_double());
  }
}

}  // namespace
}  // namespace bm
