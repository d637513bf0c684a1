#include "formats/gguf_tokenizer.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <unordered_map>

namespace bm {
namespace {

constexpr const char* cure =
    "Copy tokenizer.json and tokenizer_config.json of the original model into the folder";
constexpr std::string_view word_start = "\xe2\x96\x81";  // ▁
enum TokenType { normal = 1, unknown = 2, control = 3, user_defined = 4 };

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<double> scores;
};

Json byte_level(bool add_prefix_space, bool use_regex) {
  return Json::object({{"type", "ByteLevel"},
                       {"add_prefix_space", add_prefix_space},
                       {"trim_offsets", true},
                       {"use_regex", use_regex}});
}

Json sequence(const char* member, std::vector<Json> items) {
  return Json::object({{"type", "Sequence"}, {member, Json::array(std::move(items))}});
}

// What tokenizer.ggml.pre stands for; nullopt when not known here.
std::optional<Json> pre_tokenizer(std::string_view pre) {
  for (std::string_view name : {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"})
    if (pre == name)
      return sequence("pretokenizers", {Json::object({{"type", "Digits"}, {"individual_digits", true}}),
                                        byte_level(false, true)});
  if (pre == "gpt-2") return byte_level(false, true);
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    const char* expression =
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    return sequence("pretokenizers", {Json::object({{"type", "Split"},
                                                    {"pattern", Json::object({{"Regex", expression}})},
                                                    {"behavior", "Isolated"},
                                                    {"invert", false}}),
                                      byte_level(false, false)});
  }
  return std::nullopt;
}

Result<Vocabulary> read_vocabulary(const Json& metadata) {
  Vocabulary vocabulary;
  const Json& tokens = metadata["tokenizer.ggml.tokens"];
  if (!tokens.is_array() || tokens.size() == 0)
    return bad_input("GGUF: the metadata hold no tokenizer", cure);
  for (const Json& token : tokens.items()) {
    if (!token.is_string()) return bad_input("GGUF: tokenizer.ggml.tokens holds other than strings", cure);
    vocabulary.tokens.push_back(token.as_string());
  }
  vocabulary.types.assign(tokens.size(), normal);
  vocabulary.scores.assign(tokens.size(), 0);
  const Json &types = metadata["tokenizer.ggml.token_type"], &scores = metadata["tokenizer.ggml.scores"];
  if ((types.is_array() && types.size() != tokens.size()) ||
      (scores.is_array() && scores.size() != tokens.size()))
    return bad_input("GGUF: tokens, types and scores differ in number", cure);
  for (size_t i = 0; i < types.size(); ++i)
    if (types[i].is_integer()) vocabulary.types[i] = types[i].as_int();
  for (size_t i = 0; i < scores.size(); ++i)
    if (scores[i].is_number()) vocabulary.scores[i] = scores[i].as_double();
  return vocabulary;
}

Json added_tokens(const Vocabulary& vocabulary) {
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    int64_t type = vocabulary.types[id];
    if (type != unknown && type != control && type != user_defined) continue;
    added.push_back(Json::object({{"id", static_cast<int64_t>(id)},
                                  {"content", vocabulary.tokens[id]},
                                  {"single_word", false},
                                  {"lstrip", false},
                                  {"rstrip", false},
                                  {"normalized", false},
                                  {"special", type != user_defined}}));
  }
  return added;
}

Json vocabulary_object(const Vocabulary& vocabulary) {
  Json object = Json::object();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    object.set(vocabulary.tokens[id], static_cast<int64_t>(id));
  return object;
}

Result<Json> listed_merges(const Json& metadata) {
  const Json& listed = metadata["tokenizer.ggml.merges"];
  if (!listed.is_array()) return bad_input("GGUF: tokenizer.ggml.merges is missing", cure);
  Json merges = Json::array();
  for (const Json& merge : listed.items()) {
    size_t space = merge.is_string() ? merge.as_string().find(' ', 1) : std::string::npos;
    if (space == std::string::npos) return bad_input("GGUF: a merge is no pair: " + merge.dump(), cure);
    merges.push_back(
        Json::array({Json(merge.as_string().substr(0, space)), Json(merge.as_string().substr(space + 1))}));
  }
  return merges;
}

size_t characters(std::string_view text) {
  size_t count = 0;
  for (char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

// A SentencePiece piece can come from every split into two pieces; the likelier piece is merged first.
Json merges_of_scores(const Vocabulary& vocabulary) {
  struct Merge {
    std::string_view left, right;
    double score;
    size_t left_size, right_size, left_id, right_id;
  };
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (vocabulary.types[id] != control && vocabulary.types[id] != unknown)
      ids.emplace(vocabulary.tokens[id], id);
  std::vector<Merge> merges;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    std::string_view token = vocabulary.tokens[id];
    if (vocabulary.types[id] == control || vocabulary.types[id] == unknown) continue;
    size_t first = merges.size();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      merges.push_back({left->first, right->first, vocabulary.scores[id], characters(left->first),
                        characters(right->first), left->second, right->second});
    }
    std::stable_sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
                     [](const Merge& a, const Merge& b) {
                       return std::pair(a.left_id, a.right_id) > std::pair(b.left_id, b.right_id);
                     });
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(a.score, a.left_size, a.right_size) > std::tuple(b.score, b.left_size, b.right_size);
  });
  Json list = Json::array();
  for (const Merge& merge : merges) list.push_back(Json::array({Json(merge.left), Json(merge.right)}));
  return list;
}

