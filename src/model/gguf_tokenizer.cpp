#include "model/gguf_tokenizer.h"

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#include "base/file.h"

namespace bm {
namespace {

// How the kinds of tokenizer.ggml.pre cut text (llama.cpp's llama-vocab.cpp), in tokenizers' terms.
enum class Cut : uint8_t { gpt2, digits_then_gpt2, llama3 };

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Result<Cut> find_cut(const Json& metadata) {
  BM_TRY(std::string pre, metadata.get_string("tokenizer.ggml.pre", "default"));
  for (const char* name : {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})
    if (pre == name) return Cut::digits_then_gpt2;
  for (const char* name : {"gpt-2", "phi-2", "olmo", "roberta-bpe"})
    if (pre == name) return Cut::gpt2;
  for (const char* name : {"llama-bpe", "llama3", "llama-v3"})
    if (pre == name) return Cut::llama3;
  return bad_input("a byte-level tokenizer of the kind " + json_quote(pre) + " cannot be written as tokenizer.json",
                   "Copy tokenizer.json from the model's original folder.");
}

Json byte_level(bool use_regex) {
  return Json::object({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}});
}

Json pre_tokenizer(Cut cut) {
  if (cut == Cut::gpt2) return byte_level(true);
  Json first = Json::object({{"type", "Digits"}, {"individual_digits", true}});
  if (cut == Cut::llama3)
    first = Json::object({{"type", "Split"},
                          {"pattern", Json::object({{"Regex", kLlama3}})},
                          {"behavior", "Isolated"},
                          {"invert", false}});
  return Json::object({{"type", "Sequence"},
                       {"pretokenizers", Json::array({first, byte_level(cut != Cut::llama3)})}});
}

// The text of a special token, "" when the file names none.
std::string special_token(const Json& metadata, const char* key) {
  const Json& id = metadata[key];
  const Json& tokens = metadata["tokenizer.ggml.tokens"];
  if (!id.is_integer() || id.as_int() < 0 || static_cast<size_t>(id.as_int()) >= tokens.size()) return "";
  const Json& token = tokens[static_cast<size_t>(id.as_int())];
  return token.is_string() ? token.as_string() : "";
}

Result<bool> adds_bos(const Json& metadata, bool otherwise) {
  BM_TRY(bool add, metadata.get_bool("tokenizer.ggml.add_bos_token", otherwise));
  return add && !special_token(metadata, "tokenizer.ggml.bos_token_id").empty();
}

Json bos_template(const Json& metadata) {
  const std::string bos = special_token(metadata, "tokenizer.ggml.bos_token_id");
  const auto token = [&](int type) { return Json::object({{"SpecialToken", Json::object({{"id", bos}, {"type_id", type}})}}); };
  const auto text = [&](const char* id, int type) {
    return Json::object({{"Sequence", Json::object({{"id", id}, {"type_id", type}})}});
  };
  const Json known = Json::object({{"id", bos},
                                   {"ids", Json::array({metadata["tokenizer.ggml.bos_token_id"]})},
                                   {"tokens", Json::array({Json(bos)})}});
  return Json::object({{"type", "TemplateProcessing"},
                       {"single", Json::array({token(0), text("A", 0)})},
                       {"pair", Json::array({token(0), text("A", 0), token(1), text("B", 1)})},
                       {"special_tokens", Json::object({{bos, known}})}});
}

int64_t token_type(const Json& metadata, size_t id) {
  const Json& types = metadata["tokenizer.ggml.token_type"];
  return types.is_array() && id < types.size() && types[id].is_integer() ? types[id].as_int() : 1;
}

Status check_tokens(const Json& metadata) {
  const Json& tokens = metadata["tokenizer.ggml.tokens"];
  if (!tokens.is_array() || tokens.size() == 0) return bad_input("the file holds no tokenizer (tokenizer.ggml.tokens)");
  for (const Json& token : tokens.items())
    if (!token.is_string()) return bad_input("tokenizer.ggml.tokens holds something that is no string");
  return {};
}

// Protocol buffer fields.
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}
void put_number(std::string& out, uint32_t field, uint64_t value) {
  put_varint(out, uint64_t{field} << 3);
  put_varint(out, value);
}
void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_varint(out, uint64_t{field} << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_float(std::string& out, uint32_t field, float value) {
  put_varint(out, uint64_t{field} << 3 | 5);
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(bits >> shift & 0xff));
}

}  // namespace

