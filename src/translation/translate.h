// The benchmark's items in other languages, through an OpenAI-style endpoint. Question, options and context
// are asked for one by one as JSON, checked (checks.h), and written in BioInstructQA's layout with the
// fields question_translated, options_translated, context_translated beside the English ones.
//
// The output folder: <task>.<language>.jsonl (items), ledger.jsonl (every call with tokens and cost, every
// item that failed), cache.jsonl (accepted replies by content), cost.json, manifest.json. The same command
// resumes: what the cache holds is not asked again. docs/evaluation.md describes the files.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct TranslateOptions {
  std::vector<std::string> tasks;               // names, groups, .yaml or .jsonl files
  std::vector<std::string> items;               // JSON lines in BioInstructQA's layout
  std::vector<std::string> to;                  // languages
  std::string data;                             // folder of the published files
  std::string endpoint;                         // "http://host:port/v1"
  std::string model = "default";                // as the endpoint calls it
  std::string key_variable = "OPENAI_API_KEY";  // environment variable that holds the key
  std::string out;
  std::string cache;                   // file of accepted replies; "" = OUT/cache.jsonl
  int64_t parallel = 4;                // requests at a time
  int64_t retries = 5;                 // further attempts after the first
  double retry_wait = 1;               // seconds before the first retry, then doubled
  double timeout = 120;                // seconds a request may take
  double requests_per_minute = 0;      // 0 = no limit
  double price_in = 0, price_out = 0;  // per million tokens
  double budget = 0;                   // 0 = no ceiling
  bool back_translate = false;         // translate back and compare by chrF
  double least_chrf = 0;               // items below it are reported as doubtful
};
void describe(Fields& fields, TranslateOptions& options);

struct TranslateReport {
  std::string out;
  bool already_complete = false;
  int64_t translated = 0, failed = 0, doubtful = 0, broken = 0;
  Json cost;  // as cost.json
};

// bad_input: unknown tasks or languages, no endpoint, files missing. A field that cannot be had makes its
// item fail, never the run; failed items are asked again by the next call.
Result<TranslateReport> translate(const TranslateOptions& options, const CommonOptions& common);

}  // namespace bm
