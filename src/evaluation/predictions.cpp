#include "evaluation/predictions.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file.h"
#include "evaluation/foreign_predictions.h"
#include "tasks/catalog.h"

namespace bm {
namespace {

// Position of ".draw<digits>" at the end of the text or before another dot; npos when there is none.
size_t find_draw(const std::string& text, size_t& length, int64_t& draw) {
  for (size_t at = text.rfind(".draw"); at != std::string::npos;
       at = at ? text.rfind(".draw", at - 1) : std::string::npos) {
    size_t end = at + 5;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end == at + 5 || end - at > 14 || (end < text.size() && text[end] != '.')) continue;
    draw = std::stoll(text.substr(at + 5, end - at - 5));
    length = end - at;
    return at;
  }
  return std::string::npos;
}

// results_<model>_FewShot<v>_<corpus>_<language> or …_FewShot[<v>]_…
bool parse_original_name(const std::string& stem, PredictionsFile& file) {
  size_t at = stem.find("_FewShot");
  if (!starts_with(stem, "results_") || at == std::string::npos) return false;
  size_t digit = at + 8;
  if (digit < stem.size() && stem[digit] == '[') ++digit;
  size_t end = digit;
  while (end < stem.size() && stem[end] >= '0' && stem[end] <= '9') ++end;
  if (end == digit || end - digit > 6) return false;
  size_t rest = end < stem.size() && stem[end] == ']' ? end + 1 : end;
  size_t last = stem.rfind('_');
  if (rest >= stem.size() || stem[rest] != '_' || last <= rest) return false;
  file.run += (file.run.empty() ? "" : "/") + stem.substr(8, at - 8);
  file.draw = std::stoll(stem.substr(digit, end - digit));
  file.task = task_name_of_corpus(stem.substr(rest + 1, last - rest - 1));
  file.language = stem.substr(last + 1);
  return true;
}

std::string text_of(const Json& value) {
  if (value.is_string()) return value.as_string();
  if (value.is_integer()) return value.dump();
  return "";
}

bool looks_like_prediction(const Json& line) {
  return line.is_object() && line.contains("correct_letter") &&
         (line.contains("predictions") || line.contains("best_prediction"));
}

Status add_rows(PredictionsFolder& folder, PredictionsFile file,
                const std::vector<std::pair<std::string, Json>>& rows) {
  for (const auto& [place, row] : rows) {
    auto prediction = read_prediction(row);
    if (prediction.ok())
      file.predictions.push_back(std::move(*prediction));
    else
      folder.broken.push_back({file.path, place, prediction.error().what()});
  }
  if (!file.predictions.empty()) folder.files.push_back(std::move(file));
  return {};
}

Status read_jsonl(PredictionsFolder& folder, PredictionsFile file) {
  BM_TRY(auto map, MappedFile::open(file.path));
  std::string_view text = map.text();
  std::vector<std::pair<std::string, Json>> rows;
  std::vector<BrokenRow> broken;
  bool recognized = false;
  int64_t line = 0;
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find('\n', start), text.size());
    std::string_view content = trim(text.substr(start, end - start));
    start = end + 1;
    ++line;
    if (content.empty()) continue;
    std::string place = "line " + std::to_string(line);
    auto row = parse_json(content);
    if (!row.ok()) {
      broken.push_back({file.path, place, row.error().what()});
      continue;
    }
    if (!recognized && !looks_like_prediction(*row)) return read_foreign_jsonl(folder, std::move(file), text);
    recognized = true;
    rows.emplace_back(std::move(place), std::move(*row));
  }
  if (!recognized) return {};
  folder.broken.insert(folder.broken.end(), broken.begin(), broken.end());
  return add_rows(folder, std::move(file), rows);
}

Status read_json_list(PredictionsFolder& folder, PredictionsFile file) {
  auto root = read_json_file(file.path, {.reject_duplicate_keys = false});
  if (!root.ok()) {
    folder.broken.push_back({file.path, "", root.error().what()});
    return {};
  }
  if (!root->is_array()) return read_foreign_json(folder, std::move(file), *root);
  if (root->size() == 0 || !looks_like_prediction((*root)[0])) return {};
  std::vector<std::pair<std::string, Json>> rows;
  for (size_t i = 0; i < root->size(); ++i) rows.emplace_back("entry " + std::to_string(i), (*root)[i]);
  return add_rows(folder, std::move(file), rows);
}

}  // namespace

Json prediction_json(const Prediction& p) {
  Json probabilities = Json::object(), logprobs = Json::object();
  for (const auto& l : p.letters) {
    probabilities.set(l.letter, l.probability);
    logprobs.set(l.letter, std::isfinite(l.logprob) ? Json(l.logprob) : Json());
  }
  Json json = Json::object({{"identifier", p.identifier},
                            {"correct_letter", p.correct_letter},
                            {"best_prediction", p.best_prediction},
                            {"predictions", std::move(probabilities)},
                            {"letters_prediction", p.letters_prediction},
                            {"logprobs", std::move(logprobs)},
                            {"prompt_tokens", p.prompt_tokens},
                            {"tie", p.tie}});
  if (p.truncated_tokens) json.set("truncated_tokens", p.truncated_tokens);
  if (p.extra.is_object())
    for (const auto& [key, value] : p.extra.members()) json.set(key, value);
  return json;
}

