#include "merging/config.h"

#include <algorithm>

#include "base/file.h"
#include "base/options.h"

namespace bm {
namespace {

Error at(const Json& value, std::string what, std::string cure = {}) {
  Error error = bad_input(std::move(what), std::move(cure));
  if (value.line()) error.in("line " + std::to_string(value.line()));
  return error;
}

class Parser {
 public:
  Parser(const Json& yaml, MergeConfiguration& out) : yaml_(yaml), out_(out) {}

  Status run() {
    if (!yaml_.is_object())
      return bad_input(yaml_.is_null() ? "the configuration is empty" : "the configuration is no mapping",
                       "It needs at least `merge_method` and one of `models`, `slices` or `modules`.");
    note_unknown(yaml_, "",
                 {"models", "slices", "modules", "merge_method", "base_model", "dtype", "out_dtype",
                  "tokenizer_source", "tokenizer", "chat_template", "parameters", "name"});
    BM_CHECK_OK(method());
    BM_CHECK_OK(types());
    if (const Json* base = given(yaml_, "base_model")) {
      BM_TRY(ModelReference reference, ModelReference::parse(*base).in("base_model"));
      out_.base_model = std::move(reference);
    }
    BM_TRY(out_.parameters, scope(yaml_, "parameters"));
    BM_CHECK_OK(tokenizer());
    return inputs();
  }

 private:
  // The member, unless it is absent or null (which means the same in YAML).
  static const Json* given(const Json& object, std::string_view key) {
    const Json* found = object.find(key);
    return found && !found->is_null() ? found : nullptr;
  }

  void note_unknown(const Json& object, const std::string& place, const std::vector<std::string>& known) {
    for (const Json::Member& member : object.members())
      if (std::find(known.begin(), known.end(), member.first) == known.end())
        out_.unknown.push_back(
            {member.first, place, member.second.line(), nearest_word(member.first, known)});
  }

  Status method() {
    const Json* value = given(yaml_, "merge_method");
    if (!value) return bad_input("`merge_method` is missing", "Add e.g. `merge_method: slerp`.");
    if (!value->is_string()) return at(*value, "is no text").in("merge_method");
    auto found = find_merge_method(value->as_string());
    if (!found.ok()) {
      Error error = std::move(found).error();
      return std::move(error.in("line " + std::to_string(value->line())));
    }
    out_.method = found.value();
    return {};
  }

  Result<std::optional<DType>> type(std::string_view key) {
    const Json* value = given(yaml_, key);
    if (!value) return std::optional<DType>{};
    std::optional<DType> dtype = value->is_string() ? dtype_from_user(value->as_string()) : std::nullopt;
    if (!dtype || (*dtype != DType::f32 && *dtype != DType::f16 && *dtype != DType::bf16))
      return at(*value, "unknown or unsupported type " + value->dump(), "Use bfloat16, float16 or float32.")
          .in(std::string(key));
    return dtype;
  }

  Status types() {
    BM_TRY(out_.dtype, type("dtype"));
    BM_TRY(out_.out_dtype, type("out_dtype"));
    if (const Json* value = given(yaml_, "chat_template")) {
      if (!value->is_string()) return at(*value, "is no text").in("chat_template");
      out_.chat_template = value->as_string();
    }
    return {};
  }

  Result<ParameterScope> scope(const Json& object, const std::string& place) {
    const Json* value = given(object, "parameters");
    if (!value) return ParameterScope{};
    BM_TRY(ParameterScope parsed, ParameterScope::parse(*value).in(place));
    for (const Json::Member& member : value->members())
      if (!out_.method->find_parameter(member.first)) {
        std::vector<std::string> known;
        for (const auto* list : {&out_.method->global, &out_.method->per_input})
          for (const ParameterInfo& info : *list) known.push_back(info.name);
        out_.unknown.push_back(
            {member.first, place, member.second.line(), nearest_word(member.first, known)});
      }
    return parsed;
  }

  Status inputs() {
    int count = 0;
    for (const char* key : {"models", "slices", "modules"}) {
      const Json* value = given(yaml_, key);
      if (value && value->size() > 0) ++count;
    }
    if (count != 1)
      return bad_input(count ? "more than one of `models`, `slices` and `modules` is there"
                             : "none of `models`, `slices` and `modules` is there (or it is empty)",
                       "Exactly one of them says what to merge.");
    if (const Json* modules = given(yaml_, "modules"); modules && modules->size() > 0)
      return module(*modules);
    return body(yaml_, "");
  }

  Status module(const Json& modules) {
    if (!modules.is_object()) return at(modules, "is no mapping").in("modules");
    if (modules.size() != 1)
      return at(modules, "several modules", "The supported architectures have one, `default`.").in("modules");
    const auto& [name, definition] = modules.members()[0];
    std::string place = "modules." + name;
    if (!definition.is_object()) return at(definition, "is no mapping").in(place);
    note_unknown(definition, place, {"models", "slices", "parameters"});
    bool models = definition["models"].size() > 0, slices = definition["slices"].size() > 0;
    if (models == slices) return at(definition, "exactly one of `models` and `slices` is wanted").in(place);
    BM_TRY(out_.module_parameters, scope(definition, place + ".parameters"));
    return body(definition, place + ".");
  }

