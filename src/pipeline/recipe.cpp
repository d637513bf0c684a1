#include "pipeline/recipe.h"

#include <algorithm>

#include "base/file.h"
#include "base/options.h"
#include "base/stage.h"
#include "pipeline/stages.h"

namespace bm {
namespace {

Error at(const Json& value, std::string what, std::string cure = {}) {
  Error error = bad_input(std::move(what), std::move(cure));
  if (value.line()) error.in("line " + std::to_string(value.line()));
  return error;
}

std::vector<std::string> stage_verbs() {
  std::vector<std::string> names;
  for (const StageKind& kind : stage_kinds()) names.push_back(kind.verb);
  return names;
}

bool plain_name(const std::string& name) {
  return !name.empty() && name[0] != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

Result<RecipeStage> parse_stage(const Json& entry) {
  if (!entry.is_object() || entry.size() != 1)
    return at(entry, "a stage is one key (its verb) with its options, as in `- pretrain: {steps: 60}`");
  const auto& [verb, options] = entry.members()[0];
  const StageKind* kind = find_stage_kind(verb);
  if (!kind) {
    std::string near = nearest_word(verb, stage_verbs());
    return at(options.line() ? options : entry, "unknown stage \"" + verb + "\"",
              near.empty() ? "" : "Did you mean \"" + near + "\"?");
  }
  if (!options.is_object() && !options.is_null())
    return at(options, "the options of \"" + verb + "\" must be keys and values");
  RecipeStage stage{verb, verb, options.is_object() ? options : Json::object()};
  if (const Json* name = options.find("name")) {
    if (!name->is_string() || !plain_name(name->as_string()))
      return at(*name, "a stage's name is made of letters, digits, - _ and . (it names a folder)");
    stage.name = name->as_string();
    stage.options.erase("name");
  }
  BM_CHECK_OK(check_stage_options(*kind, stage.options).in("stage " + stage.name));
  return stage;
}

}  // namespace

const RecipeStage* Recipe::find(std::string_view name) const {
  for (const RecipeStage& stage : stages)
    if (stage.name == name) return &stage;
  return nullptr;
}

Result<Recipe> parse_recipe(const Json& yaml) {
  if (!yaml.is_object()) return at(yaml, "a recipe has the keys base and stages");
  Recipe recipe;
  recipe.settings = Json::object();
  CommonOptions common;
  Fields common_fields;
  describe(common_fields, common);
  for (const auto& [key, value] : yaml.members()) {
    if (key == "base" || key == "stages") continue;
    if (!common_fields.find(key)) {
      std::vector<std::string> known{"base", "stages"};
      for (const Field& field : common_fields.all()) known.push_back(field.name);
      std::string near = nearest_word(key, known);
      return at(value, "unknown key \"" + key + "\"", near.empty() ? "" : "Did you mean \"" + near + "\"?");
    }
    recipe.settings.set(key, value);
  }
  BM_CHECK_OK(common_fields.set_from(recipe.settings));
  const Json& base = yaml["base"];
  if (base.is_string()) {
    recipe.base_model = base.as_string();
  } else if (base.is_object()) {
    for (const auto& [key, value] : base.members())
      if (key != "model") return at(value, "unknown key \"" + key + "\" in base", "base has one key: model.");
    if (!base["model"].is_string())
      return at(base, "base needs the key model: a model folder or a .gguf file");
    recipe.base_model = base["model"].as_string();
  } else if (!base.is_null()) {
    return at(base, "base is written as `base: {model: path}`");
  }
  const Json& stages = yaml["stages"];
  if (!stages.is_array() || stages.size() == 0) return at(yaml, "stages is missing or empty");
  for (const Json& entry : stages.items()) {
    BM_TRY(RecipeStage stage, parse_stage(entry));
    if (stage.name == "base" || recipe.find(stage.name))
      return at(entry, "the name \"" + stage.name + "\" is taken", "Give the stage another one: `name: …`.");
    recipe.stages.push_back(std::move(stage));
  }
  // Names are resolved once here, so that a wrong one is found before hours of work.
  for (size_t i = 0; i < recipe.stages.size(); ++i)
    BM_CHECK_OK(resolve_stage_options(recipe, "out", i).in("stage " + recipe.stages[i].name));
  return recipe;
}

Result<std::string> resolve_reference(const Recipe& recipe, const std::string& out, size_t stage_index,
                                      const std::string& word, Reference wanted) {
  if (word == "base") {
    if (wanted == Reference::text) return bad_input("\"base\" is a model, text is wanted");
    if (recipe.base_model.empty())
      return bad_input("\"base\" is used, but the recipe names no base model", "Add `base: {model: path}`.");
    return recipe.base_model;
  }
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const RecipeStage& stage = recipe.stages[i];
    if (stage.name != word) continue;
    if (i >= stage_index)
      return bad_input("\"" + word + "\" runs after this stage",
                       "Put it before, or refer to an earlier one.");
    std::string folder = path_join(out, stage.name);
    const StageKind* kind = find_stage_kind(stage.verb);
    if (wanted == Reference::folder) return folder;
    const std::string& yields = wanted == Reference::model ? kind->model_output : kind->text_output;
    if (yields.empty())
      return bad_input("\"" + word + "\" is a " + stage.verb + " stage: it yields no " +
                       (wanted == Reference::model ? "model" : "text"));
    return yields == "." ? folder : path_join(folder, yields);
  }
  return word;
}

}  // namespace bm
