#include "tasks/catalog.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/options.h"
#include "tasks/catalog_entries.h"

namespace bm {
namespace {

const std::vector<std::pair<std::string, std::vector<std::string>>>& task_groups() {
  static const std::vector<std::string> mmlu = {
      "mmlu_clinical_knowledge",    "mmlu_medical_genetics", "mmlu_anatomy",
      "mmlu_professional_medicine", "mmlu_college_biology",  "mmlu_college_medicine"};
  static const std::vector<std::pair<std::string, std::vector<std::string>>> groups = [] {
    auto ten = mmlu;
    for (const char* name : {"medqa", "medqa_5options", "pubmedqa", "medmcqa"}) ten.emplace_back(name);
    return std::vector<std::pair<std::string, std::vector<std::string>>>{{"biomistral", ten},
                                                                         {"mmlu_med", mmlu}};
  }();
  return groups;
}

// The first of the names below the folder; then any file below it with the same name (shortest path, then
// alphabetically first).
Result<std::string> locate(const std::string& folder, const TaskFile& file) {
  for (const auto& name : file.names) {
    std::string path = path_join(folder, name);
    if (exists(path)) return path;
  }
  BM_TRY(auto all, list_files(folder));
  for (const auto& name : file.names) {
    std::string best;
    for (const auto& path : all) {
      if (path_name(path) != path_name(name)) continue;
      if (best.empty() || path.size() < best.size()) best = path;
    }
    // dev.json, test.jsonl and the like name many benchmarks' files: only unmistakable names are searched
    // for.
    static const std::set<std::string> common = {"dev.json",   "train.json",  "test.json",
                                                 "test.jsonl", "train.jsonl", "dev.jsonl"};
    if (!best.empty() && !common.count(path_name(name))) return best;
  }
  std::string names;
  for (const auto& name : file.names) names += (names.empty() ? "" : ", ") + name;
  return bad_input("none of these files is there: " + names, "docs/data.md says where each comes from")
      .in(folder);
}

std::string question_key(const Question& q) { return q.context + "\n" + q.question; }

// Takes pool entries that are test questions out of the pool.
void drop_leaks(Task& task) {
  std::unordered_set<std::string> tested;
  for (const auto& item : task.items) tested.insert(question_key(item));
  size_t before = task.shot_pool.size();
  std::erase_if(task.shot_pool, [&](const Item& item) { return tested.count(question_key(item)) > 0; });
  task.leaked_shots = static_cast<int64_t>(before - task.shot_pool.size());
}

void take(Task& task, ImportedFile file, std::vector<Item>& into) {
  task.files.push_back(file.path);
  for (auto& item : file.items) into.push_back(std::move(item));
  for (auto& row : file.broken) task.broken.push_back(std::move(row));
}

void hold_out_pool(Task& task, int64_t wanted, uint64_t seed) {
  int64_t n = static_cast<int64_t>(task.items.size());
  int64_t count = std::min(wanted, std::max(n / 5, std::min<int64_t>(10, n / 2)));
  auto parts = hold_out(std::move(task.items), std::min(count, n), seed, task.name);
  task.items = std::move(parts.scored);
  task.shot_pool = std::move(parts.pool);
  task.held_out = static_cast<int64_t>(task.shot_pool.size());
}

// PubMedQA: test_ground_truth.json lists the scored half; the other is the pool.
Status split_pubmedqa(Task& task, const std::string& data) {
  BM_TRY(std::string path,
         locate(data, {{"pubmedqa/test_ground_truth.json", "data/test_ground_truth.json"}}));
  BM_TRY(Json truth, read_json_file(path));
  if (!truth.is_object()) return bad_input("not an object {PMID: label}").in(path);
  std::vector<Item> scored, pool;
  std::set<std::string> found;
  for (auto& item : task.items) {
    const Json* label = truth.find(item.identifier);
    if (!label) {
      pool.push_back(std::move(item));
      continue;
    }
    found.insert(item.identifier);
    if (!label->is_string() || item.option(item.correct_letter)->text != label->as_string()) {
      task.broken.push_back({path, "key " + item.identifier, "its label and final_decision disagree"});
      continue;
    }
    scored.push_back(std::move(item));
  }
  for (const auto& [pmid, label] : truth.members())
    if (!found.count(pmid)) task.broken.push_back({path, "key " + pmid, "is not in " + task.files[0]});
  task.items = std::move(scored);
  task.shot_pool = std::move(pool);
  task.files.push_back(path);
  return {};
}

Status load_pool(Task& task, const CatalogEntry& entry, const TaskLoadOptions& options) {
  const CatalogEntry* source = &entry;
  // As published, shots stay in English whatever the question's language.
  const CatalogEntry* english = find_entry(entry.name, "en");
  if (!options.shots_in_language && english && !english->pool.names.empty()) source = english;
  auto path = source->pool.names.empty() ? Result<std::string>(bad_input("no pool is published"))
                                         : locate(options.data, source->pool);
  if (!path.ok()) {
    hold_out_pool(task, options.held_out, options.seed);
    return {};
  }
  BM_TRY(auto file, source->read(*path, *source, options.seed));
  if (path_name(*path) == "train.json" && entry.name == "frenchmedmcqa")
    file.broken.clear();  // several right answers
  take(task, std::move(file), task.shot_pool);
  drop_leaks(task);
  return {};
}

void apply_limit(Task& task, int64_t limit) {
  if (limit > 0 && static_cast<int64_t>(task.items.size()) > limit)
    task.items.resize(static_cast<size_t>(limit));
}

}  // namespace

double Task::chance() const {
  double sum = 0;
  for (const auto& item : items) sum += 1 / static_cast<double>(item.options.size());
  return items.empty() ? 0 : sum / static_cast<double>(items.size());
}

const std::vector<std::string>& catalogued_tasks() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& entry : catalog_entries())
      if (std::find(all.begin(), all.end(), entry.name) == all.end()) all.push_back(entry.name);
    return all;
  }();
  return names;
}

