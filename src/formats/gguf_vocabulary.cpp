#include "formats/gguf_vocabulary.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "formats/gguf.h"
#include "tokenizer/sentencepiece.h"

namespace bm {
namespace {

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // ▁
enum TokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte_token = 6
};

struct Vocabulary {
  std::string model;  // "llama" (SentencePiece) or "gpt2" (byte-level)
  std::string pre = "default";
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

bool is_byte(std::string_view token) {
  return token.size() == 6 && token.substr(0, 3) == "<0x" && token[5] == '>';
}

// ---------------------------------------------------------------- tokenizer.json

// The steps of a normalizer, pre-tokenizer or post-processor, sequences unfolded.
void unfold(const Json& step, std::vector<const Json*>& steps) {
  if (!step.is_object()) return;
  for (const char* member : {"normalizers", "pretokenizers", "processors"})
    if (step[member].is_array()) {
      for (const Json& inner : step[member].items()) unfold(inner, steps);
      return;
    }
  steps.push_back(&step);
}
std::vector<const Json*> steps_of(const Json& root) {
  std::vector<const Json*> steps;
  unfold(root, steps);
  return steps;
}
std::string type_of(const Json& step) { return step["type"].is_string() ? step["type"].as_string() : ""; }

// llama.cpp's name for what cuts text into words; "" when it has none that is known here.
std::string pre_name(const Json& pre_tokenizer) {
  constexpr std::string_view llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  constexpr std::string_view qwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  auto steps = steps_of(pre_tokenizer);
  if (steps.empty() || type_of(*steps.back()) != "ByteLevel") return {};
  const Json& bytes = *steps.back();
  bool regex = !bytes["use_regex"].is_bool() || bytes["use_regex"].as_bool();
  if (bytes["add_prefix_space"].is_bool() && bytes["add_prefix_space"].as_bool()) return {};
  if (steps.size() == 1) return regex ? "gpt-2" : "";
  if (steps.size() != 2) return {};
  const Json& first = *steps[0];
  if (type_of(first) == "Digits" && regex)
    return first["individual_digits"].is_bool() && first["individual_digits"].as_bool() ? "smollm" : "";
  const Json& pattern = first["pattern"]["Regex"];
  if (type_of(first) != "Split" || regex || !pattern.is_string()) return {};
  if (pattern.as_string() == llama3) return "llama-bpe";
  return pattern.as_string() == qwen2 ? "qwen2" : "";
}

Result<std::pair<std::string, std::string>> merge_of(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return std::pair(merge[0].as_string(), merge[1].as_string());
  size_t space = merge.is_string() ? merge.as_string().find(' ', 1) : std::string::npos;
  if (space == std::string::npos) return bad_input("a merge is no pair: " + merge.dump());
  return std::pair(merge.as_string().substr(0, space), merge.as_string().substr(space + 1));
}

Status read_tokens(const Json& json, Vocabulary& v) {
  const Json& vocabulary = json["model"]["vocab"];
  if (!vocabulary.is_object() || vocabulary.size() == 0)
    return bad_input("\"model.vocab\" is missing or empty");
  auto place = [&](const Json& id) -> Result<size_t> {
    if (!id.is_integer() || id.as_int() < 0 || id.as_int() > (1 << 24))
      return bad_input("an id is out of range");
    auto index = static_cast<size_t>(id.as_int());
    if (index >= v.tokens.size()) {
      v.tokens.resize(index + 1);
      v.types.resize(index + 1, unused);
    }
    return index;
  };
  for (const auto& [token, id] : vocabulary.members()) {
    BM_TRY(size_t index, place(id));
    v.tokens[index] = token;
    v.types[index] = v.model == "llama" && is_byte(token) ? byte_token : normal;
  }
  const Json& unk = json["model"]["unk_token"];
  for (const Json& added : json["added_tokens"].items()) {
    BM_TRY(size_t index, place(added["id"]));
    BM_TRY(v.tokens[index], added.get_string("content"));
    bool special = added["special"].is_bool() && added["special"].as_bool();
    v.types[index] = special ? control : user_defined;
    if (v.model == "llama" && unk.is_string() && unk.as_string() == v.tokens[index]) v.types[index] = unknown;
  }
  return {};
}

Status read_merges(const Json& json, Vocabulary& v) {
  const Json& merges = json["model"]["merges"];
  if (!merges.is_array()) return bad_input("\"model.merges\" is missing");
  std::unordered_map<std::string, float> rank;  // of a token: its first merge
  for (const Json& merge : merges.items()) {
    BM_TRY(auto pair, merge_of(merge));
    if (v.model == "gpt2")
      v.merges.push_back(pair.first + " " + pair.second);
    else
      rank.emplace(pair.first + pair.second, static_cast<float>(rank.size()));
  }
  if (v.model == "gpt2") return {};
  // llama.cpp merges the pair whose result has the highest score: minus the rank keeps the order of merges.
  v.scores.assign(v.tokens.size(), 0.0f);
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.types[id] != normal) continue;
    auto found = rank.find(v.tokens[id]);
    v.scores[id] = found != rank.end() ? -found->second : -static_cast<float>(rank.size() + id);
  }
  return {};
}