Json bpe_model(const Vocabulary& vocabulary, Json merges, Json unknown_token, bool sentence_piece) {
  return Json::object({{"type", "BPE"},
                       {"dropout", Json()},
                       {"unk_token", std::move(unknown_token)},
                       {"continuing_subword_prefix", sentence_piece ? Json() : Json("")},
                       {"end_of_word_suffix", sentence_piece ? Json() : Json("")},
                       {"fuse_unk", sentence_piece},
                       {"byte_fallback", sentence_piece},
                       {"ignore_merges", false},
                       {"vocab", vocabulary_object(vocabulary)},
                       {"merges", std::move(merges)}});
}

// "<s> A" and "<s> A <s> B".
Json bos_template(const std::string& bos, int64_t id) {
  auto special = [&](int64_t type) {
    return Json::object({{"SpecialToken", Json::object({{"id", bos}, {"type_id", type}})}});
  };
  auto text = [&](const char* name, int64_t type) {
    return Json::object({{"Sequence", Json::object({{"id", name}, {"type_id", type}})}});
  };
  Json token =
      Json::object({{"id", bos}, {"ids", Json::array({Json(id)})}, {"tokens", Json::array({Json(bos)})}});
  return Json::object({{"type", "TemplateProcessing"},
                       {"single", Json::array({special(0), text("A", 0)})},
                       {"pair", Json::array({special(0), text("A", 0), special(1), text("B", 1)})},
                       {"special_tokens", Json::object({{bos, token}})}});
}

Json replace(std::string_view from, std::string_view to) {
  return Json::object({{"type", "Replace"}, {"pattern", Json::object({{"String", from}})}, {"content", to}});
}

class Writer {
 public:
  Writer(const Json& metadata, const Vocabulary& vocabulary) : metadata_(metadata), vocabulary_(vocabulary) {}

