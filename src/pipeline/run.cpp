#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/leftovers.h"
#include "base/log.h"
#include "base/system.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"

namespace bm {
namespace {

// Settings of the recipe hold for all stages, a stage's own for that stage; flags of the command line win.
Result<CommonOptions> stage_settings(const Recipe& recipe, const Json& stage_options,
                                     const CommonOptions& common) {
  CommonOptions merged;
  Fields fields;
  describe(fields, merged);
  BM_CHECK_OK(fields.set_from(recipe.settings));
  BM_CHECK_OK(fields.set_from(common_keys(stage_options)));
  CommonOptions defaults, given = common;
  Fields default_fields, given_fields;
  describe(default_fields, defaults);
  describe(given_fields, given);
  for (size_t i = 0; i < fields.all().size(); ++i) {
    Json value = given_fields.all()[i].value();
    if (!(value == default_fields.all()[i].value())) BM_CHECK_OK(fields.all()[i].set_json(value));
  }
  return merged;
}

Status write_state(const std::string& out, const Recipe& recipe, const std::string& recipe_hash,
                   const std::vector<StageRun>& done, bool complete) {
  Json stages = Json::array();
  for (const StageRun& stage : done)
    stages.push_back(Json::object({{"name", stage.name}, {"verb", stage.verb}, {"seconds", stage.seconds}}));
  Json planned = Json::array();
  for (const RecipeStage& stage : recipe.stages) planned.push_back(stage.name);
  Json manifest = Json::object({{"program", "biomistral"},
                                {"version", program_version()},
                                {"commit", program_commit()},
                                {"compiler", program_compiler()},
                                {"verb", "run"},
                                {"status", complete ? "complete" : "running"},
                                {"cpu", cpu_model()},
                                {"base", recipe.base_model},
                                {"settings", recipe.settings},
                                {"recipe_sha256", recipe_hash},
                                {"planned", planned},
                                {"stages", stages},
                                {"finished", complete ? Json(utc_timestamp()) : Json()}});
  return write_file_atomic(path_join(out, "manifest.json"), manifest.dump_pretty() + "\n");
}

// The state of an earlier run in this folder, null when there is none.
Json earlier_state(const std::string& out) {
  Result<Json> state = read_json_file(path_join(out, "manifest.json"));
  return state.ok() ? *state : Json();
}

// A stage that was complete before keeps the seconds it took then.
double seconds_of(const Json& before, const std::string& name, double otherwise) {
  for (const Json& stage : before["stages"].items())
    if (stage["name"] == Json(name) && stage["seconds"].is_number()) return stage["seconds"].as_double();
  return otherwise;
}

}  // namespace

Result<RunReport> run_recipe(const std::string& recipe_path, const std::string& out,
                             const CommonOptions& common) {
  BM_TRY(std::string text, read_file(recipe_path));
  BM_TRY(Json yaml, parse_yaml(text).in(recipe_path));
  BM_TRY(Recipe recipe, parse_recipe(yaml).in(recipe_path));
  if (!recipe.base_model.empty() && !exists(recipe.base_model))
    return bad_input("the base model does not exist",
                     "Check the path; it is relative to the working directory.")
        .in(recipe.base_model);
  RunReport report;
  Json before = earlier_state(out);
  if (!common.dry_run) {
    BM_CHECK_OK(make_directories(out));
    remove_abandoned(out);
    BM_CHECK_OK(write_file_atomic(path_join(out, "recipe.yaml"), text));
  }
  std::string hash = sha256_hex(text);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const RecipeStage& stage = recipe.stages[i];
    const StageKind* kind = find_stage_kind(stage.verb);
    BM_TRY(Json options, resolve_stage_json(recipe, out, i).in("stage " + stage.name));
    BM_TRY(CommonOptions settings, stage_settings(recipe, stage.options, common).in("stage " + stage.name));
    std::unique_ptr<StageTask> task = kind->make();
    BM_CHECK_OK(configure_task(*task, *kind, options).in("stage " + stage.name));
    std::string folder = path_join(out, stage.name);
    log_info("[" + std::to_string(i + 1) + "/" + std::to_string(recipe.stages.size()) + "] " + stage.name +
             (stage.name == stage.verb ? "" : " (" + stage.verb + ")"));
    if (common.dry_run && i > 0) continue;  // later stages' inputs do not exist yet
    double start = now_seconds();
    bool was_complete = !settings.overwrite && read_manifest(folder).ok();
    BM_CHECK_OK(task->run(settings, folder).in("stage " + stage.name));
    double seconds = now_seconds() - start;
    if (was_complete) seconds = seconds_of(before, stage.name, seconds);
    report.stages.push_back({stage.name, stage.verb, folder, seconds});
    if (common.dry_run) continue;
    if (stage.verb == "report") report.report = path_join(out, "report.html");
    BM_CHECK_OK(write_state(out, recipe, hash, report.stages, i + 1 == recipe.stages.size()));
    if (stop_requested()) return interrupted_error("the run");
  }
  return report;
}

}  // namespace bm