// BOS and EOS around a text, as the post-processor's template for one text says.
void read_template(const Json& json, Vocabulary& v) {
  v.add_bos = v.add_eos = false;
  for (const Json* step : steps_of(json["post_processor"])) {
    if (type_of(*step) != "TemplateProcessing") continue;
    bool before = true;
    for (const Json& item : (*step)["single"].items()) {
      if (item.contains("Sequence")) before = false;
      if (item.contains("SpecialToken")) (before ? v.add_bos : v.add_eos) = true;
    }
  }
}

Result<Vocabulary> from_json(const std::string& path) {
  BM_TRY(Json json, read_json_file(path));
  Vocabulary v;
  if (type_of(json["model"]) != "BPE")
    return bad_input("a tokenizer of kind " + type_of(json["model"]) + " has no GGUF form here",
                     "byte-level and SentencePiece BPE have")
        .in(path);
  const Json& fallback = json["model"]["byte_fallback"];
  v.model = fallback.is_bool() && fallback.as_bool() ? "llama" : "gpt2";
  if (v.model == "gpt2") {
    v.pre = pre_name(json["pre_tokenizer"]);
    if (v.pre.empty())
      return bad_input("llama.cpp has no name for this pre-tokenizer that is known here",
                       "known are those of GPT-2, SmolLM, Llama 3 and Qwen 2")
          .in(path);
  }
  BM_CHECK_OK(read_tokens(json, v).in(path));
  BM_CHECK_OK(read_merges(json, v).in(path));
  read_template(json, v);
  if (v.model == "llama") {
    v.add_space_prefix = false;
    for (const Json* step : steps_of(json["normalizer"]))
      if (type_of(*step) == "Prepend") v.add_space_prefix = true;
    for (const Json* step : steps_of(json["pre_tokenizer"]))
      if (type_of(*step) == "Metaspace")
        v.add_space_prefix =
            !(*step)["prepend_scheme"].is_string() || (*step)["prepend_scheme"].as_string() != "never";
  }
  return v;
}

// ---------------------------------------------------------------- tokenizer.model

Result<Vocabulary> from_sentencepiece(const std::string& path) {
  BM_TRY(std::string bytes, read_file(path));
  BM_TRY(auto model, tokenizer::parse_sentencepiece(bytes).in(path));
  if (model.model_type != 2)
    return bad_input("is no BPE model of SentencePiece", "unigram models are not supported").in(path);
  Vocabulary v;
  v.model = "llama";
  for (const auto& piece : model.pieces) {
    v.tokens.push_back(piece.text);
    v.scores.push_back(piece.score);
    v.types.push_back(static_cast<int32_t>(piece.type));
  }
  v.add_space_prefix = model.add_dummy_prefix;
  v.add_bos = true;
  v.add_eos = false;
  return v;
}

// Scores of the model file where it holds the same tokens: they are the originals.
Status take_scores(const std::string& path, Vocabulary& v) {
  BM_TRY(auto model, from_sentencepiece(path));
  for (size_t id = 0; id < model.tokens.size(); ++id)
    if (id >= v.tokens.size() || (v.types[id] == normal && v.tokens[id] != model.tokens[id])) return {};
  std::copy(model.scores.begin(), model.scores.end(), v.scores.begin());
  return {};
}

// ---------------------------------------------------------------- keys

std::string token_text(const Json& token) {
  if (token.is_string()) return token.as_string();
  return token["content"].is_string() ? token["content"].as_string() : "";
}

void add_ids(GgufKeys& keys, const Vocabulary& v, const Json& settings, const Json& config) {
  for (auto [key, name, other] : {std::tuple("bos", "bos_token", "bos_token_id"),
                                  {"eos", "eos_token", "eos_token_id"},
                                  {"unknown", "unk_token", ""},
                                  {"padding", "pad_token", "pad_token_id"}}) {
    std::string text = token_text(settings[name]);
    auto found = std::find(v.tokens.begin(), v.tokens.end(), text);
    int64_t id = text.empty() || found == v.tokens.end() ? -1 : found - v.tokens.begin();
    const Json& configured = config[other];
    const Json& first = configured.is_array() && configured.size() > 0 ? configured[0] : configured;
    if (id < 0 && first.is_integer()) id = first.as_int();
    if (id < 0 && std::string_view(key) == "unknown") {
      auto type = std::find(v.types.begin(), v.types.end(), int32_t{unknown});
      if (type != v.types.end()) id = type - v.types.begin();
    }
    if (id >= 0 && id < static_cast<int64_t>(v.tokens.size()))
      keys.u32("tokenizer.ggml." + std::string(key) + "_token_id", static_cast<uint32_t>(id));
  }
}