  Status body(const Json& object, const std::string& place) {
    if (object["models"].size() > 0) return models(object["models"], place + "models");
    const Json& slices = object["slices"];
    if (!slices.is_array()) return at(slices, "is no list").in(place + "slices");
    for (size_t i = 0; i < slices.size(); ++i)
      BM_CHECK_OK(slice(slices[i], place + "slices[" + std::to_string(i) + "]"));
    return {};
  }

  Status models(const Json& list, const std::string& place) {
    if (!list.is_array()) return at(list, "is no list").in(place);
    OutputSlice slice;
    slice.line = list.line();
    for (size_t i = 0; i < list.size(); ++i) {
      std::string here = place + "[" + std::to_string(i) + "]";
      BM_TRY(SliceSource source, source_of(list[i], here, {"model", "parameters"}));
      source.whole = true;
      slice.sources.push_back(std::move(source));
    }
    bool listed = std::any_of(slice.sources.begin(), slice.sources.end(), [&](const SliceSource& s) {
      return out_.base_model && s.model == *out_.base_model;
    });
    if (out_.base_model && !listed) {  // as the peer does: it takes part with the outer scopes' parameters
      SliceSource base;
      base.model = *out_.base_model;
      base.whole = true;
      slice.sources.push_back(std::move(base));
    }
    out_.slices.push_back(std::move(slice));
    out_.models_form = true;
    return {};
  }

  Result<SliceSource> source_of(const Json& value, const std::string& place,
                                const std::vector<std::string>& known) {
    SliceSource source;
    source.line = value.line();
    if (!value.is_object()) return at(value, "is no mapping with `model`").in(place);
    note_unknown(value, place, known);
    const Json* model = given(value, "model");
    if (!model) return at(value, "`model` is missing").in(place);
    BM_TRY(source.model, ModelReference::parse(*model).in(place + ".model"));
    BM_TRY(source.parameters, scope(value, place + ".parameters"));
    return source;
  }

  Status slice(const Json& value, const std::string& place) {
    OutputSlice slice;
    slice.line = value.line();
    if (!value.is_object()) return at(value, "is no mapping with `sources`").in(place);
    note_unknown(value, place, {"sources", "parameters", "base_model"});
    const Json& sources = value["sources"];
    if (!sources.is_array() || sources.size() == 0)
      return at(value, "`sources` is missing or empty").in(place);
    for (size_t i = 0; i < sources.size(); ++i) {
      std::string here = place + ".sources[" + std::to_string(i) + "]";
      BM_TRY(SliceSource source, source_of(sources[i], here, {"model", "layer_range", "parameters"}));
      BM_CHECK_OK(layers(sources[i], source).in(here + ".layer_range"));
      slice.sources.push_back(std::move(source));
    }
    if (const Json* base = given(value, "base_model")) {
      BM_TRY(ModelReference reference, ModelReference::parse(*base).in(place + ".base_model"));
      slice.base_model = std::move(reference);
    }
    BM_TRY(slice.parameters, scope(value, place + ".parameters"));
    for (const SliceSource& source : slice.sources)
      if (source.end - source.begin != slice.sources[0].end - slice.sources[0].begin)
        return at(value,
                  "the sources of a slice have different numbers of layers (" +
                      std::to_string(slice.sources[0].end - slice.sources[0].begin) + " and " +
                      std::to_string(source.end - source.begin) + ")",
                  "All inputs to a slice must contain the same number of layers.")
            .in(place);
    out_.slices.push_back(std::move(slice));
    return {};
  }

  static Status layers(const Json& value, SliceSource& source) {
    const std::string cure = "Write `layer_range: [first, one past the last]`, e.g. [0, 32].";
    const Json* range = given(value, "layer_range");
    if (!range) return at(value, "is missing", cure);
    if (!range->is_array() || range->size() != 2 || !(*range)[size_t{0}].is_integer() ||
        !(*range)[size_t{1}].is_integer())
      return at(*range, "is " + range->dump() + ", two whole numbers are wanted", cure);
    source.begin = (*range)[size_t{0}].as_int();
    source.end = (*range)[size_t{1}].as_int();
    if (source.begin < 0)
      return at(*range, "begins at " + std::to_string(source.begin) + ": layers count from 0", cure);
    if (source.end <= source.begin) return at(*range, "is empty or reversed: " + range->dump(), cure);
    return {};
  }

