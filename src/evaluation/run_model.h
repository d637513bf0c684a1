// One model through the whole plan: load, answer what is missing, write its predictions files.
#pragma once

#include <string>
#include <vector>

#include "evaluation/answers.h"
#include "evaluation/evaluate.h"

namespace bm {

struct ModelRun {
  std::string name, path;
  bool complete = false;            // false: another shard still has prompts to answer
  Json info;                        // as stored in OUT/<name>/run.json: sizes, speed, arithmetic
  std::vector<std::string> ledger;  // JSON lines of items that failed
};

// Names under which models are filed: --names, else the last part of the path; equal ones get the part before
// it, or a number.
Result<std::vector<std::string>> model_names(const EvaluateOptions& options);

// Does nothing but read run.json when the model's files are all there already.
Result<ModelRun> run_model(const Plan& plan, const EvaluateOptions& options, const CommonOptions& common,
                           const std::string& path, const std::string& name);

// Letter probabilities of several models averaged (a missing letter counts 0), for each file they all have;
// the best prediction is the likeliest letter. Source: the original's EvaluateFewShot-Ensemble.py.
Status write_ensemble(const Plan& plan, const std::string& out, const std::vector<std::string>& members,
                      const std::string& name);

// A hash of all prompts and their letters: journals of another plan are refused.
std::string plan_hash(const Plan& plan);

}  // namespace bm
