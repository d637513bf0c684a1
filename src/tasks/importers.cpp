#include "tasks/importers.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "tasks/import_helpers.h"

namespace bm {
namespace {

std::string letter_of(size_t index) { return std::string(1, static_cast<char>('A' + index)); }

// "A. text" or "(A) text" → letter and text.
bool split_lettered(std::string_view text, Option& option) {
  text = trim(text);
  if (text.size() >= 2 && text[1] == '.' && text[0] >= 'A' && text[0] <= 'Z') {
    option = {std::string(1, text[0]), std::string(trim(text.substr(2)))};
    return true;
  }
  if (text.size() >= 3 && text[0] == '(' && text[2] == ')') {
    option = {std::string(1, text[1]), std::string(trim(text.substr(3)))};
    return true;
  }
  return false;
}

Result<Item> medqa_item(const Json& row) {
  Item item;
  BM_TRY(item.question, row.get_string("question"));
  const Json& options = row["options"];
  if (options.is_object()) {
    BM_CHECK_OK(read_options(options, item.options));
    BM_TRY(item.correct_letter, row.get_string("answer_idx"));
    const Option* right = item.option(item.correct_letter);
    if (right && row["answer"].is_string() && row["answer"].as_string() != right->text)
      return bad_input("answer_idx " + item.correct_letter + " and the answer's text disagree");
    return item;
  }
  if (!options.is_array()) return bad_input("no options");
  BM_TRY(std::string answer, row.get_string("answer"));
  for (const auto& entry : options.items()) {
    Option option;
    if (!entry.is_string() || !split_lettered(entry.as_string(), option))
      return bad_input("an option is not \"A. text\"");
    if (option.text == trim(answer)) item.correct_letter = option.letter;
    item.options.push_back(std::move(option));
  }
  if (item.correct_letter.empty()) return bad_input("the answer's text is none of the options");
  return item;
}

Result<Item> medmcqa_item(const Json& row) {
  Item item;
  BM_TRY(item.question, row.get_string("question"));
  BM_TRY(item.identifier, row.get_string("id"));
  BM_TRY(int64_t right, row.get_int("cop"));
  BM_TRY(item.category, row.get_string("subject_name", ""));
  for (size_t i = 0; i < 4; ++i) {
    BM_TRY(std::string text, row.get_string(std::string("op") + static_cast<char>('a' + i)));
    item.options.push_back({letter_of(i), std::move(text)});
  }
  if (right < 1 || right > 4) return bad_input("cop is " + std::to_string(right) + ", not 1 to 4");
  item.correct_letter = letter_of(static_cast<size_t>(right - 1));
  return item;
}

Result<Item> pubmedqa_item(const std::string& pmid, const Json& row) {
  Item item;
  item.identifier = pmid;
  BM_TRY(item.question, row.get_string("QUESTION"));
  BM_TRY(std::string decision, row.get_string("final_decision"));
  if (!row["CONTEXTS"].is_array()) return bad_input("no CONTEXTS");
  for (const auto& part : row["CONTEXTS"].items()) {
    if (!part.is_string()) return bad_input("an entry of CONTEXTS is no text");
    item.context_parts.push_back(part.as_string());
    item.context += (item.context.empty() ? "" : " ") + part.as_string();
  }
  item.options = {{"A", "yes"}, {"B", "no"}, {"C", "maybe"}};
  for (const auto& option : item.options)
    if (option.text == decision) item.correct_letter = option.letter;
  if (item.correct_letter.empty())
    return bad_input("final_decision is \"" + decision + "\", not yes, no or maybe");
  return item;
}

Result<Item> apollo_item(const Json& row) {
  Item item;
  BM_TRY(item.question, row.get_string("question"));
  BM_TRY(std::string options, row.get_string("options"));
  BM_TRY(std::string answer, row.get_string("answer"));
  BM_TRY(item.context, row.get_string("context", ""));
  BM_TRY(item.category, row.get_string("source", ""));
  for (const auto& line : split(options, '\n')) {
    Option option;
    if (split_lettered(line, option)) {
      item.options.push_back(std::move(option));
    } else if (!item.options.empty()) {
      item.options.back().text += "\n" + line;  // an option of several lines
    }
  }
  Option right;
  if (!split_lettered(std::string(trim(answer)) + " ", right)) return bad_input("the answer is not \"(A)\"");
  item.correct_letter = right.letter;
  return item;
}

Result<Item> french_item(const Json& row) {
  Item item;
  BM_TRY(item.identifier, row.get_string("id"));
  BM_TRY(item.question, row.get_string("question"));
  if (!row["answers"].is_object()) return bad_input("no answers");
  for (const auto& [key, text] : row["answers"].members()) {
    if (key.size() != 1 || !text.is_string()) return bad_input("an answer is not letter: text");
    item.options.push_back({std::string(1, static_cast<char>(std::toupper(key[0]))), text.as_string()});
  }
  const Json& right = row["correct_answers"];
  if (right.size() != 1)
    return bad_input(std::to_string(right.size()) + " right answers: a one-letter rule needs one");
  if (!right[0].is_string() || right[0].as_string().size() != 1)
    return bad_input("correct_answers holds no letter");
  item.correct_letter = std::string(1, static_cast<char>(std::toupper(right[0].as_string()[0])));
  return item;
}

Result<Item> rumeddanet_item(const Json& row) {
  Item item;
  BM_TRY(item.context, row.get_string("context"));
  BM_TRY(item.question, row.get_string("question"));
  BM_TRY(std::string answer, row.get_string("answer"));
  BM_TRY(item.identifier, row.get_string("pairID"));
  item.options = {{"A", "да"}, {"B", "нет"}};
  if (answer != "да" && answer != "нет") return bad_input("the answer is neither да nor нет");
  item.correct_letter = answer == "да" ? "A" : "B";
  return item;
}

Result<Item> choice_list_item(const Json& row) {
  Item item;
  BM_TRY(item.question, row.get_string("problem_text"));
  if (!row["choices"].is_array()) return bad_input("no choices");
  for (const auto& choice : row["choices"].items()) {
    if (!choice.is_string()) return bad_input("a choice is no text");
    item.options.push_back({letter_of(item.options.size()), choice.as_string()});
  }
  const Json& answer = row["answer"];
  if (answer.size() != 1 || !answer[0].is_string() || answer[0].as_string().size() != 1)
    return bad_input("not exactly one right letter");
  item.correct_letter = std::string(1, static_cast<char>(std::toupper(answer[0].as_string()[0])));
  return item;
}

Result<Item> worldmedqa_item(const Json& row) {
  Item item;
  BM_TRY(item.question, row.get_string("question"));
  BM_CHECK_OK(read_options(row["options"], item.options));
  BM_TRY(item.correct_letter, row.get_string("answer_idx"));
  if (row["index"].is_integer()) item.identifier = "worldmedqa-" + std::to_string(row["index"].as_int());
  return item;
}

}  // namespace

Result<ImportedFile> import_medqa(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  if (starts_with(trim(text), "[")) return import_array(path, text, labels, medqa_item);
  return import_lines(path, text, labels, medqa_item);
}

Result<ImportedFile> import_medmcqa(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  if (starts_with(trim(text), "[")) return import_array(path, text, labels, medmcqa_item);
  return import_lines(path, text, labels, medmcqa_item);
}

Result<ImportedFile> import_pubmedqa(const std::string& path, const ImportLabels& labels) {
  BM_TRY(Json root, read_json_file(path));
  if (!root.is_object()) return bad_input("not an object keyed by PMID", "give ori_pqal.json").in(path);
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  for (const auto& [pmid, row] : root.members()) collector.add("key " + pmid, pubmedqa_item(pmid, row));
  return file;
}

Result<ImportedFile> import_apollo(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  return import_array(path, text, labels, apollo_item);
}

Result<ImportedFile> import_frenchmedmcqa(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  return import_array(path, text, labels, french_item);
}

Result<ImportedFile> import_rumeddanet(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  return import_lines(path, text, labels, rumeddanet_item);
}

Result<ImportedFile> import_choice_list(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  return import_lines(path, text, labels, choice_list_item);
}

Result<ImportedFile> import_worldmedqa(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  return import_lines(path, text, labels, worldmedqa_item);
}

Result<ImportedFile> import_translated_shots(const std::string& path, const std::string& subject,
                                             const ImportLabels& labels) {
  BM_TRY(Json root, read_json_file(path));
  if (!root[subject].is_array()) return bad_input("no questions of subject " + subject).in(path);
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  size_t row = 0;
  for (const auto& entry : root[subject].items()) {
    auto item = worldmedqa_item(entry);
    if (item.ok()) {
      item->question = resolve_html_entities(item->question);
      for (auto& option : item->options) option.text = resolve_html_entities(option.text);
    }
    collector.add(subject + " " + std::to_string(row++), std::move(item));
  }
  return file;
}

std::string item_defect(const Item& item) {
  if (trim(item.question).empty()) return "the question is empty";
  if (item.options.size() < 2) return "fewer than two options";
  std::set<std::string> letters;
  for (const auto& option : item.options) {
    if (option.letter.empty() || !letters.insert(option.letter).second)
      return "option letter \"" + option.letter + "\" is empty or given twice";
    if (option.letter == item.correct_letter && trim(option.text).empty()) return "the right option is empty";
  }
  if (!letters.count(item.correct_letter))
    return "the right letter \"" + item.correct_letter + "\" is none of the options";
  return "";
}

}  // namespace bm
