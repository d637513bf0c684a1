// `biomistral run RECIPE OUT`: every stage of a recipe, each in its own folder below OUT; what is done
// is skipped, what was cut off is resumed, so that a killed run started again ends with the same bytes.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct StageRun {
  std::string name, verb, folder;
  double seconds = 0;
};

struct RunReport {
  std::vector<StageRun> stages;
  std::string report;  // path of the page, "" when the recipe has no report stage
};

Result<RunReport> run_recipe(const std::string& recipe_path, const std::string& out,
                             const CommonOptions& common);

}  // namespace bm
