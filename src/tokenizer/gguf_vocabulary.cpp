// The vocabulary inside a GGUF file: tokenizer.ggml.model "llama" (SentencePiece pieces with scores)
// or "gpt2" (byte-level BPE; tokenizer.ggml.pre names how text is cut, as in llama.cpp's llama-vocab).
#include <string>

#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece_parts.h"

namespace bm::tokenizer {

namespace {

constexpr std::string_view gpt2_expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view llama3_expression =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen2_expression =
    R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view tekken_expression =
    R"([^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|)"
    R"([^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreKind {
  std::vector<std::string_view> names;
  std::vector<std::string_view> expressions;  // applied one after another
  bool ignore_merges = false;
  bool adds_bos = false;  // when the file does not say
};

const std::vector<PreKind>& pre_kinds() {
  static const std::vector<PreKind> kinds = {
      {{"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v1-en", "roberta-bpe", "olmo"},
       {gpt2_expression}},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "granite-docling"},
       {R"(\p{N})", gpt2_expression}},
      {{"default", ""}, {R"([\p{P}\$\+<=>\^~\|]+)", gpt2_expression, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral"},
       {llama3_expression},
       true,
       true},
      {{"qwen2", "stablelm2", "hunyuan", "deepseek-r1-qwen"}, {qwen2_expression}},
      {{"tekken"}, {tekken_expression}, true, true},
  };
  return kinds;
}

Result<const PreKind*> find_pre_kind(const std::string& name) {
  std::string known;
  for (const PreKind& kind : pre_kinds()) {
    for (std::string_view candidate : kind.names) {
      if (candidate == name) return &kind;
      if (!candidate.empty()) known += (known.empty() ? "" : ", ") + std::string(candidate);
    }
  }
  return bad_input(
      "tokenizer.ggml.pre \"" + name + "\" is not supported: text would be cut in the wrong places",
      "Supported: " + known + ". With the original folder's tokenizer.json it would work.");
}

// Reads tokens, types and scores into pieces.
Result<SentencePieceModel> read_pieces(const Json& metadata) {
  const Json& tokens = metadata["tokenizer.ggml.tokens"];
  const Json& types = metadata["tokenizer.ggml.token_type"];
  const Json& scores = metadata["tokenizer.ggml.scores"];
  if (!tokens.is_array() || tokens.size() == 0) return bad_input("tokenizer.ggml.tokens is missing or empty");
  SentencePieceModel model;
  model.pieces.resize(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    auto place = [&] { return "token " + std::to_string(i); };
    if (!tokens[i].is_string())
      return bad_input("tokenizer.ggml.tokens holds something that is no string").in(place());
    model.pieces[i].text = tokens[i].as_string();
    if (types.is_array() && i < types.size()) {
      if (!types[i].is_integer() || types[i].as_int() < 0 || types[i].as_int() > 6) {
        return bad_input("tokenizer.ggml.token_type holds the unknown type " + types[i].dump()).in(place());
      }
      int64_t type = types[i].as_int();
      model.pieces[i].type = type == 0 ? PieceType::normal : static_cast<PieceType>(type);
    }
    if (scores.is_array() && i < scores.size()) {
      if (!scores[i].is_number())
        return bad_input("tokenizer.ggml.scores holds something that is no number").in(place());
      model.pieces[i].score = static_cast<float>(scores[i].as_double());
    }
  }
  return model;
}