// The template: a file of its own, or a member of tokenizer_config.json (a text, or a list with names).
Result<std::string> chat_template(const std::string& folder, const Json& settings) {
  std::string file = path_join(folder, "chat_template.jinja");
  if (exists(file)) return read_file(file);
  const Json& stored = settings["chat_template"];
  if (stored.is_string()) return stored.as_string();
  for (const Json& named : stored.is_array() ? stored.items() : std::vector<Json>())
    if (named["name"].is_string() && named["name"].as_string() == "default" && named["template"].is_string())
      return named["template"].as_string();
  return std::string();
}

Status pad(Vocabulary& v, int64_t vocabulary, const std::string& where) {
  auto rows = static_cast<size_t>(vocabulary);
  if (v.tokens.size() > rows)
    return bad_input("the tokenizer has " + std::to_string(v.tokens.size()) + " tokens, the embedding " +
                         std::to_string(rows) + " rows",
                     "the tokenizer is of another model")
        .in(where);
  v.tokens.resize(rows);
  v.types.resize(rows, unused);
  if (v.model == "llama") v.scores.resize(rows, -10000.0f);
  for (size_t id = 0; id < rows; ++id)
    if (v.tokens[id].empty()) {
      v.tokens[id] = "[PAD" + std::to_string(id) + "]";
      v.types[id] = unused;
    }
  return {};
}

Status copy_keys(GgufKeys& keys, const std::string& path) {
  BM_TRY(GgufFile file, GgufFile::open(path));
  for (const auto& [key, value] : file.metadata().members()) {
    if (!starts_with(key, "tokenizer.")) continue;
    if (value.is_array() && value.size() == 0) continue;
    BM_CHECK_OK(keys.json(key, value).in(path));
  }
  return {};
}

}  // namespace

Status add_vocabulary(GgufKeys& keys, const std::string& model, int64_t vocabulary) {
  if (!is_directory(model)) return copy_keys(keys, model);
  std::string json = path_join(model, "tokenizer.json"), pieces = path_join(model, "tokenizer.model");
  if (!exists(json) && !exists(pieces)) {
    log_warning(model + " has neither tokenizer.json nor tokenizer.model: the file will take ids, not text");
    keys.text("tokenizer.ggml.model", "no_vocab");
    return {};
  }
  Vocabulary v;
  if (exists(json)) {
    BM_TRY(v, from_json(json));
    if (v.model == "llama" && exists(pieces)) BM_CHECK_OK(take_scores(pieces, v));
  } else {
    BM_TRY(v, from_sentencepiece(pieces));
  }
  BM_CHECK_OK(pad(v, vocabulary, model));
  Json settings, config;
  if (exists(path_join(model, "tokenizer_config.json"))) {
    BM_TRY(settings, read_json_file(path_join(model, "tokenizer_config.json")));
  }
  if (exists(path_join(model, "config.json"))) {
    BM_TRY(config, read_json_file(path_join(model, "config.json")));
  }
  if (settings["add_bos_token"].is_bool() && !exists(json)) v.add_bos = settings["add_bos_token"].as_bool();
  if (settings["add_eos_token"].is_bool() && !exists(json)) v.add_eos = settings["add_eos_token"].as_bool();
  keys.text("tokenizer.ggml.model", v.model);
  keys.text("tokenizer.ggml.pre", v.pre);
  keys.texts("tokenizer.ggml.tokens", v.tokens);
  if (v.model == "llama") keys.f32s("tokenizer.ggml.scores", v.scores);
  keys.i32s("tokenizer.ggml.token_type", v.types);
  if (v.model == "gpt2") keys.texts("tokenizer.ggml.merges", v.merges);
  add_ids(keys, v, settings, config);
  if (v.add_bos) keys.boolean("tokenizer.ggml.add_bos_token", *v.add_bos);
  if (v.add_eos) keys.boolean("tokenizer.ggml.add_eos_token", *v.add_eos);
  if (v.add_space_prefix) keys.boolean("tokenizer.ggml.add_space_prefix", *v.add_space_prefix);
  BM_TRY(std::string source, chat_template(model, settings));
  if (!source.empty()) keys.text("tokenizer.chat_template", source);
  return {};
}

}  // namespace bm
