#include "evaluation/foreign_predictions.h"

#include <fmt/format.h>

#include <map>

#include "base/file.h"
#include "tasks/csv.h"

namespace bm {
namespace {

std::string file_safe(std::string text) {
  for (char& c : text)
    if (c == '/' || c == ' ') c = '_';
  return text;
}

// An answer without probabilities: the letter is both predictions, whatever case the author used.
Prediction plain_answer(std::string identifier, const std::string& gold, const std::string& answer) {
  Prediction p;
  p.identifier = std::move(identifier);
  p.correct_letter = gold;
  p.best_prediction = p.letters_prediction = answer;
  return p;
}

void add_medagents(PredictionsFolder& folder, const PredictionsFile& file, const std::vector<CsvRow>& rows) {
  std::map<std::pair<std::string, std::string>, PredictionsFile> systems;
  for (size_t r = 1; r < rows.size(); ++r) {
    const auto& c = rows[r].cells;
    if (c.size() != 5 || c[3].empty()) {
      folder.broken.push_back(
          {file.path, "line " + std::to_string(rows[r].line), "not dataset, model, realidx, gold, pred"});
      continue;
    }
    auto& system = systems[{c[1], c[0]}];
    system.path = file.path;
    system.run = file.name + "/" + file_safe(c[1]);
    system.task = c[0];
    system.language = "en";
    system.name = system.run + "/" + c[0] + ".en";
    system.predictions.push_back(plain_answer(c[2], c[3], c[4]));
  }
  for (auto& [key, system] : systems) folder.files.push_back(std::move(system));
}

bool is_truth_value(const std::string& text) { return text == "True" || text == "False"; }

}  // namespace

Status read_foreign_json(PredictionsFolder& folder, PredictionsFile file, const Json& root) {
  const Json& rows = root["predictions"];
  if (!rows.is_array() || rows.size() == 0 || !rows[0].contains("ground_truth")) return {};
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& row = rows[i];
    Json line = Json::object({{"identifier", fmt::format("{:04d}", i)},
                              {"correct_letter", row["ground_truth"]},
                              {"best_prediction", row["prediction"]},
                              {"predictions", row["all_probs"]}});
    auto prediction = read_prediction(line);
    if (prediction.ok())
      file.predictions.push_back(std::move(*prediction));
    else
      folder.broken.push_back({file.path, "entry " + std::to_string(i), prediction.error().what()});
  }
  if (!file.predictions.empty()) folder.files.push_back(std::move(file));
  return {};
}

Status read_foreign_jsonl(PredictionsFolder& folder, PredictionsFile file, std::string_view text) {
  int64_t line = 0;
  for (const auto& content : split(text, '\n')) {
    ++line;
    if (trim(content).empty()) continue;
    auto row = parse_json(trim(content));
    bool shaped =
        row.ok() && row->is_object() && row->contains("response_answer") && (*row)["answer"].is_string();
    if (!shaped && file.predictions.empty()) return {};  // another kind of file
    if (!shaped) {
      folder.broken.push_back({file.path, "line " + std::to_string(line), "no answer and response_answer"});
      continue;
    }
    const Json& answer = (*row)["response_answer"];
    file.predictions.push_back(plain_answer((*row)["query_id"].dump(), (*row)["answer"].as_string(),
                                            answer.is_string() ? answer.as_string() : ""));
  }
  if (!file.predictions.empty()) folder.files.push_back(std::move(file));
  return {};
}

Status read_foreign_csv(PredictionsFolder& folder, PredictionsFile file) {
  BM_TRY(std::string text, read_file(file.path));
  auto rows = parse_csv(text);
  if (!rows.ok() || rows->empty()) return {};
  const std::vector<std::string> medagents = {"dataset", "model", "realidx", "gold", "pred"};
  if ((*rows)[0].cells == medagents) {
    add_medagents(folder, file, *rows);
    return {};
  }
  for (size_t r = 0; r < rows->size(); ++r) {
    const auto& c = (*rows)[r].cells;
    if (c.size() != 5 || !is_truth_value(c[4])) {
      if (file.predictions.empty()) return {};
      folder.broken.push_back(
          {file.path, "line " + std::to_string((*rows)[r].line), "not five columns ending in True or False"});
      continue;
    }
    file.predictions.push_back(plain_answer(fmt::format("{:04d}", r), c[3], c[2]));
  }
  if (!file.predictions.empty()) folder.files.push_back(std::move(file));
  return {};
}

}  // namespace bm
