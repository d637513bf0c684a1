// The verbs a recipe can use as stages, each bound to its room's options and entry point.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"
#include "pipeline/recipe.h"

namespace bm {

// One stage of a run: its options, their fields, and what runs them.
struct StageTask {
  virtual ~StageTask() = default;
  virtual void describe_fields(Fields& fields) = 0;
  // Keys that are the verb's positionals (`model`, `inputs`) or have parts (merge's `models` and an
  // inline `config`); StageKind::special lists them.
  virtual Status set_special(const std::string& key, const Json& value) = 0;
  // Writes everything below `out`, the stage's folder.
  virtual Status run(const CommonOptions& common, const std::string& out) = 0;
};

struct StageKind {
  std::string verb;
  std::function<std::unique_ptr<StageTask>()> make;
  std::vector<std::pair<std::string, Reference>> references;  // keys that may name stages
  std::vector<std::string> special;                           // keys set_special takes
  std::string model_output;  // where a model lies below the stage's folder; "" = none, "." = the folder
  std::string text_output;   // the same for held-out text
  std::string names_key;     // key that takes the names of `models`; "" = none
};

const std::vector<StageKind>& stage_kinds();
const StageKind* find_stage_kind(std::string_view verb);

// Keys known and values of the right type? Names of stages are not looked at.
Status check_stage_options(const StageKind& kind, const Json& options);

// Those of a stage's keys that are common flags (`limit`, `seed`, …): they go to the run of the stage.
Json common_keys(const Json& options);

// The options of stage `index` with names of stages replaced by paths below `out`.
Result<Json> resolve_stage_json(const Recipe& recipe, const std::string& out, size_t index);
Status resolve_stage_options(const Recipe& recipe, const std::string& out, size_t index);

// Fills the task from resolved options.
Status configure_task(StageTask& task, const StageKind& kind, const Json& options);

}  // namespace bm
