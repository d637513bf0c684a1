// A recipe: YAML that names a base model and a list of stages; a stage refers to earlier ones by name.
//
//   base: {model: path}
//   stages:
//     - corpus:   {inputs: [...], tokenizer: base}
//     - pretrain: {model: base, data: corpus, steps: 60}
//     - merge:    {name: slerp, config: slerp.yaml, models: {base: base, adapted: pretrain}}
//     - evaluate: {models: [base, pretrain, slerp], tasks: biomistral}
//     - report:   {}
//
// Everything that can be wrong about it is found before the first stage starts.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct RecipeStage {
  std::string verb;  // "corpus", "pretrain", …
  std::string name;  // `name:`, else the verb; also its folder's name
  Json options;      // keys of the verb, without `name`
};

struct Recipe {
  std::string base_model;
  Json settings;  // seed, mode, threads, …: CommonOptions for all stages
  std::vector<RecipeStage> stages;

  const RecipeStage* find(std::string_view name) const;
};

// Errors name the line and key; unknown keys the nearest known one.
Result<Recipe> parse_recipe(const Json& yaml);

// What a key wants when its value names a stage.
enum class Reference {
  model,   // a model folder: pretrain's final weights, a merge, a quantized folder, or `base`
  folder,  // the stage's whole output folder
  text,    // held-out text of a corpus
};

// The path a word stands for in `key`: an earlier stage's output below `out`, the base model, or the
// word itself as a path. bad_input when it names a later stage or one that yields no such thing.
Result<std::string> resolve_reference(const Recipe& recipe, const std::string& out, size_t stage_index,
                                      const std::string& word, Reference wanted);

}  // namespace bm
