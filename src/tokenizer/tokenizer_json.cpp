// tokenizer.json (Hugging Face tokenizers) and the older pair vocab.json + merges.txt.
#include <string>

#include "tokenizer/pipeline.h"
#include "tokenizer/unicode.h"

namespace bm::tokenizer {

namespace {

Status read_vocabulary(const Json& json, Vocabulary& vocabulary) {
  if (!json.is_object()) return bad_input("model.vocab is missing or no object");
  for (const auto& [token, id] : json.members()) {
    if (!id.is_integer()) return bad_input("the id of token \"" + token.substr(0, 60) + "\" is no integer");
    BM_CHECK_OK(vocabulary.add(token, id.as_int()));
  }
  return {};
}

Result<Merge> make_merge(const Vocabulary& vocabulary, std::string_view left, std::string_view right,
                         size_t rank) {
  auto first = vocabulary.id(left), second = vocabulary.id(right);
  auto joined = vocabulary.id(std::string(left) + std::string(right));
  if (!first || !second || !joined) {
    return bad_input("merge " + std::to_string(rank) + " (\"" + std::string(left.substr(0, 40)) +
                     "\" and \"" + std::string(right.substr(0, 40)) +
                     "\") uses a token that the vocabulary lacks");
  }
  return Merge{*first, *second, *joined, static_cast<uint32_t>(rank)};
}

Result<std::vector<Merge>> read_merges(const Json& json, const Vocabulary& vocabulary) {
  if (!json.is_array()) return bad_input("model.merges is missing or no list");
  std::vector<Merge> merges;
  merges.reserve(json.size());
  for (const Json& item : json.items()) {
    std::string_view left, right;
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      left = item[0].as_string();
      right = item[1].as_string();
    } else if (item.is_string()) {
      std::string_view text = item.as_string();
      size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        return bad_input("merge " + std::to_string(merges.size()) +
                         " is not two tokens with one space between");
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {
      return bad_input("merge " + std::to_string(merges.size()) +
                       " is neither a string nor a pair of strings");
    }
    BM_TRY(Merge merge, make_merge(vocabulary, left, right, merges.size()));
    merges.push_back(merge);
  }
  return merges;
}

Result<std::vector<AddedToken>> read_added_tokens(const Json& json, Vocabulary& vocabulary) {
  std::vector<AddedToken> added;
  if (json.is_null()) return added;
  if (!json.is_array()) return bad_input("added_tokens is no list");
  for (const Json& item : json.items()) {
    AddedToken token;
    BM_TRY(token.content, item.get_string("content"));
    BM_TRY(int64_t id, item.get_int("id"));
    BM_TRY(token.special, item.get_bool("special", false));
    BM_TRY(token.normalized, item.get_bool("normalized", !token.special));
    BM_TRY(token.single_word, item.get_bool("single_word", false));
    BM_TRY(token.lstrip, item.get_bool("lstrip", false));
    BM_TRY(token.rstrip, item.get_bool("rstrip", false));
    BM_CHECK_OK(vocabulary.add(token.content, id));
    token.id = static_cast<int32_t>(id);
    added.push_back(std::move(token));
  }
  return added;
}

Status read_bpe(const Json& model, Parts& parts) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    BM_TRY(std::string affix, model.get_string(key, ""));
    if (!affix.empty()) return bad_input(std::string("model.") + key + " \"" + affix + "\" is not supported");
  }
  BpeOptions options;
  BM_TRY(options.byte_fallback, model.get_bool("byte_fallback", false));
  BM_TRY(options.fuse_unknown, model.get_bool("fuse_unk", false));
  BM_TRY(options.ignore_merges, model.get_bool("ignore_merges", false));
  BM_TRY(std::string unknown, model.get_string("unk_token", ""));
  if (auto id = parts.vocabulary.id(unknown); id && !unknown.empty()) options.unknown = *id;
  options.bytes = parts.pre_tokenizer.byte_level;
  BM_TRY(auto merges, read_merges(model["merges"], parts.vocabulary));
  BM_TRY(parts.model, Bpe::make(parts.vocabulary, merges, options));
  return {};
}

