// One's own tasks: items in BioInstructQA's layout, and YAML task files.
#include <algorithm>
#include <map>

#include "base/file.h"
#include "tasks/catalog.h"
#include "tasks/import_helpers.h"

namespace bm {
namespace {

std::string file_name_safe(const std::string& text) {
  std::string safe = text;
  for (char& c : safe)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' &&
        static_cast<unsigned char>(c) < 128)
      c = '_';
  return safe.empty() ? "items" : safe;
}

Status check_given_shots(const Task& task) {
  size_t with = 0;
  for (const auto& item : task.items) with += !item.few_shot_samples.empty();
  if (with == 0 || with == task.items.size()) return {};
  return bad_input(std::to_string(task.items.size() - with) + " of " + std::to_string(task.items.size()) +
                       " items have no few_shot_samples while the others have",
                   "give them to all items or to none");
}

void finish_custom(Task& task, const TaskLoadOptions& options) {
  task.file_items = static_cast<int64_t>(task.items.size());
  task.gives_shots = !task.items.empty() && !task.items[0].few_shot_samples.empty();
  if (!task.gives_shots && task.shot_pool.empty() && options.need_pool) {
    int64_t n = static_cast<int64_t>(task.items.size());
    auto parts = hold_out(std::move(task.items),
                          std::min(options.held_out, std::max(n / 5, std::min<int64_t>(10, n / 2))),
                          options.seed, task.name);
    task.items = std::move(parts.scored);
    task.shot_pool = std::move(parts.pool);
    task.held_out = static_cast<int64_t>(task.shot_pool.size());
  }
  if (options.limit > 0 && static_cast<int64_t>(task.items.size()) > options.limit)
    task.items.resize(static_cast<size_t>(options.limit));
}

// A row with renamed fields: {question: q, context: c, answer: label, options: [a, b, c] or name}.
Result<Item> renamed_item(const Json& row, const Json& fields) {
  Item item;
  BM_TRY(std::string question, fields.get_string("question", "question"));
  BM_TRY(std::string context, fields.get_string("context", "context"));
  BM_TRY(std::string answer, fields.get_string("answer", "correct_answer_letter"));
  BM_TRY(std::string identifier, fields.get_string("identifier", "identifier"));
  BM_TRY(item.question, row.get_string(question));
  BM_TRY(item.context, row.get_string(context, ""));
  if (row[identifier].is_string()) item.identifier = row[identifier].as_string();
  auto letter = [](size_t i) { return std::string(1, static_cast<char>('A' + i)); };
  const Json& names = fields["options"];
  if (names.is_array()) {
    for (const auto& name : names.items()) {
      if (!name.is_string()) return bad_input("fields.options holds something that is no field name");
      BM_TRY(std::string text, row.get_string(name.as_string()));
      item.options.push_back({letter(item.options.size()), std::move(text)});
    }
  } else {
    const Json& options = row[names.is_string() ? names.as_string() : "options"];
    if (options.is_array()) {
      for (const auto& text : options.items()) {
        if (!text.is_string()) return bad_input("an option is no text");
        item.options.push_back({letter(item.options.size()), text.as_string()});
      }
    } else {
      BM_CHECK_OK(read_options(options, item.options));
    }
  }
  const Json& right = row[answer];
  if (right.is_integer()) {
    int64_t index = right.as_int();
    if (index < 0 || index >= static_cast<int64_t>(item.options.size()))
      return bad_input("answer " + std::to_string(index) + " is no index of an option");
    item.correct_letter = item.options[static_cast<size_t>(index)].letter;
  } else if (right.is_string()) {
    item.correct_letter = right.as_string();
    for (const auto& option : item.options)
      if (!item.option(right.as_string()) && option.text == right.as_string())
        item.correct_letter = option.letter;
  } else {
    return bad_input("no \"" + answer + "\"");
  }
  return item;
}

Result<ImportedFile> read_task_items(const std::string& path, const Json& fields,
                                     const ImportLabels& labels) {
  if (fields.is_null()) return import_items(path);
  BM_TRY(std::string text, read_file(path));
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  int64_t line = 0;
  for (const auto& content : split(text, '\n')) {
    ++line;
    if (trim(content).empty()) continue;
    std::string place = "line " + std::to_string(line);
    auto row = parse_json(trim(content));
    if (!row.ok())
      collector.add(place, std::move(row.error()));
    else
      collector.add(place, row->is_object() ? renamed_item(*row, fields) : bad_input("not a JSON object"));
  }
  return file;
}

Result<std::vector<std::string>> paths_of(const Json& value, const std::string& folder,
                                          const std::string& key) {
  std::vector<std::string> paths;
  auto add = [&](const Json& entry) {
    std::string path = entry.as_string();
    paths.push_back(path[0] == '/' || exists(path) ? path : path_join(folder, path));
  };
  if (value.is_string() && !value.as_string().empty()) {
    add(value);
  } else if (value.is_array()) {
    for (const auto& entry : value.items()) {
      if (!entry.is_string() || entry.as_string().empty())
        return bad_input(key + " holds something that is no path");
      add(entry);
    }
  } else {
    return bad_input("\"" + key + "\" is no path or list of paths");
  }
  return paths;
}

}  // namespace

