#include "evaluation/results.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/file.h"
#include "base/threads.h"
#include "statistics/paired.h"
#include "statistics/summary.h"

namespace bm {
namespace {

bool right_by(const Prediction& p, DecisionRule rule) {
  return rule == DecisionRule::letters ? p.letters_right() : p.right();
}

bool is_order_file(const PredictionsFile& file) { return path_name(file.run) == "option_orders"; }

RunSummary summarize_run(const std::vector<PredictionsFile>& files, const std::vector<size_t>& draws,
                         const ResultsOptions& options) {
  RunSummary s;
  const auto& first = files[draws[0]];
  s.run = first.run;
  s.task = first.task;
  s.language = first.language;
  s.files = draws;
  std::map<std::string, std::pair<double, double>> items;  // right answers, draws
  std::set<std::string> letters;
  for (size_t index : draws) {
    const auto& file = files[index];
    double right = 0, letters_right = 0, n = static_cast<double>(file.predictions.size());
    for (const auto& p : file.predictions) {
      right += p.right();
      letters_right += p.letters_right();
      s.ties += p.tie;
      auto& item = items[p.identifier];
      item.first += right_by(p, options.rule);
      item.second += 1;
      for (const auto& l : p.letters) letters.insert(l.letter);
      letters.insert(p.correct_letter);
    }
    s.top1_points.push_back(100 * (right / n));
    s.letters_points.push_back(100 * (letters_right / n));
  }
  s.points = options.rule == DecisionRule::letters ? s.letters_points : s.top1_points;
  s.n = static_cast<int64_t>(first.predictions.size());
  s.mean = mean(s.points);
  s.population_sd = population_sd(s.points);
  s.sample_sd = s.points.size() > 1 ? sample_sd(s.points) : 0;
  s.chance = letters.empty() ? 0 : 1 / static_cast<double>(letters.size());
  std::vector<double> values;
  for (const auto& [identifier, sum] : items) {
    s.item_accuracy[identifier] = sum.first / sum.second;
    values.push_back(sum.first / sum.second);
  }
  s.bootstrap_95 = bootstrap_mean_interval(values, options.resamples, options.seed);
  for (const auto& p : first.predictions) {
    if (!p.extra["category"].is_string()) continue;
    auto& category = s.categories[p.extra["category"].as_string()];
    category.first += 1;
    category.second += right_by(p, options.rule);
  }
  for (auto& [name, category] : s.categories) category.second /= static_cast<double>(category.first);
  return s;
}

PairTest test_pair(const RunSummary& a, const RunSummary& b, const std::vector<PredictionsFile>& files,
                   const ResultsOptions& options) {
  PairTest t;
  t.task = a.task;
  t.language = a.language;
  t.first = a.run;
  t.second = b.run;
  std::vector<double> differences;
  bool whole = true;
  int64_t plus = 0, minus = 0;
  for (const auto& [identifier, accuracy] : a.item_accuracy) {
    auto other = b.item_accuracy.find(identifier);
    if (other == b.item_accuracy.end()) continue;
    double d = accuracy - other->second;
    differences.push_back(d);
    plus += d > 0;
    minus += d < 0;
    whole = whole && (d == 0 || d == 1 || d == -1);
  }
  t.n = static_cast<int64_t>(differences.size());
  if (t.n == 0) return t;
  t.difference = mean(differences);
  t.interval_95 = bootstrap_mean_interval(differences, options.resamples, options.seed);
  t.permutation_p =
      whole ? mcnemar_exact(plus, minus) : sign_flip_test(differences, options.resamples, options.seed);
  t.detectable =
      minimal_detectable_difference(t.n, static_cast<double>(plus + minus) / static_cast<double>(t.n));
  std::map<std::string, bool> first_draw;
  for (const auto& p : files[a.files[0]].predictions) first_draw[p.identifier] = right_by(p, options.rule);
  int64_t only_first = 0, only_second = 0;
  for (const auto& p : files[b.files[0]].predictions) {
    auto found = first_draw.find(p.identifier);
    if (found == first_draw.end()) continue;
    bool right = right_by(p, options.rule);
    only_first += found->second && !right;
    only_second += right && !found->second;
  }
  t.mcnemar_mid_p = mcnemar_mid_p(only_first, only_second);
  return t;
}

// The given letter behind the letter an order's prediction chose; "" when it chose none.
std::string chosen_option(const Prediction& p) {
  if (!p.extra["order"].is_string()) return p.letters_prediction;
  const std::string& order = p.extra["order"].as_string();
  for (size_t i = 0; i < p.letters.size() && i < order.size(); ++i)
    if (p.letters[i].letter == p.letters_prediction) return std::string(1, order[i]);
  return "";
}

OrderSummary summarize_orders(const std::vector<const PredictionsFile*>& orders) {
  OrderSummary s;
  s.orders = static_cast<int64_t>(orders.size());
  std::map<std::string, std::set<std::string>> chosen;
  std::map<std::string, double> picked, right;
  double total = 0;
  s.lowest = 1;
  for (const auto* file : orders) {
    double correct = 0;
    for (const auto& p : file->predictions) {
      chosen[p.identifier].insert(chosen_option(p));
      picked[p.letters_prediction] += 1;
      right[p.correct_letter] += 1;
      correct += p.letters_right();
      total += 1;
    }
    double accuracy = correct / static_cast<double>(std::max<size_t>(1, file->predictions.size()));
    s.lowest = std::min(s.lowest, accuracy);
    s.highest = std::max(s.highest, accuracy);
  }
  s.items = static_cast<int64_t>(chosen.size());
  double changed = 0;
  for (const auto& [identifier, options] : chosen) changed += options.size() > 1;
  s.changed = chosen.empty() ? 0 : changed / static_cast<double>(chosen.size());
  std::set<std::string> letters;
  for (const auto& [letter, count] : picked) letters.insert(letter);
  for (const auto& [letter, count] : right) letters.insert(letter);
  for (const auto& letter : letters)
    s.position_bias += 0.5 * std::abs(picked[letter] - right[letter]) / std::max(1.0, total);
  return s;
}

std::vector<OrderSummary> order_summaries(const std::vector<PredictionsFile>& files) {
  std::vector<OrderSummary> summaries;
  std::map<std::string, std::vector<const PredictionsFile*>> groups;  // given order first
  for (const auto& file : files) {
    if (!is_order_file(file)) continue;
    std::string task = file.task.substr(0, file.task.rfind(".order")), language = file.language;
    size_t dot = task.rfind('.');
    if (starts_with(language, "order") && dot != std::string::npos)
      language = task.substr(dot + 1), task.resize(dot);
    std::string run = path_parent(file.run);
    auto& group = groups[run + "\n" + task + "\n" + language + "\n" + std::to_string(file.draw)];
    if (group.empty()) {
      for (const auto& given : files)
        if (given.run == run && given.task == task && given.language == language && given.draw == file.draw)
          group.push_back(&given);
    }
    group.push_back(&file);
  }
  for (const auto& [key, orders] : groups) {
    if (split(key, '\n').back() != "1") continue;  // of the first draw
    OrderSummary s = summarize_orders(orders);
    s.run = orders[0]->run;
    s.task = orders[0]->task;
    s.language = orders[0]->language;
    summaries.push_back(std::move(s));
  }
  return summaries;
}

}  // namespace

ResultsSummary summarize(const std::vector<PredictionsFile>& files, const ResultsOptions& options) {
  ResultsSummary summary;
  std::map<std::string, std::vector<size_t>> groups;
  for (size_t i = 0; i < files.size(); ++i)
    if (!is_order_file(files[i])) groups[files[i].group()].push_back(i);
  std::vector<std::vector<size_t>> lists;
  for (auto& [key, draws] : groups) {
    std::stable_sort(draws.begin(), draws.end(),
                     [&](size_t a, size_t b) { return files[a].draw < files[b].draw; });
    lists.push_back(draws);
  }
  summary.runs.resize(lists.size());
  for (size_t i = 0; i < lists.size(); ++i) summary.runs[i] = summarize_run(files, lists[i], options);
  std::vector<double> p;
  for (size_t a = 0; a < summary.runs.size(); ++a) {
    for (size_t b = a + 1; b < summary.runs.size(); ++b) {
      const auto &x = summary.runs[a], &y = summary.runs[b];
      if (x.task != y.task || x.language != y.language || x.run == y.run) continue;
      auto test = test_pair(x, y, files, options);
      if (test.n == 0) continue;
      p.push_back(test.permutation_p);
      summary.pairs.push_back(std::move(test));
    }
  }
  auto adjusted = holm_adjust(p);
  for (size_t i = 0; i < p.size(); ++i) summary.pairs[i].holm_p = adjusted[i];
  for (const auto& x : summary.runs) {
    for (const auto& y : summary.runs) {
      bool english = y.language == "en" || y.language == "english";
      if (!english || x.run != y.run || x.task != y.task || x.language == y.language) continue;
      auto test = test_pair(x, y, files, options);
      if (test.n == 0) continue;
      test.first = x.language;
      test.second = y.language;
      summary.language_drops.push_back({x.run, std::move(test)});
    }
  }
  summary.orders = order_summaries(files);
  return summary;
}

namespace {

Json interval_json(const Interval& i) { return Json::array({i.low, i.high}); }

Json numbers(const std::vector<double>& values) {
  Json array = Json::array();
  for (double v : values) array.push_back(v);
  return array;
}

Json lm_eval_json(const RunSummary& run, const std::vector<FileMetrics>& metrics) {
  Json json = Json::object(
      {{"alias", run.task + (run.language == "en" || run.language.empty() ? "" : "_" + run.language)},
       {"sample_len", run.n}});
  const auto& scores = metrics[run.files[0]].lm_eval;
  for (const auto& score : scores) {
    json.set(score.name + ",none", score.value);
    json.set(score.name + "_stderr,none", score.name == "brier_score" ? Json("N/A") : Json(score.error));
  }
  if (scores.empty()) {
    std::vector<double> values;
    for (const auto& [identifier, accuracy] : run.item_accuracy) values.push_back(accuracy);
    json.set("acc,none", run.mean / 100);
    json.set("acc_stderr,none", standard_error(values));
  }
  return json;
}

Json calibration_means(const RunSummary& run, const std::vector<FileMetrics>& metrics, bool renormalized) {
  Json json = Json::object();
  if (!metrics[run.files[0]].has_probabilities) return json;
  auto add = [&](const char* name, double CalibrationSummary::*field) {
    double sum = 0;
    for (size_t f : run.files) sum += (renormalized ? metrics[f].renormalized : metrics[f].raw).*field;
    json.set(name, sum / static_cast<double>(run.files.size()));
  };
  add("mean_confidence", &CalibrationSummary::mean_confidence);
  add("ece_5", &CalibrationSummary::ece_5);
  add("ece_10", &CalibrationSummary::ece_10);
  add("ece_15", &CalibrationSummary::ece_15);
  add("mce_10", &CalibrationSummary::mce_10);
  add("ece_10_equal_mass", &CalibrationSummary::ece_10_equal_mass);
  add("brier", &CalibrationSummary::brier);
  add("nll", &CalibrationSummary::nll);
  return json;
}

Json categories_json(const RunSummary& run) {
  Json json = Json::object();
  for (const auto& [name, category] : run.categories)
    json.set(name, Json::object({{"items", category.first}, {"accuracy", category.second}}));
  return json;
}

Json run_json(const RunSummary& run, const std::vector<PredictionsFile>& files,
              const std::vector<FileMetrics>& metrics) {
  Json names = Json::array();
  int64_t tokens = 0, truncated = 0, lines = 0;
  for (size_t f : run.files) {
    names.push_back(files[f].name);
    for (const auto& p : files[f].predictions) {
      tokens += p.prompt_tokens;
      truncated += p.truncated_tokens > 0;
      ++lines;
    }
  }
  const auto& first = metrics[run.files[0]];
  return Json::object({{"run", run.run},
                       {"task", run.task},
                       {"language", run.language},
                       {"n", run.n},
                       {"draws", static_cast<int64_t>(run.files.size())},
                       {"accuracy_points", run.mean},
                       {"population_sd_points", run.population_sd},
                       {"sample_sd_points", run.sample_sd},
                       {"draw_points", numbers(run.points)},
                       {"draw_points_top1", numbers(run.top1_points)},
                       {"draw_points_letters", numbers(run.letters_points)},
                       {"wilson_95_first_draw", interval_json(first.accuracy_wilson_95)},
                       {"bootstrap_95", interval_json(run.bootstrap_95)},
                       {"chance", run.chance},
                       {"ties", run.ties},
                       {"mean_prompt_tokens",
                        lines ? Json(static_cast<double>(tokens) / static_cast<double>(lines)) : Json()},
                       {"truncated", truncated},
                       {"auroc_first_draw", first.auroc ? Json(*first.auroc) : Json()},
                       {"calibration_raw", calibration_means(run, metrics, false)},
                       {"calibration_renormalized", calibration_means(run, metrics, true)},
                       {"categories", categories_json(run)},
                       {"files", std::move(names)}});
}

Json drops_json(const std::vector<LanguageDrop>& drops) {
  Json json = Json::array();
  for (const auto& [run, t] : drops)
    json.push_back(Json::object({{"run", run},
                                 {"task", t.task},
                                 {"language", t.first},
                                 {"against", t.second},
                                 {"n", t.n},
                                 {"difference", t.difference},
                                 {"bootstrap_95", interval_json(t.interval_95)},
                                 {"permutation_p", t.permutation_p}}));
  return json;
}

Json pairs_json(const std::vector<PairTest>& pairs) {
  Json json = Json::array();
  for (const auto& t : pairs)
    json.push_back(Json::object({{"task", t.task},
                                 {"language", t.language},
                                 {"first", t.first},
                                 {"second", t.second},
                                 {"n", t.n},
                                 {"difference", t.difference},
                                 {"bootstrap_95", interval_json(t.interval_95)},
                                 {"permutation_p", t.permutation_p},
                                 {"mcnemar_mid_p_first_draw", t.mcnemar_mid_p},
                                 {"holm_p", t.holm_p},
                                 {"minimal_detectable_difference", t.detectable}}));
  return json;
}

}  // namespace

Json results_json(const ResultsSummary& summary, const std::vector<PredictionsFile>& files,
                  const std::vector<FileMetrics>& metrics) {
  std::set<std::string> names;
  for (const auto& run : summary.runs) names.insert(run.run);
  Json results = Json::object(), runs = Json::array(), samples = Json::object(), orders = Json::array();
  for (const auto& run : summary.runs) {
    Json entry = lm_eval_json(run, metrics);
    // lm-eval's files hold one model; with several the task's key carries the model in front.
    std::string key = (names.size() > 1 ? run.run + "/" : "") + entry["alias"].as_string();
    samples.set(key, Json::object({{"original", run.n}, {"effective", run.n}}));
    results.set(key, std::move(entry));
    runs.push_back(run_json(run, files, metrics));
  }
  for (const auto& o : summary.orders)
    orders.push_back(Json::object({{"run", o.run},
                                   {"task", o.task},
                                   {"language", o.language},
                                   {"items", o.items},
                                   {"orders", o.orders},
                                   {"answers_changed", o.changed},
                                   {"lowest_accuracy", o.lowest},
                                   {"highest_accuracy", o.highest},
                                   {"position_bias", o.position_bias}}));
  return Json::object({{"results", std::move(results)},
                       {"n-samples", std::move(samples)},
                       {"runs", std::move(runs)},
                       {"pairwise", pairs_json(summary.pairs)},
                       {"language_drops", drops_json(summary.language_drops)},
                       {"option_orders", std::move(orders)}});
}

}  // namespace bm
