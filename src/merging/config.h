// A merge configuration: mergekit's YAML, checked. Every message names the line and the key.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "merging/methods.h"
#include "merging/parameters.h"
#include "tensor/dtype.h"

namespace bm {

// "path", "path@revision", "path+adapter".
struct ModelReference {
  std::string text;     // as written; the key of models and of random masks
  std::string path;     // without revision and adapter
  std::string adapter;  // folder of a PEFT adapter, "" = none
  std::string revision;
  uint32_t line = 0;

  static Result<ModelReference> parse(const Json& value);
  bool operator==(const ModelReference& other) const { return text == other.text; }
};

struct SliceSource {
  ModelReference model;
  int64_t begin = 0, end = 0;  // layers
  bool whole = false;          // models form: all layers of the model
  ParameterScope parameters;
  uint32_t line = 0;
};

struct OutputSlice {
  std::vector<SliceSource> sources;
  std::optional<ModelReference> base_model;
  ParameterScope parameters;
  uint32_t line = 0;
};

struct TokenSource {
  enum class Kind { model, zero, model_token };
  Kind kind = Kind::model;
  std::optional<ModelReference> model;
  std::string token;      // model_token
  int64_t token_id = -1;  // model_token, by number
  bool present = false;   // a source was given at all
  bool force = false;
};

struct TokenizerConfig {
  std::string source;  // "union", "base" or a model reference; "" = none
  std::optional<ModelReference> model;
  std::vector<std::pair<std::string, TokenSource>> tokens;
  int64_t pad_to_multiple_of = 0;
};

struct UnknownKey {
  std::string key, place;
  uint32_t line = 0;
  std::string near;  // the nearest known key
};

struct MergeConfiguration {
  const MethodInfo* method = nullptr;
  std::optional<ModelReference> base_model;
  std::vector<OutputSlice> slices;
  bool models_form = false;  // one slice that covers whole models
  ParameterScope module_parameters, parameters;
  std::optional<DType> dtype, out_dtype;
  std::string chat_template;
  std::optional<TokenizerConfig> tokenizer;
  std::vector<UnknownKey> unknown;  // misspelt keys and parameters no method takes
  std::string source;               // the YAML as it was read

  // Every model named, in order of first appearance (base first when it is named first in the file's
  // meaning: base_model, then inputs).
  std::vector<ModelReference> models() const;
};

// yaml: one document's value; source its text.
Result<MergeConfiguration> parse_merge_configuration(const Json& yaml, std::string source);

}  // namespace bm
