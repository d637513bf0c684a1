// The stages of one or more runs, read from their folders.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct Stage {
  std::string name, verb, folder;
  Json manifest;  // null for a folder of predictions without one
  bool complete = false;
  double seconds = 0;  // of the stage; 0 = not known
  const Json& results() const { return manifest["results"]; }
  const Json& options() const { return manifest["options"]; }
};

struct Run {
  std::string name, folder, recipe;  // recipe: the YAML's text, "" when there is none
  Json manifest;                     // of the run; null for single stages
  std::string base_model;            // path, "" when not known
  std::vector<Stage> stages;
  std::vector<std::string> missing;  // planned stages that have no folder yet
};

// A run folder, a stage's folder, or a folder of predictions.
Result<Run> gather_run(const std::string& folder);

// Bytes of the weights below a model folder (checkpoints of a training run are not counted); 0 = none.
uint64_t weight_bytes(const std::string& folder);
// Where the model of a stage lies: "" when the stage makes none.
std::string stage_model(const Stage& stage);

}  // namespace bm
