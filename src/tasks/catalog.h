// The tasks by name: where their published files lie in a --data folder, how large they are, what
// shots are drawn from. A data folder has the layout of docs/data.md (medqa/, medmcqa/, pubmedqa/,
// mmlu_med/, truthfulqa/, multilingual/); other places and the authors' own file names are found too.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tasks/importers.h"
#include "tasks/prompts.h"
#include "tasks/shots.h"

namespace bm {

struct Task {
  std::string name;      // "mmlu_anatomy"; results are filed under it
  std::string language;  // "en"
  std::vector<Item> items;
  std::vector<Item> shot_pool;
  std::string instruction = kBioMistralInstruction;
  int64_t published_size = 0;  // 0 = unknown
  int64_t file_items = 0;      // sound items of the scored files, before any left the scored set or --limit
  int64_t held_out = 0;        // items that left the scored set to serve as shots
  int64_t leaked_shots = 0;    // pool entries dropped because they are test questions
  std::vector<std::string> files;  // read, scored file first
  std::vector<BrokenRow> broken;
  std::optional<LmEvalStyle> lm_eval;
  std::string lm_eval_description;
  bool lm_eval_first_shots = false;  // MMLU: the first n of dev, no sampling
  bool gives_shots = false;          // items carry few_shot_samples of their own

  double chance() const;  // mean of 1/options: accuracy of guessing
};

struct TaskLoadOptions {
  std::string data;                // folder
  uint64_t seed = 42;              // draws and held-out items
  int64_t held_out = 100;          // where no other split exists
  bool need_pool = true;           // false for zero shots: nothing is held out
  bool shots_in_language = false;  // shots in the question's language where they exist, else English
  int64_t limit = 0;               // scored items a task; 0 = all
};

// Names as the catalogue knows them, groups expanded ("biomistral", "mmlu_med"), duplicates removed;
// paths of task files (.yaml) and items (.jsonl, .json) stay. bad_input names the nearest known word.
Result<std::vector<std::string>> expand_task_names(const std::vector<std::string>& names);
const std::vector<std::string>& catalogued_tasks();
// Languages a task exists in, English (or its own) first; empty for paths.
std::vector<std::string> task_languages(const std::string& name);

// One task in one language. bad_input: files not found (says which names were looked for), unreadable.
Result<Task> load_task(const std::string& name, const std::string& language, const TaskLoadOptions& options);

// One's own tasks: JSON lines in BioInstructQA's layout give one task a (corpus, language); a YAML file
//   task: name            # default: the file's stem
//   items: test.jsonl     # beside the YAML file; or a list
//   shots: train.jsonl    # optional
//   instruction: "…"      # optional, replaces the standard one
//   language: en          # optional
//   fields: {question: q, context: c, answer: label, options: [a, b, c, d]}   # optional renaming
Result<std::vector<Task>> load_items_tasks(const std::vector<std::string>& paths,
                                           const TaskLoadOptions& options);
Result<Task> load_task_file(const std::string& path, const TaskLoadOptions& options);

// Name under which items of a BioInstructQA corpus are filed: "MedQA-5_options" → "medqa_5options".
std::string task_name_of_corpus(const std::string& corpus);

// Scored items of every catalogued English task whose files are in the folder, for decontamination.
Result<std::vector<Task>> load_available_tasks(const std::string& data);

// Counts, files with SHA-256, broken rows, for results and reports.
Json task_json(const Task& task);

}  // namespace bm