  Status tokenizer() {
    const Json *source = given(yaml_, "tokenizer_source"), *whole = given(yaml_, "tokenizer");
    if (source && whole)
      return at(*whole, "both `tokenizer_source` and `tokenizer` are there", "Keep one of them.");
    if (!source && !whole) return {};
    TokenizerConfig config;
    if (whole) {
      if (!whole->is_object()) return at(*whole, "is no mapping").in("tokenizer");
      note_unknown(*whole, "tokenizer", {"source", "tokens", "pad_to_multiple_of"});
      source = given(*whole, "source");
      if (source == nullptr)
        return at(*whole, "`source` is missing", "It is union, base or a model.").in("tokenizer");
      BM_TRY(config.pad_to_multiple_of, whole->get_int("pad_to_multiple_of", 0).in("tokenizer"));
      if (config.pad_to_multiple_of < 0) return at(*whole, "pad_to_multiple_of is negative").in("tokenizer");
      if (const Json* tokens = given(*whole, "tokens")) BM_CHECK_OK(token_sources(*tokens, config));
    }
    if (source->is_string() && (source->as_string() == "union" || source->as_string() == "base")) {
      config.source = source->as_string();
    } else {
      BM_TRY(ModelReference model, ModelReference::parse(*source).in("tokenizer source"));
      config.source = model.text;
      config.model = std::move(model);
    }
    out_.tokenizer = std::move(config);
    return {};
  }

  Status token_sources(const Json& tokens, TokenizerConfig& config) {
    if (!tokens.is_object()) return at(tokens, "is no mapping").in("tokenizer.tokens");
    for (const Json::Member& member : tokens.members()) {
      std::string place = "tokenizer.tokens." + member.first;
      TokenSource out;
      if (!member.second.is_object()) return at(member.second, "is no mapping").in(place);
      note_unknown(member.second, place, {"source", "force"});
      BM_TRY(out.force, member.second.get_bool("force", false).in(place));
      if (const Json* source = given(member.second, "source")) {
        BM_CHECK_OK(token_source(*source, out).in(place + ".source"));
      }
      config.tokens.emplace_back(member.first, std::move(out));
    }
    return {};
  }

  Status token_source(const Json& source, TokenSource& out) {
    out.present = true;
    if (!source.is_object() || !source.contains("kind")) {
      BM_TRY(ModelReference model, ModelReference::parse(source));
      out.model = std::move(model);
      return {};
    }
    BM_TRY(std::string kind, source.get_string("kind"));
    if (kind == "zero") {
      out.kind = TokenSource::Kind::zero;
      return {};
    }
    if (kind != "model_token")
      return at(source, "unknown kind \"" + kind + "\"", "Kinds are zero and model_token.");
    out.kind = TokenSource::Kind::model_token;
    BM_TRY(ModelReference model, ModelReference::parse(source["model"]).in("model"));
    out.model = std::move(model);
    BM_TRY(out.token, source.get_string("token", ""));
    BM_TRY(out.token_id, source.get_int("token_id", -1));
    if (out.token.empty() == (out.token_id < 0))
      return at(source, "exactly one of `token` and `token_id` is wanted");
    return {};
  }

  const Json& yaml_;
  MergeConfiguration& out_;
};

}  // namespace

Result<ModelReference> ModelReference::parse(const Json& value) {
  ModelReference out;
  out.line = value.line();
  if (value.is_object()) {  // mergekit's long form
    const Json& model = value["model"].is_object() ? value["model"] : value;
    BM_TRY(out.path, model.get_string("path"));
    out.text = out.path;
    if (value["lora"].is_object()) {
      BM_TRY(out.adapter, value["lora"].get_string("path"));
      out.text += "+" + out.adapter;
    }
    return out;
  }
  if (!value.is_string() || value.as_string().empty())
    return at(value, "is " + value.dump() + ", the folder of a model is wanted");
  out.text = value.as_string();
  out.path = out.text;
  if (exists(out.path)) return out;  // a folder whose name holds @ or +
  std::vector<std::string> parts = split(out.text, '+');
  if (parts.size() > 2)
    return at(value, "\"" + out.text + "\" names several adapters", "A reference is \"model+adapter\".");
  out.path = parts[0];
  if (parts.size() == 2) out.adapter = parts[1];
  size_t mark = out.path.find('@');
  if (mark != std::string::npos) {
    out.revision = out.path.substr(mark + 1);
    out.path.resize(mark);
  }
  return out;
}

std::vector<ModelReference> MergeConfiguration::models() const {
  std::vector<ModelReference> out;
  auto add = [&](const ModelReference& model) {
    if (std::find(out.begin(), out.end(), model) == out.end()) out.push_back(model);
  };
  for (const OutputSlice& slice : slices)
    for (const SliceSource& source : slice.sources) add(source.model);
  if (base_model) add(*base_model);
  for (const OutputSlice& slice : slices)
    if (slice.base_model) add(*slice.base_model);
  if (tokenizer && tokenizer->model) add(*tokenizer->model);
  return out;
}

Result<MergeConfiguration> parse_merge_configuration(const Json& yaml, std::string source) {
  MergeConfiguration out;
  out.source = std::move(source);
  Parser parser(yaml, out);
  BM_CHECK_OK(parser.run());
  return out;
}

}  // namespace bm