Status read_model(const Json& json, Parts& parts) {
  const Json& model = json["model"];
  if (!model.is_object()) return bad_input("there is no \"model\"", "Is this really a tokenizer.json?");
  BM_TRY(std::string type, model.get_string("type", model.contains("merges") ? "BPE" : ""));
  if (type != "BPE" && type != "WordLevel") {
    return bad_input("a tokenizer of type \"" + type + "\" is not supported", "Supported: BPE, WordLevel.");
  }
  BM_CHECK_OK(std::move(read_vocabulary(model["vocab"], parts.vocabulary)).in("model.vocab"));
  if (type == "BPE") {
    BM_CHECK_OK(std::move(read_bpe(model, parts)).in("model"));
  } else {
    BM_TRY(std::string unknown, model.get_string("unk_token", "<unk>"));
    parts.model = std::make_unique<WordLevel>(parts.vocabulary, parts.vocabulary.id(unknown).value_or(-1));
  }
  return {};
}

}  // namespace

Result<Parts> parts_from_tokenizer_json(const Json& json) {
  if (!json.is_object()) return bad_input("not a JSON object");
  Parts parts;
  auto normalizer = parse_normalizer(json["normalizer"]);
  if (!normalizer) return std::move(normalizer.error().in("normalizer"));
  parts.normalizer = std::move(*normalizer);
  auto pre_tokenizer = parse_pre_tokenizer(json["pre_tokenizer"]);
  if (!pre_tokenizer) return std::move(pre_tokenizer.error().in("pre_tokenizer"));
  parts.pre_tokenizer = std::move(*pre_tokenizer);
  BM_CHECK_OK(read_model(json, parts));
  auto added = read_added_tokens(json["added_tokens"], parts.vocabulary);
  if (!added) return std::move(added.error().in("added_tokens"));
  parts.added = std::move(*added);
  auto post_processor = parse_post_processor(json["post_processor"]);
  if (!post_processor) return std::move(post_processor.error().in("post_processor"));
  parts.post_processor = std::move(*post_processor);
  auto decoder = parse_decoder(json["decoder"]);
  if (!decoder) return std::move(decoder.error().in("decoder"));
  parts.decoder = std::move(*decoder);
  return parts;
}

Result<Parts> parts_from_gpt2_files(const Json& vocabulary, std::string_view merges_text) {
  Parts parts;
  BM_CHECK_OK(read_vocabulary(vocabulary, parts.vocabulary));
  std::vector<Merge> merges;
  for (size_t begin = 0; begin < merges_text.size();) {
    size_t end = std::min(merges_text.find('\n', begin), merges_text.size());
    std::string_view line = merges_text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    size_t space = line.find(' ');
    if (space == std::string_view::npos)
      return bad_input("merges: \"" + std::string(line.substr(0, 60)) + "\" is no pair");
    BM_TRY(Merge merge,
           make_merge(parts.vocabulary, line.substr(0, space), line.substr(space + 1), merges.size()));
    merges.push_back(merge);
  }
  parts.pre_tokenizer.byte_level = true;
  BM_TRY(auto split, make_regex_split(gpt2_pattern));
  parts.pre_tokenizer.steps.push_back(std::move(split));
  BpeOptions options{.bytes = true};
  BM_TRY(parts.model, Bpe::make(parts.vocabulary, merges, options));
  parts.decoder = byte_level_decoder();
  if (auto end = parts.vocabulary.id("<|endoftext|>")) {
    parts.added.push_back({.content = "<|endoftext|>", .id = *end, .special = true});
    parts.bos = parts.eos = end;
  }
  return parts;
}

}  // namespace bm::tokenizer