Result<std::optional<int32_t>> read_id(const Json& metadata, const char* key, size_t tokens) {
  BM_TRY(int64_t id, metadata.get_int(key, -1));
  if (id < 0 || id == 0xFFFFFFFF) return std::optional<int32_t>();
  if (id >= static_cast<int64_t>(tokens)) {
    return bad_input(std::string(key) + " is " + std::to_string(id) + ", but there are " +
                     std::to_string(tokens) + " tokens");
  }
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

Result<Parts> byte_level_parts(const Json& metadata, const SentencePieceModel& model, bool& adds_bos) {
  BM_TRY(std::string pre, metadata.get_string("tokenizer.ggml.pre", "default"));
  BM_TRY(const PreKind* kind, find_pre_kind(pre));
  adds_bos = kind->adds_bos;
  Parts parts;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    BM_CHECK_OK(parts.vocabulary.add(piece.text, static_cast<int64_t>(id)));
    bool special = piece.type == PieceType::control || piece.type == PieceType::unknown;
    if (special || piece.type == PieceType::user_defined) {
      parts.added.push_back({.content = piece.text, .id = static_cast<int32_t>(id), .special = special});
    }
  }
  const Json& list = metadata["tokenizer.ggml.merges"];
  if (!list.is_array()) return bad_input("tokenizer.ggml.merges is missing");
  std::vector<Merge> merges;
  for (const Json& item : list.items()) {
    std::string_view text = item.is_string() ? std::string_view(item.as_string()) : std::string_view();
    size_t space = text.find(' ', 1);
    auto error = [&](const char* what) {
      return bad_input("merge " + std::to_string(merges.size()) + " (\"" + std::string(text.substr(0, 60)) +
                       "\") " + what);
    };
    if (space == std::string_view::npos) return error("is no pair of tokens");
    auto left = parts.vocabulary.id(text.substr(0, space)),
         right = parts.vocabulary.id(text.substr(space + 1));
    auto joined =
        parts.vocabulary.id(std::string(text.substr(0, space)) + std::string(text.substr(space + 1)));
    if (!left || !right || !joined) return error("uses a token that the vocabulary lacks");
    merges.push_back({*left, *right, *joined, static_cast<uint32_t>(merges.size())});
  }
  parts.pre_tokenizer.byte_level = true;
  for (std::string_view expression : kind->expressions) {
    BM_TRY(auto split, make_regex_split(expression));
    parts.pre_tokenizer.steps.push_back(std::move(split));
  }
  BM_TRY(parts.model,
         Bpe::make(parts.vocabulary, merges, {.bytes = true, .ignore_merges = kind->ignore_merges}));
  parts.decoder = byte_level_decoder();
  return parts;
}

}  // namespace

Result<Parts> parts_from_gguf(const Json& metadata) {
  if (!metadata.is_object()) return bad_input("the file holds no metadata");
  BM_TRY(std::string type, metadata.get_string("tokenizer.ggml.model", ""));
  if (type.empty()) return bad_input("the file holds no tokenizer (tokenizer.ggml.model is missing)");
  if (type != "llama" && type != "gpt2") {
    return bad_input("tokenizer.ggml.model \"" + type + "\" is not supported", "Supported: llama, gpt2.");
  }
  BM_TRY(SentencePieceModel model, read_pieces(metadata));
  bool adds_bos = true;
  Parts parts;
  if (type == "llama") {
    BM_TRY(model.add_dummy_prefix, metadata.get_bool("tokenizer.ggml.add_space_prefix", true));
    BM_TRY(model.remove_extra_spaces, metadata.get_bool("tokenizer.ggml.remove_extra_whitespaces", false));
    BM_TRY(parts, parts_from_pieces(model));
  } else {
    BM_TRY(parts, byte_level_parts(metadata, model, adds_bos));
  }
  BM_TRY(parts.bos, read_id(metadata, "tokenizer.ggml.bos_token_id", model.pieces.size()));
  BM_TRY(parts.eos, read_id(metadata, "tokenizer.ggml.eos_token_id", model.pieces.size()));
  BM_TRY(auto unknown, read_id(metadata, "tokenizer.ggml.unknown_token_id", model.pieces.size()));
  BM_TRY(auto padding, read_id(metadata, "tokenizer.ggml.padding_token_id", model.pieces.size()));
  BM_TRY(bool add_bos, metadata.get_bool("tokenizer.ggml.add_bos_token", adds_bos));
  BM_TRY(bool add_eos, metadata.get_bool("tokenizer.ggml.add_eos_token", false));
  parts.post_processor =
      bos_eos_processor(add_bos ? parts.bos.value_or(-1) : -1, add_eos ? parts.eos.value_or(-1) : -1);
  BM_TRY(parts.chat_template, metadata.get_string("tokenizer.chat_template", ""));
  if (unknown) parts.chat_names.set("unk_token", parts.vocabulary.text(*unknown));
  if (padding) parts.chat_names.set("pad_token", parts.vocabulary.text(*padding));
  return parts;
}

}  // namespace bm::tokenizer