  Result<Json> tokenizer(const std::string& model) {
    Json json = Json::object({{"version", "1.0"},
                              {"truncation", Json()},
                              {"padding", Json()},
                              {"added_tokens", added_tokens(vocabulary_)}});
    bool sentence_piece = model == "llama";
    std::string pre =
        metadata_["tokenizer.ggml.pre"].is_string() ? metadata_["tokenizer.ggml.pre"].as_string() : "";
    Json post;
    const Json& add_bos = metadata_["tokenizer.ggml.add_bos_token"];
    bool adds = add_bos.is_bool() ? add_bos.as_bool() : sentence_piece || starts_with_llama(pre);
    if (adds && !token("bos").is_null())
      post = bos_template(token("bos").as_string(), metadata_["tokenizer.ggml.bos_token_id"].as_int());
    if (sentence_piece) {
      const Json& prefix = metadata_["tokenizer.ggml.add_space_prefix"];
      std::vector<Json> normalizers;
      bool space = !prefix.is_bool() || prefix.as_bool();
      if (space) normalizers.push_back(Json::object({{"type", "Prepend"}, {"prepend", word_start}}));
      normalizers.push_back(replace(" ", word_start));
      json.set("normalizer", sequence("normalizers", std::move(normalizers)));
      json.set("pre_tokenizer", Json());
      json.set("post_processor", post);
      std::vector<Json> decoders = {replace(word_start, " "), Json::object({{"type", "ByteFallback"}}),
                                    Json::object({{"type", "Fuse"}})};
      if (space)
        decoders.push_back(Json::object({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}));
      json.set("decoder", sequence("decoders", std::move(decoders)));
      json.set("model", bpe_model(vocabulary_, merges_of_scores(vocabulary_), token("unknown"), true));
      return json;
    }
    auto pre_json = pre_tokenizer(pre);
    if (model != "gpt2" || !pre_json)
      return bad_input("GGUF: a tokenizer of kind " + model + "/" + (pre.empty() ? "default" : pre) +
                           " cannot be written as tokenizer.json",
                       cure);
    BM_TRY(Json merges, listed_merges(metadata_));
    json.set("normalizer", Json());
    json.set("pre_tokenizer", *pre_json);
    json.set("post_processor", post);
    json.set("decoder", byte_level(true, true));
    json.set("model", bpe_model(vocabulary_, std::move(merges), Json(), false));
    return json;
  }

  Json config(bool sentence_piece) const {
    Json json = Json::object({{"tokenizer_class", "PreTrainedTokenizerFast"}});
    if (!sentence_piece) json.set("add_prefix_space", false);
    for (auto [key, name] : {std::pair("bos_token", "bos"), std::pair("eos_token", "eos"),
                             std::pair("unk_token", "unknown"), std::pair("pad_token", "padding")})
      if (!token(name).is_null()) json.set(key, token(name));
    json.set("clean_up_tokenization_spaces", false);
    const Json& length = metadata_["llama.context_length"];
    if (length.is_integer()) json.set("model_max_length", length);
    const Json& chat = metadata_["tokenizer.chat_template"];
    if (chat.is_string()) json.set("chat_template", chat);
    return json;
  }

 private:
  static bool starts_with_llama(std::string_view pre) {
    return pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3";
  }
  // The token of tokenizer.ggml.NAME_token_id, null when there is none.
  Json token(std::string_view name) const {
    const Json& id = metadata_["tokenizer.ggml." + std::string(name) + "_token_id"];
    if (!id.is_integer() || id.as_int() < 0 || id.as_uint() >= vocabulary_.tokens.size()) return {};
    return vocabulary_.tokens[id.as_uint()];
  }
  const Json& metadata_;
  const Vocabulary& vocabulary_;
};

}  // namespace

Result<std::vector<NamedText>> tokenizer_files_from_gguf(const Json& metadata) {
  BM_TRY(Vocabulary vocabulary, read_vocabulary(metadata));
  BM_TRY(std::string model, metadata.get_string("tokenizer.ggml.model").in("GGUF metadata"));
  Writer writer(metadata, vocabulary);
  BM_TRY(Json tokenizer, writer.tokenizer(model));
  return std::vector<NamedText>{
      {"tokenizer.json", tokenizer.dump_pretty(2) + "\n"},
      {"tokenizer_config.json", writer.config(model == "llama").dump_pretty(2) + "\n"}};
}

}  // namespace bm
