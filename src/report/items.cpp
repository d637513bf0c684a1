// Languages × models, and the answers item by item.
#include <algorithm>
#include <map>

#include "base/file.h"
#include "evaluation/results.h"
#include "report/sections.h"

namespace bm {
namespace {

// Keeps the page below 8 MB: about 150 bytes a row of four models.
constexpr size_t kMostRows = 20000;

void add_once(std::vector<std::string>& list, const std::string& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

std::string model_label(const std::string& run) { return run.empty() ? "predictions" : run; }

}  // namespace

ReportTable table_of(const HeatMap& map) {
  ReportTable table{map.caption, {text_cell(map.corner)}, {}, map.note, 0};
  for (const std::string& column : map.columns) table.header.push_back(number_cell(column));
  for (size_t r = 0; r < map.rows.size(); ++r) {
    std::vector<Cell> row = {text_cell(map.rows[r])};
    for (const auto& value : map.values[r])
      row.push_back(number_cell(value ? fixed_text(*value, 1) : std::string("–")));
    table.rows.push_back(std::move(row));
  }
  return table;
}

void add_languages(const std::vector<RunSummary>& runs, Document& page) {
  HeatMap map;
  std::map<std::pair<std::string, std::string>, std::pair<double, double>> sums;  // points, tasks
  for (const RunSummary& run : runs) {
    add_once(map.rows, model_label(run.run));
    add_once(map.columns, run.language.empty() ? "en" : run.language);
    auto& sum = sums[{model_label(run.run), run.language.empty() ? "en" : run.language}];
    sum.first += run.mean;
    sum.second += 1;
  }
  if (map.columns.size() < 2) return;
  map.caption = "Accuracy by model and language, points";
  map.corner = "model";
  map.low = 100;
  map.high = 0;
  for (const std::string& model : map.rows) {
    auto& row = map.values.emplace_back();
    for (const std::string& language : map.columns) {
      auto found = sums.find({model, language});
      if (found == sums.end()) {
        row.emplace_back();
        continue;
      }
      double points = found->second.first / found->second.second;
      map.low = std::min(map.low, points);
      map.high = std::max(map.high, points);
      row.emplace_back(points);
    }
  }
  map.note =
      "Plain mean of the tasks each language has; the tasks differ between languages, so only a column is "
      "compared fairly. Darker is higher.";
  page.blocks.push_back(Heading{3, "Languages"});
  page.blocks.push_back(std::move(map));
}

void add_items(const std::vector<PredictionsFile>& files, Document& page) {
  ItemBrowser browser;
  auto asked = [](const PredictionsFile& file) {
    return file.draw == 1 && path_name(file.run) != "option_orders";
  };
  for (const PredictionsFile& file : files)
    if (asked(file)) add_once(browser.models, model_label(file.run));
  std::map<std::pair<std::string, std::string>, size_t> place;  // task, identifier
  size_t left_out = 0;
  for (const PredictionsFile& file : files) {
    if (!asked(file)) continue;
    auto model =
        static_cast<size_t>(std::find(browser.models.begin(), browser.models.end(), model_label(file.run)) -
                            browser.models.begin());
    std::string task = file.task.empty() ? path_name(file.name) : file.task;
    if (!file.language.empty()) task += " (" + file.language + ")";
    for (const Prediction& p : file.predictions) {
      auto found = place.find({task, p.identifier});
      if (found == place.end()) {
        if (browser.rows.size() >= kMostRows) {
          ++left_out;
          continue;
        }
        found = place.emplace(std::pair{task, p.identifier}, browser.rows.size()).first;
        browser.rows.push_back({task, p.identifier, p.correct_letter, {}});
        browser.rows.back().answers.resize(browser.models.size());
      }
      auto& answer = browser.rows[found->second].answers[model];
      answer.given = p.best_prediction;
      for (const auto& letter : p.letters)
        if (letter.letter == p.best_prediction) answer.probability = letter.probability;
    }
  }
  if (browser.rows.empty()) return;
  browser.note =
      "First draw of the shots. The probability is that of the answer given, of the whole vocabulary.";
  if (left_out)
    browser.note += " " + std::to_string(left_out) + " further answers stand in the predictions files only.";
  page.blocks.push_back(Heading{2, "Item by item"});
  page.blocks.push_back(std::move(browser));
}

}  // namespace bm
