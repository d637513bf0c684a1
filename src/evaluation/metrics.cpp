#include "evaluation/metrics.h"

#include <algorithm>
#include <set>

#include "base/threads.h"
#include "statistics/summary.h"

namespace bm {
namespace {

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json calibration_json(const CalibrationSummary& s, bool known) {
  Json bins = Json::array();
  for (const auto& bin : s.reliability_10)
    bins.push_back(Json::object({{"low", bin.low},
                                 {"high", bin.high},
                                 {"count", bin.count},
                                 {"accuracy", optional_json(bin.accuracy)},
                                 {"confidence", optional_json(bin.confidence)},
                                 {"gap", optional_json(bin.gap())}}));
  auto figure = [&](double value) { return known ? Json(value) : Json(); };
  return Json::object({{"mean_confidence", figure(s.mean_confidence)},
                       {"ece_5", figure(s.ece_5)},
                       {"ece_10", figure(s.ece_10)},
                       {"ece_15", figure(s.ece_15)},
                       {"mce_5", figure(s.mce_5)},
                       {"mce_10", figure(s.mce_10)},
                       {"mce_15", figure(s.mce_15)},
                       {"ece_10_equal_mass", figure(s.ece_10_equal_mass)},
                       {"brier", figure(s.brier)},
                       {"brier_top_label", figure(s.brier_top_label)},
                       {"nll", figure(s.nll)},
                       {"reliability_10", known ? std::move(bins) : Json()}});
}

void add_lm_eval(const PredictionsFile& file, FileMetrics& m) {
  for (const char* name :
       {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "mc2", "brier_score"}) {
    std::vector<double> values;
    for (const auto& p : file.predictions)
      if (p.extra[name].is_number()) values.push_back(p.extra[name].as_double());
    if (values.size() == file.predictions.size())
      m.lm_eval.push_back({name, mean(values), standard_error(values)});
  }
}

}  // namespace

LetterProbabilities letter_probabilities(const PredictionsFile& file) {
  std::set<std::string> letters;
  bool any = false;
  for (const auto& p : file.predictions) {
    for (const auto& l : p.letters) letters.insert(l.letter);
    any = any || !p.letters.empty();
  }
  LetterProbabilities result;
  if (!any) return result;
  for (const auto& p : file.predictions) letters.insert(p.correct_letter);
  std::vector<std::string> columns(letters.begin(), letters.end());
  result.letters = static_cast<int64_t>(columns.size());
  for (const auto& p : file.predictions) {
    int32_t gold = -1;
    for (size_t c = 0; c < columns.size(); ++c) {
      double value = 0;
      for (const auto& l : p.letters)
        if (l.letter == columns[c]) value = l.probability;
      result.values.push_back(value);
      if (columns[c] == p.correct_letter) gold = static_cast<int32_t>(c);
    }
    result.gold.push_back(gold);
  }
  return result;
}

FileMetrics file_metrics(const PredictionsFile& file) {
  FileMetrics m;
  m.n = static_cast<int64_t>(file.predictions.size());
  if (m.n == 0) return m;
  int64_t right = 0, letters_right = 0;
  for (const auto& p : file.predictions) {
    right += p.right();
    m.ties += p.tie;
    letters_right += p.letters_right();
  }
  m.accuracy = static_cast<double>(right) / static_cast<double>(m.n);
  m.accuracy_letters = static_cast<double>(letters_right) / static_cast<double>(m.n);
  m.accuracy_wilson_95 = wilson_interval(right, m.n);
  auto probabilities = letter_probabilities(file);
  m.has_probabilities = probabilities.letters > 0;
  if (m.has_probabilities) {
    m.raw = calibration_summary(probabilities);
    m.renormalized = calibration_summary(renormalized(probabilities));
    auto [confidence, correct] = confidences(probabilities);
    m.auroc = auroc(confidence, correct);
  }
  add_lm_eval(file, m);
  return m;
}

Json metrics_json(const FileMetrics& m) {
  return Json::object(
      {{"n", m.n},
       {"accuracy", m.accuracy},
       {"accuracy_letters", m.accuracy_letters},
       {"ties", m.ties},
       {"accuracy_wilson_95", Json::array({m.accuracy_wilson_95.low, m.accuracy_wilson_95.high})},
       {"raw", calibration_json(m.raw, m.has_probabilities)},
       {"renormalized", calibration_json(m.renormalized, m.has_probabilities)}});
}

Json all_metrics_json(const std::vector<PredictionsFile>& files, std::vector<FileMetrics>& metrics) {
  metrics.resize(files.size());
  parallel_for(files.size(), [&](size_t i) { metrics[i] = file_metrics(files[i]); });
  Json json = Json::object();
  for (size_t i = 0; i < files.size(); ++i) json.set(files[i].name, metrics_json(metrics[i]));
  return json;
}

}  // namespace bm
