#include "pipeline/stages.h"

#include <algorithm>

#include "base/file.h"

namespace bm {
namespace {

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string with_dashes(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

// Replaces names of stages in a value: a word, a list of words, or a map whose values are words.
Result<Json> resolve_value(const Recipe& recipe, const std::string& out, size_t index, const Json& value,
                           Reference wanted) {
  if (value.is_string()) {
    BM_TRY(std::string path, resolve_reference(recipe, out, index, value.as_string(), wanted));
    Json resolved(path);
    resolved.set_line(value.line());
    return resolved;
  }
  if (value.is_array()) {
    Json list = Json::array();
    for (const Json& item : value.items()) {
      BM_TRY(Json resolved, resolve_value(recipe, out, index, item, wanted));
      list.push_back(std::move(resolved));
    }
    return list;
  }
  if (value.is_object()) {
    Json map = Json::object();
    for (const auto& [key, item] : value.members()) {
      BM_TRY(Json resolved, resolve_value(recipe, out, index, item, wanted));
      map.set(key, std::move(resolved));
    }
    return map;
  }
  return value;
}

Json model_names(const Json& models) {
  Json names = Json::array();
  for (const Json& word : models.items())
    if (word.is_string()) names.push_back(path_name(word.as_string()));
  return names;
}

// Common flags that a single stage may have of its own. The others speak of the whole run.
const std::vector<std::string> kPerStage = {"threads", "seed", "mode", "limit", "overwrite", "memory", "isa"};

// Sets the task's own fields and the common ones.
Status configure_fields(StageTask& task, const StageKind& kind, const Json& options, CommonOptions& common) {
  Fields fields, common_fields;
  task.describe_fields(fields);
  describe(common_fields, common);
  std::vector<std::string> elsewhere = kind.special;
  for (const std::string& key : kPerStage)
    if (!fields.find(key)) elsewhere.push_back(key);
  BM_CHECK_OK(fields.set_from(options, elsewhere));
  return common_fields.set_from(common_keys(options));
}

}  // namespace

Json common_keys(const Json& options) {
  Json chosen = Json::object();
  for (const auto& [key, value] : options.members())
    if (contains(kPerStage, key)) chosen.set(key, value);
  return chosen;
}

const StageKind* find_stage_kind(std::string_view verb) {
  for (const StageKind& kind : stage_kinds())
    if (kind.verb == verb) return &kind;
  return nullptr;
}

Status check_stage_options(const StageKind& kind, const Json& options) {
  CommonOptions common;
  return configure_fields(*kind.make(), kind, options, common);
}

Result<Json> resolve_stage_json(const Recipe& recipe, const std::string& out, size_t index) {
  const RecipeStage& stage = recipe.stages[index];
  const StageKind* kind = find_stage_kind(stage.verb);
  Json resolved = Json::object();
  for (const auto& [key, value] : stage.options.members()) {
    const std::string wanted = with_dashes(key);
    auto reference = std::find_if(kind->references.begin(), kind->references.end(),
                                  [&](const auto& entry) { return entry.first == wanted; });
    if (reference == kind->references.end()) {
      resolved.set(key, value);
      continue;
    }
    Result<Json> replaced = resolve_value(recipe, out, index, value, reference->second);
    if (!replaced.ok()) {
      Error error = std::move(replaced).error();
      error.in("key " + key);
      if (value.line()) error.in("line " + std::to_string(value.line()));
      return error;
    }
    resolved.set(key, std::move(*replaced));
    // Models keep the names the recipe gives them, whatever their folders are called.
    if (key == "models" && !kind->names_key.empty() && !stage.options.contains(kind->names_key))
      resolved.set(kind->names_key, model_names(value));
  }
  return resolved;
}

Status resolve_stage_options(const Recipe& recipe, const std::string& out, size_t index) {
  BM_TRY(Json ignored, resolve_stage_json(recipe, out, index));
  (void)ignored;
  return {};
}

Status configure_task(StageTask& task, const StageKind& kind, const Json& options) {
  CommonOptions ignored;
  BM_CHECK_OK(configure_fields(task, kind, options, ignored));
  for (const auto& [key, value] : options.members())
    if (contains(kind.special, key)) BM_CHECK_OK(task.set_special(key, value).in("key " + key));
  return {};
}

}  // namespace bm