Result<Json> tokenizer_json_from_gguf(const Json& metadata) {
  BM_CHECK_OK(check_tokens(metadata));
  BM_TRY(Cut cut, find_cut(metadata));
  BM_TRY(bool bos, adds_bos(metadata, cut == Cut::llama3));
  if (!metadata["tokenizer.ggml.merges"].is_array()) return bad_input("tokenizer.ggml.merges is missing");
  Json added = Json::array(), vocabulary = Json::object();
  const std::vector<Json>& tokens = metadata["tokenizer.ggml.tokens"].items();
  for (size_t id = 0; id < tokens.size(); ++id) {
    vocabulary.set(tokens[id].as_string(), static_cast<int64_t>(id));
    const int64_t type = token_type(metadata, id);  // 2 unknown, 3 control, 4 user-defined
    if (type < 2 || type > 4) continue;
    added.push_back(Json::object({{"id", static_cast<int64_t>(id)},
                                  {"content", tokens[id]},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", type != 4}}));
  }
  Json decoder = byte_level(true);
  decoder.set("add_prefix_space", true);
  const Json model = Json::object({{"type", "BPE"},
                                   {"dropout", Json()},
                                   {"unk_token", Json()},
                                   {"continuing_subword_prefix", Json()},
                                   {"end_of_word_suffix", Json()},
                                   {"fuse_unk", false},
                                   {"byte_fallback", false},
                                   {"ignore_merges", cut == Cut::llama3},
                                   {"vocab", vocabulary},
                                   {"merges", metadata["tokenizer.ggml.merges"]}});
  return Json::object({{"version", "1.0"},
                       {"truncation", Json()},
                       {"padding", Json()},
                       {"added_tokens", added},
                       {"normalizer", Json()},
                       {"pre_tokenizer", pre_tokenizer(cut)},
                       {"post_processor", bos ? bos_template(metadata) : Json()},
                       {"decoder", decoder},
                       {"model", model}});
}

Result<std::string> sentencepiece_model_from_gguf(const Json& metadata) {
  BM_CHECK_OK(check_tokens(metadata));
  BM_TRY(bool dummy_prefix, metadata.get_bool("tokenizer.ggml.add_space_prefix", true));
  BM_TRY(bool remove_spaces, metadata.get_bool("tokenizer.ggml.remove_extra_whitespaces", false));
  const std::vector<Json>& tokens = metadata["tokenizer.ggml.tokens"].items();
  const Json& scores = metadata["tokenizer.ggml.scores"];
  std::string model;
  for (size_t id = 0; id < tokens.size(); ++id) {
    std::string piece;
    put_bytes(piece, 1, tokens[id].as_string());
    put_float(piece, 2, scores.is_array() && id < scores.size() && scores[id].is_number() ? static_cast<float>(scores[id].as_double()) : 0.0f);
    put_number(piece, 3, static_cast<uint64_t>(token_type(metadata, id)));
    put_bytes(model, 1, piece);
  }
  std::string trainer, normalizer;
  put_number(trainer, 3, 2);  // model_type BPE
  put_number(trainer, 4, tokens.size());
  put_number(trainer, 35, 1);  // byte_fallback
  const std::array<std::pair<uint32_t, const char*>, 4> ids = {{{40, "tokenizer.ggml.unknown_token_id"},
                                                                {41, "tokenizer.ggml.bos_token_id"},
                                                                {42, "tokenizer.ggml.eos_token_id"},
                                                                {43, "tokenizer.ggml.padding_token_id"}}};
  for (const auto& [field, key] : ids) {
    const bool known = metadata[key].is_integer() && !special_token(metadata, key).empty();
    // int32 -1 = none, written as a 64-bit varint
    if (known || field == 43) put_number(trainer, field, static_cast<uint64_t>(known ? metadata[key].as_int() : -1));
  }
  put_bytes(normalizer, 1, "identity");
  put_number(normalizer, 3, dummy_prefix);
  put_number(normalizer, 4, remove_spaces);
  put_number(normalizer, 5, 1);  // escape_whitespaces
  put_bytes(model, 2, trainer);
  put_bytes(model, 3, normalizer);
  return model;
}

Result<Json> tokenizer_config_from_gguf(const Json& metadata) {
  BM_CHECK_OK(check_tokens(metadata));
  const bool pieces = metadata["tokenizer.ggml.model"] == Json("llama");
  BM_TRY(bool bos, adds_bos(metadata, pieces));
  BM_TRY(bool eos, metadata.get_bool("tokenizer.ggml.add_eos_token", false));
  Json json = Json::object({{"add_bos_token", bos}, {"add_eos_token", eos}});
  const std::array<std::pair<const char*, const char*>, 4> names = {{{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                                     {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                                     {"pad_token", "tokenizer.ggml.padding_token_id"},
                                                                     {"unk_token", "tokenizer.ggml.unknown_token_id"}}};
  for (const auto& [name, key] : names)
    if (const std::string token = special_token(metadata, key); !token.empty()) json.set(name, token);
  if (metadata["tokenizer.chat_template"].is_string()) json.set("chat_template", metadata["tokenizer.chat_template"]);
  json.set("clean_up_tokenization_spaces", false);
  const Json& architecture = metadata["general.architecture"];
  if (architecture.is_string())
    if (const Json& length = metadata[architecture.as_string() + ".context_length"]; length.is_integer())
      json.set("model_max_length", length);
  json.set("tokenizer_class", pieces ? "LlamaTokenizer" : "PreTrainedTokenizerFast");
  return json;
}

Status write_gguf_tokenizer(const Json& metadata, const std::string& folder) {
  BM_TRY(std::string kind, metadata.get_string("tokenizer.ggml.model", ""));
  BM_CHECK_OK(make_directories(folder));
  if (kind == "gpt2") {
    BM_TRY(Json json, tokenizer_json_from_gguf(metadata));
    BM_CHECK_OK(write_file_atomic(path_join(folder, "tokenizer.json"), json.dump_pretty(1) + "\n"));
  } else if (kind == "llama") {
    BM_TRY(std::string model, sentencepiece_model_from_gguf(metadata));
    BM_CHECK_OK(write_file_atomic(path_join(folder, "tokenizer.model"), model));
  } else {
    return bad_input("tokenizer.ggml.model " + json_quote(kind) + " is not supported", "Supported: gpt2, llama.");
  }
  BM_TRY(Json config, tokenizer_config_from_gguf(metadata));
  return write_file_atomic(path_join(folder, "tokenizer_config.json"), config.dump_pretty(2) + "\n");
}

}  // namespace bm