std::string task_name_of_corpus(const std::string& corpus) {
  static const std::map<std::string, std::string> names = {{"MedQA", "medqa"},
                                                           {"MedQA-5_options", "medqa_5options"},
                                                           {"PubMedQA", "pubmedqa"},
                                                           {"MedMCQA", "medmcqa"},
                                                           {"TruthfulQA", "truthfulqa"}};
  auto found = names.find(corpus);
  if (found != names.end()) return found->second;
  if (starts_with(corpus, "MMLU_")) return "mmlu_" + file_name_safe(corpus.substr(5));
  return file_name_safe(corpus);
}

Result<std::vector<Task>> load_items_tasks(const std::vector<std::string>& paths,
                                           const TaskLoadOptions& options) {
  std::vector<Task> tasks;
  std::map<std::pair<std::string, std::string>, size_t> index;
  for (const auto& path : paths) {
    BM_TRY(auto file, import_items(path));
    if (file.items.empty())
      return bad_input("no item could be read", "one JSON object a line is expected").in(path);
    size_t last = 0;
    for (auto& item : file.items) {
      auto [place, fresh] =
          index.try_emplace({task_name_of_corpus(item.corpus), item.language}, tasks.size());
      last = place->second;
      if (fresh) {
        tasks.emplace_back();
        tasks.back().name = place->first.first;
        tasks.back().language = place->first.second;
      }
      auto& files = tasks[last].files;
      if (std::find(files.begin(), files.end(), path) == files.end()) files.push_back(path);
      tasks[last].items.push_back(std::move(item));
    }
    for (auto& row : file.broken) tasks[last].broken.push_back(std::move(row));
  }
  for (auto& task : tasks) {
    BM_CHECK_OK(check_given_shots(task).in("items of " + task.name));
    finish_custom(task, options);
    if (task.items.empty())
      return bad_input("all items of " + task.name + " are held out for shots",
                       "give more items, or --shots 0");
  }
  return tasks;
}

Result<Task> load_task_file(const std::string& path, const TaskLoadOptions& options) {
  BM_TRY(Json yaml, read_yaml_file(path));
  static const std::vector<std::string> known = {"task",        "items",    "shots",
                                                 "instruction", "language", "fields"};
  if (!yaml.is_object()) return bad_input("not a mapping of task, items, …").in(path);
  for (const auto& [key, value] : yaml.members()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      return bad_input("unknown key \"" + key + "\"",
                       "known: task, items, shots, instruction, language, fields")
          .in("line " + std::to_string(value.line()))
          .in(path);
  }
  std::string stem = path_name(path), folder = path_parent(path);
  stem = stem.substr(0, stem.find('.'));
  Task task;
  auto read = [&]() -> Status {
    BM_TRY(task.name, yaml.get_string("task", stem));
    BM_TRY(task.language, yaml.get_string("language", "en"));
    BM_TRY(task.instruction, yaml.get_string("instruction", kBioMistralInstruction));
    BM_TRY(auto scored, paths_of(yaml["items"], folder, "items"));
    task.name = file_name_safe(task.name);
    ImportLabels labels{task.name, task.name, task.language};
    auto load = [&](const std::string& from, std::vector<Item>& into) -> Status {
      BM_TRY(auto file, read_task_items(from, yaml["fields"], labels));
      task.files.push_back(from);
      for (auto& item : file.items) into.push_back(std::move(item));
      for (auto& row : file.broken) task.broken.push_back(std::move(row));
      return {};
    };
    for (const auto& from : scored) BM_CHECK_OK(load(from, task.items));
    if (yaml["shots"].is_null()) return {};
    BM_TRY(auto pools, paths_of(yaml["shots"], folder, "shots"));
    for (const auto& from : pools) BM_CHECK_OK(load(from, task.shot_pool));
    return {};
  };
  BM_CHECK_OK(read().in(path));
  BM_CHECK_OK(check_given_shots(task).in(path));
  finish_custom(task, options);
  if (task.items.empty()) return bad_input("no item could be read").in(path);
  return task;
}

}  // namespace bm
