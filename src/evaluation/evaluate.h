// The benchmark: questions → prompts → one row of logits each → predictions files, from which every
// figure is computed again by metrics.h and tables.h.
//
// Data flow: tasks/ gives items and shots; plan.h renders the prompts (draws × option orders); each model
// in turn is loaded, prompts are tokenized, prefix_runner.h computes common prefixes once; answers.h turns
// logits into predictions, journal.h keeps them safe against kill −9; when a model is done its files
// OUT/<model>/<task>.<language>.draw<k>.jsonl are written; metrics.json, results.json, results.md and
// results.tex follow from those files alone. docs/evaluation.md has formats and rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct EvaluateOptions {
  std::vector<std::string> models;     // folders, .gguf files or adapters
  std::vector<std::string> names;      // their names in results, in order; default: last part of the path
  std::string base;                    // base model of adapter folders
  std::string out;                     // folder to write
  std::vector<std::string> tasks;      // names, groups, .yaml or .jsonl files
  std::vector<std::string> items;      // JSON lines in BioInstructQA's layout
  std::string data;                    // folder of the published files
  std::vector<std::string> languages;  // default: English, or a task's own language
  std::optional<int64_t> shots;        // default 3, or as the items give
  std::optional<int64_t> draws;        // default 3, or as the items give; 1 without shots
  int64_t draw_seed = 42;
  std::string shots_per = "item";     // item | task
  std::string shots_language = "en";  // en: as published; question: the question's language
  int64_t shot_pool = 100;            // items held out where no other split is published
  std::string rule = "top1";          // top1 | letters | lm-eval
  std::string arithmetic = "auto";    // auto: fast for quantized models, else exact
  std::vector<std::string> ensemble;  // names of models whose letter probabilities are averaged
  int64_t option_orders = 1;          // orders of the options asked, the given one included
  std::string system_prompt;
  bool chat = false;              // through the model's chat template
  std::string truncate = "none";  // none | left
  int64_t max_length = 0;         // tokens a prompt may have; 0 = the model's positions
  ByteSize kv_memory;             // of key/value caches; 0 = 2 GB
  std::string kv = "f32";         // what they hold: f32 or bf16
  int64_t resamples = 10000;      // of bootstrap and permutation
  std::string write_prompts;      // file
  bool prompts_only = false;
  std::string from_predictions;  // folder of predictions; no model is run
};
void describe(Fields& fields, EvaluateOptions& options);

struct EvaluateReport {
  std::string out;  // "" when nothing but prompts was asked, or metrics without --out
  bool already_complete = false;
  int64_t predictions = 0;   // lines scored in this run
  int64_t resumed = 0;       // lines taken from an interrupted run
  int64_t failed_items = 0;  // broken rows, items too long: in OUT/ledger.jsonl
  Json metrics;              // as metrics.json
  Json results;              // as results.json
  std::string table;         // results.md's first table, for the terminal
};

// bad_input: unknown task, missing files or models, contradictory options; nothing is written then.
// interrupted: stopped by a signal; the next call resumes.
Result<EvaluateReport> evaluate(const EvaluateOptions& options, const CommonOptions& common);

}  // namespace bm