std::vector<std::string> task_languages(const std::string& name) {
  std::vector<std::string> languages;
  for (const auto& entry : catalog_entries())
    if (entry.name == name) languages.push_back(entry.language);
  return languages;
}

Result<std::vector<std::string>> expand_task_names(const std::vector<std::string>& names) {
  std::vector<std::string> expanded, known = catalogued_tasks();
  for (const auto& group : task_groups()) known.push_back(group.first);
  auto add = [&](const std::string& name) {
    if (std::find(expanded.begin(), expanded.end(), name) == expanded.end()) expanded.push_back(name);
  };
  for (const auto& name : names) {
    bool group_found = false;
    for (const auto& [group, members] : task_groups()) {
      if (name != group) continue;
      group_found = true;
      for (const auto& member : members) add(member);
    }
    if (group_found) continue;
    bool file = ends_with(name, ".yaml") || ends_with(name, ".yml") || ends_with(name, ".jsonl") ||
                ends_with(name, ".json");
    if (file && !exists(name)) return bad_input("the file is not there", "check --tasks").in(name);
    if (file || find_entry(name, "")) {
      add(name);
      continue;
    }
    std::string near = nearest_word(name, known), list;
    for (const auto& word : known) list += (list.empty() ? "" : ", ") + word;
    return bad_input("there is no task \"" + name + "\"",
                     (near.empty() ? "" : "did you mean " + near + "? ") +
                         ("known: " + list + ", or a path to a .yaml or .jsonl file"));
  }
  return expanded;
}

Result<Task> load_task(const std::string& name, const std::string& language, const TaskLoadOptions& options) {
  const CatalogEntry* entry = find_entry(name, language);
  if (!entry)
    return bad_input("task " + name + " has no files in language \"" + language + "\"",
                     "give translated items with --items");
  if (options.data.empty())
    return bad_input("task " + name + " needs the published files", "say where they lie with --data DIR");
  if (!is_directory(options.data))
    return bad_input("is no folder", "give --data the folder of published files").in(options.data);
  Task task;
  task.name = entry->name;
  task.language = entry->language;
  task.published_size = entry->published_size;
  task.lm_eval = entry->lm_eval;
  task.lm_eval_first_shots = entry->lm_eval == LmEvalStyle::mmlu;
  if (task.lm_eval_first_shots) task.lm_eval_description = mmlu_description(entry->subject);
  auto path = locate(options.data, entry->scored);
  if (!path.ok()) return std::move(path.error()).in("task " + name);
  BM_TRY(auto file, entry->read(*path, *entry, options.seed));
  take(task, std::move(file), task.items);
  task.file_items = static_cast<int64_t>(task.items.size());
  if (name == "pubmedqa") {
    BM_CHECK_OK(split_pubmedqa(task, options.data).in("task " + name));
    task.file_items = static_cast<int64_t>(task.items.size());
  } else if (options.need_pool) {
    BM_CHECK_OK(load_pool(task, *entry, options));
  }
  apply_limit(task, options.limit);
  if (task.items.empty()) return bad_input("no item could be read").in(*path);
  return task;
}

Result<std::vector<Task>> load_available_tasks(const std::string& data) {
  std::vector<Task> tasks;
  TaskLoadOptions options;
  options.data = data;
  options.need_pool = false;
  for (const auto& name : catalogued_tasks()) {
    const CatalogEntry* entry = find_entry(name, "");
    if (!locate(data, entry->scored).ok()) continue;
    BM_TRY(auto task, load_task(name, entry->language, options));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

Json task_json(const Task& task) {
  Json files = Json::array(), broken = Json::array();
  for (const auto& path : task.files) {
    auto hash = sha256_file(path);
    files.push_back(Json::object({{"path", path}, {"sha256", hash.ok() ? Json(*hash) : Json()}}));
  }
  for (const auto& row : task.broken)
    broken.push_back(Json::object({{"file", row.file}, {"place", row.place}, {"reason", row.reason}}));
  return Json::object({{"task", task.name},
                       {"language", task.language},
                       {"items", static_cast<int64_t>(task.items.size())},
                       {"file_items", task.file_items},
                       {"published_size", task.published_size ? Json(task.published_size) : Json()},
                       {"held_out_for_shots", task.held_out},
                       {"shot_pool", static_cast<int64_t>(task.shot_pool.size())},
                       {"leaked_shots_dropped", task.leaked_shots},
                       {"chance", task.chance()},
                       {"files", std::move(files)},
                       {"broken_rows", std::move(broken)}});
}

}  // namespace bm
