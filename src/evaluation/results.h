// Everything the tables and results.json say, computed from predictions files alone.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/metrics.h"
#include "evaluation/plan.h"

namespace bm {

// The draws of one task and language by one model.
struct RunSummary {
  std::string run, task, language;
  std::vector<size_t> files;   // indices, by draw
  int64_t n = 0;               // items of a draw (the first one's)
  std::vector<double> points;  // accuracy of each draw in points, by the headline rule
  std::vector<double> letters_points, top1_points;
  double mean = 0, population_sd = 0, sample_sd = 0;  // of points
  Interval bootstrap_95;                              // shares; items resampled, draws averaged
  int64_t ties = 0;                                   // over all draws
  double chance = 0;                                  // 1/letters
  std::map<std::string, double> item_accuracy;        // identifier → mean over draws, by the headline rule
  // Accuracy by the items' category (TruthfulQA's, MedMCQA's subject), first draw.
  std::map<std::string, std::pair<int64_t, double>> categories;  // items, share right
};

struct PairTest {
  std::string task, language, first, second;
  int64_t n = 0;             // items both answered
  double difference = 0;     // shares, first − second, draws averaged
  Interval interval_95;      // bootstrap over items
  double permutation_p = 1;  // sign flips of per-item differences; exact binomial when they are all −1, 0, 1
  double mcnemar_mid_p = 1;  // on the first draw
  double holm_p = 1;         // permutation_p, Holm over all tests of the report
  double detectable = 0;     // difference found with 80 % power given the share of disagreeing items
};

// A task in another language against the same items (by identifier) in English, one model.
struct LanguageDrop {
  std::string run;
  PairTest test;  // difference = language − English
};

// Does the order of the options change answers?
struct OrderSummary {
  std::string run, task, language;
  int64_t items = 0, orders = 0;
  double changed = 0;              // share of items whose chosen option text is not the same in all orders
  double lowest = 0, highest = 0;  // accuracy over the orders
  double position_bias =
      0;  // total variation between how often each letter is chosen and how often it is right
};

struct ResultsOptions {
  DecisionRule rule = DecisionRule::top1;
  int64_t resamples = 10000;
  uint64_t seed = 42;
};

struct ResultsSummary {
  std::vector<RunSummary> runs;  // by run, then task
  std::vector<PairTest> pairs;
  std::vector<LanguageDrop> language_drops;
  std::vector<OrderSummary> orders;
};
ResultsSummary summarize(const std::vector<PredictionsFile>& files, const ResultsOptions& options);

// results.json: shaped like lm-eval's ("results" task → "acc,none", "acc_stderr,none", …; "n-samples",
// "n-shot", "versions", "config", "date") with "runs", "pairwise" and "option_orders" beside it.
Json results_json(const ResultsSummary& summary, const std::vector<PredictionsFile>& files,
                  const std::vector<FileMetrics>& metrics);

// Tables of accuracy in points, mean ± population sd of draws, one row a model; the paper's columns first and
// their plain mean last; the best of each column in bold.
std::string results_markdown(const ResultsSummary& summary, const std::vector<PredictionsFile>& files,
                             const std::vector<FileMetrics>& metrics);
std::string results_latex(const ResultsSummary& summary);
// A row a model, task and language, with a header: for spreadsheets. Shares, not points.
std::string results_csv(const ResultsSummary& summary, const std::vector<FileMetrics>& metrics);
// Plain text for a terminal.
std::string results_text(const ResultsSummary& summary);

}  // namespace bm
