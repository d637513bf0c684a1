// BioInstructQA's own layout, as JSON lines (or an array of the same objects).
#include <map>

#include "base/file.h"
#include "tasks/import_helpers.h"

namespace bm {
namespace {

Status read_question(const Json& row, bool translated, Question& question) {
  auto field = [&](const char* name) -> const Json& {
    const Json& other = row[std::string(name) + "_translated"];
    return translated && !other.is_null() ? other : row[name];
  };
  const Json& context = field("context");
  if (context.is_string())
    question.context = context.as_string();
  else if (!context.is_null())
    return bad_input("context is neither text nor null");
  if (!field("question").is_string()) return bad_input("no question");
  question.question = field("question").as_string();
  BM_CHECK_OK(read_options(field("options"), question.options));
  BM_TRY(question.correct_letter, row.get_string("correct_answer_letter"));
  return {};
}

Status read_shots(const Json& draws, Item& item) {
  // [draw][shot], or the original's object {"1": [...], "2": [...]}.
  std::vector<const Json*> lists;
  if (draws.is_object()) {
    for (const auto& [key, list] : draws.members()) lists.push_back(&list);
  } else {
    for (const auto& list : draws.items()) lists.push_back(&list);
  }
  for (const Json* list : lists) {
    if (!list->is_array()) return bad_input("few_shot_samples is not [draw][shot]");
    auto& shots = item.few_shot_samples.emplace_back();
    for (const auto& shot : list->items()) {
      auto status =
          shot.is_object() ? read_question(shot, false, shots.emplace_back()) : bad_input("no object");
      if (!status.ok()) return std::move(status.error()).in("few_shot_samples");
    }
  }
  return {};
}

Result<Item> biomedical_item(const Json& row) {
  Item item;
  BM_TRY(item.corpus, row.get_string("corpus", ""));
  BM_TRY(std::string language, row.get_string("lang", "en"));
  item.language = language_code(language);
  const Json& identifier = row["identifier"];
  if (identifier.is_integer())
    item.identifier = std::to_string(identifier.as_int());
  else if (identifier.is_string())
    item.identifier = identifier.as_string();
  BM_CHECK_OK(read_question(row, item.language != "en", item));
  const Json& draws = row["few_shot_samples"];
  if (!draws.is_null()) {
    if (!draws.is_array() && !draws.is_object()) return bad_input("few_shot_samples is not [draw][shot]");
    BM_CHECK_OK(read_shots(draws, item));
  }
  return item;
}

Json question_json(const Question& question) {
  Json options = Json::object();
  for (const auto& option : question.options) options.set(option.letter, option.text);
  return Json::object({{"context", question.context.empty() ? Json() : Json(question.context)},
                       {"question", question.question},
                       {"options", std::move(options)},
                       {"correct_answer_letter", question.correct_letter}});
}

}  // namespace

Result<ImportedFile> import_items(const std::string& path) {
  BM_TRY(std::string text, read_file(path));
  std::string stem = path_name(path);
  stem = stem.substr(0, stem.find('.'));
  ImportLabels labels{stem, stem, ""};
  if (starts_with(trim(text), "[")) return import_array(path, text, labels, biomedical_item);
  return import_lines(path, text, labels, biomedical_item);
}

Json item_json(const Item& item) {
  Json json =
      Json::object({{"identifier", item.identifier}, {"corpus", item.corpus}, {"lang", item.language}});
  Json question = question_json(item);
  for (const auto& [key, value] : question.members()) json.set(key, value);
  if (!item.few_shot_samples.empty()) {
    Json draws = Json::array();
    for (const auto& draw : item.few_shot_samples) {
      Json shots = Json::array();
      for (const auto& shot : draw) shots.push_back(question_json(shot));
      draws.push_back(std::move(shots));
    }
    json.set("few_shot_samples", std::move(draws));
  }
  return json;
}

std::string language_code(const std::string& language) {
  static const std::map<std::string, std::string> codes = {
      {"english", "en"}, {"french", "fr"},  {"spanish", "es"}, {"german", "de"},  {"portuguese", "pt"},
      {"russian", "ru"}, {"chinese", "zh"}, {"arabic", "ar"},  {"italian", "it"}, {"japanese", "ja"}};
  std::string name = language;
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  auto found = codes.find(name);
  return found == codes.end() ? language : found->second;
}

}  // namespace bm
