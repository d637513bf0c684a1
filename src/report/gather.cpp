#include "report/gather.h"

#include <algorithm>

#include "base/file.h"

namespace bm {
namespace {

std::string text_of(const Json& value) { return value.is_string() ? value.as_string() : std::string(); }

Result<Stage> read_stage(const std::string& folder, const std::string& name) {
  Stage stage;
  stage.name = name;
  stage.folder = folder;
  BM_TRY(stage.manifest, read_json_file(path_join(folder, "manifest.json")).in(folder));
  stage.verb = text_of(stage.manifest["verb"]);
  stage.complete = stage.manifest["status"] == Json("complete");
  const Json& timings = stage.manifest["timings"];
  if (timings["last_run_seconds"].is_number()) stage.seconds = timings["last_run_seconds"].as_double();
  return stage;
}

bool has_manifest(const std::string& folder) { return exists(path_join(folder, "manifest.json")); }

// Stage folders in the run's order; folders of no recipe alphabetically.
Status read_stages(Run& run) {
  std::vector<std::string> names;
  for (const Json& name : run.manifest["planned"].items())
    if (name.is_string()) names.push_back(name.as_string());
  if (names.empty()) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(run.folder, code))
      if (entry.is_directory() && has_manifest(entry.path().string()))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
  }
  for (const std::string& name : names) {
    std::string folder = path_join(run.folder, name);
    if (!has_manifest(folder)) {
      if (name != "report") run.missing.push_back(name);
      continue;
    }
    BM_TRY(Stage stage, read_stage(folder, name));
    for (const Json& done : run.manifest["stages"].items())
      if (done["name"] == Json(name) && done["seconds"].is_number())
        stage.seconds = done["seconds"].as_double();
    run.stages.push_back(std::move(stage));
  }
  return {};
}

}  // namespace

Result<Run> gather_run(const std::string& folder) {
  Run run;
  run.folder = folder;
  while (run.folder.size() > 1 && ends_with(run.folder, "/")) run.folder.pop_back();
  run.name = path_name(run.folder);
  if (!is_directory(run.folder))
    return bad_input("there is no such folder",
                     "Give the folder of `biomistral run`, or folders of its stages.")
        .in(folder);
  if (has_manifest(run.folder)) {
    BM_TRY(Json manifest, read_json_file(path_join(run.folder, "manifest.json")).in(folder));
    if (!(manifest["verb"] == Json("run"))) {
      BM_TRY(Stage stage, read_stage(run.folder, run.name));
      run.stages.push_back(std::move(stage));
      return run;
    }
    run.manifest = std::move(manifest);
    run.base_model = text_of(run.manifest["base"]);
    if (auto recipe = read_file(path_join(run.folder, "recipe.yaml")); recipe.ok()) run.recipe = *recipe;
  }
  BM_CHECK_OK(read_stages(run));
  if (run.stages.empty()) {  // predictions someone else's program wrote
    Stage stage;
    stage.name = run.name;
    stage.verb = "evaluate";
    stage.folder = run.folder;
    stage.complete = true;
    run.stages.push_back(std::move(stage));
  }
  return run;
}

uint64_t weight_bytes(const std::string& path) {
  if (!is_directory(path)) {
    auto size = file_size(path);
    return size.ok() ? *size : 0;
  }
  uint64_t total = 0;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(path, code)) {
    std::string name = entry.path().filename().string();
    bool weights = ends_with(name, ".safetensors") ||
                   (ends_with(name, ".bin") && starts_with(name, "pytorch_model")) ||
                   ends_with(name, ".gguf");
    if (!weights || starts_with(name, ".") || starts_with(name, "awq_search")) continue;
    auto size = file_size(entry.path().string());
    if (size.ok()) total += *size;
  }
  return total;
}

std::string stage_model(const Stage& stage) {
  if (stage.verb == "merge" || stage.verb == "quantize" || stage.verb == "merge adapter") return stage.folder;
  if (stage.verb == "pretrain" || stage.verb == "finetune") return path_join(stage.folder, "final");
  return {};
}

}  // namespace bm