void decide_letters(Prediction& p) {
  p.letters_prediction.clear();
  p.tie = false;
  double top = -std::numeric_limits<double>::infinity();
  for (const auto& l : p.letters) {
    if (l.probability > top) {
      top = l.probability;
      p.letters_prediction = l.letter;
      p.tie = false;
    } else if (l.probability == top) {
      p.tie = true;
    }
  }
}

Result<Prediction> read_prediction(const Json& line) {
  if (!line.is_object()) return bad_input("not a JSON object");
  Prediction p;
  p.identifier = text_of(line["identifier"]);
  if (!line["correct_letter"].is_string() || line["correct_letter"].as_string().empty())
    return bad_input("no correct_letter");
  p.correct_letter = line["correct_letter"].as_string();
  const Json& probabilities = line["predictions"];
  if (!probabilities.is_null() && !probabilities.is_object())
    return bad_input("predictions is no object of letters");
  if (probabilities.is_object()) {
    for (const auto& [letter, value] : probabilities.members()) {
      if (!value.is_number() || !(value.as_double() >= 0) || !std::isfinite(value.as_double()))
        return bad_input("the probability of " + letter + " is no number ≥ 0");
      p.letters.push_back({letter, value.as_double(), std::log(value.as_double())});
    }
  }
  std::sort(p.letters.begin(), p.letters.end(),
            [](const auto& a, const auto& b) { return a.letter < b.letter; });
  const Json& logprobs = line["logprobs"];
  for (auto& l : p.letters)
    if (logprobs[l.letter].is_number()) l.logprob = logprobs[l.letter].as_double();
  decide_letters(p);
  if (line["best_prediction"].is_string())
    p.best_prediction = line["best_prediction"].as_string();
  else
    p.best_prediction = p.letters_prediction;
  if (line["prompt_tokens"].is_integer()) p.prompt_tokens = line["prompt_tokens"].as_int();
  if (line["truncated_tokens"].is_integer()) p.truncated_tokens = line["truncated_tokens"].as_int();
  static const std::vector<std::string> known = {
      "identifier",         "correct_letter", "best_prediction", "predictions",
      "letters_prediction", "logprobs",       "prompt_tokens",   "tie",
      "truncated_tokens"};
  for (const auto& [key, value] : line.members()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) p.extra.set(key, value);
  }
  return p;
}

void parse_predictions_name(PredictionsFile& file) {
  std::string stem = path_name(file.name);
  file.run = path_parent(file.name);
  if (parse_original_name(stem, file)) return;
  size_t length = 0, at = find_draw(stem, length, file.draw);
  if (at != std::string::npos) stem.erase(at, length);
  size_t dot = stem.rfind('.');
  file.task = stem.substr(0, dot);
  file.language = dot == std::string::npos ? "" : stem.substr(dot + 1);
}

Result<PredictionsFolder> read_predictions_folder(const std::string& folder) {
  if (!exists(folder)) return bad_input("is not there", "give the folder of predictions").in(folder);
  BM_TRY(auto paths, list_files(folder));
  PredictionsFolder result;
  static const std::vector<std::string> ours = {"metrics.json", "results.json", "manifest.json",
                                                "ledger.jsonl"};
  for (const auto& path : paths) {
    std::string name = path.size() > folder.size() && starts_with(path, folder) ? path.substr(folder.size())
                                                                                : path_name(path);
    while (!name.empty() && name[0] == '/') name.erase(0, 1);
    if (std::find(ours.begin(), ours.end(), path_name(path)) != ours.end() ||
        starts_with(path_name(path), "partial"))
      continue;
    PredictionsFile file;
    file.path = path;
    if (ends_with(name, ".jsonl"))
      file.name = name.substr(0, name.size() - 6);
    else if (ends_with(name, ".json"))
      file.name = name.substr(0, name.size() - 5);
    else if (ends_with(name, ".csv"))
      file.name = name.substr(0, name.size() - 4);
    else
      continue;
    parse_predictions_name(file);
    if (ends_with(name, ".jsonl"))
      BM_CHECK_OK(read_jsonl(result, std::move(file)));
    else if (ends_with(name, ".json"))
      BM_CHECK_OK(read_json_list(result, std::move(file)));
    else
      BM_CHECK_OK(read_foreign_csv(result, std::move(file)));
  }
  std::stable_sort(result.files.begin(), result.files.end(),
                   [](const auto& a, const auto& b) { return a.name < b.name; });
  if (result.files.empty())
    return bad_input("holds no predictions",
                     "files of JSON lines (or JSON lists) with identifier, correct_letter, predictions and "
                     "best_prediction are expected")
        .in(folder);
  return result;
}

}  // namespace bm
