// Which files of a folder make its tokenizer, and the small parts of Tokenizer that need no pieces.
#include "base/file.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/unicode.h"

namespace bm {

namespace {

using tokenizer::Parts;

// "bos_token": "<s>" or {"content": "<s>", …}
std::string token_name(const Json& names, const char* key) {
  const Json& value = names[key];
  if (value.is_string()) return value.as_string();
  if (value["content"].is_string()) return value["content"].as_string();
  return {};
}

Result<Json> read_names(const std::string& folder) {
  Json names = Json::object();
  for (const char* file : {"special_tokens_map.json", "tokenizer_config.json"}) {
    std::string path = path_join(folder, file);
    if (!exists(path)) continue;
    BM_TRY(Json json, read_json_file(path, {.reject_duplicate_keys = false}));
    if (!json.is_object()) return bad_input("not a JSON object").in(path);
    for (const auto& [key, value] : json.members()) names.set(key, value);
  }
  return names;
}

// chat_template.jinja, else the config's string, or of its named list the one called "default".
Result<std::string> read_template(const std::string& folder, const Json& names) {
  std::string path = path_join(folder, "chat_template.jinja");
  if (exists(path)) return read_file(path);
  const Json& value = names["chat_template"];
  if (value.is_string()) return value.as_string();
  for (size_t i = 0; i < (value.is_array() ? value.size() : 0); ++i) {
    if (value[i]["name"] == Json("default") && value[i]["template"].is_string())
      return value[i]["template"].as_string();
  }
  return std::string();
}

// Tokens that tokenizer_config.json adds to a SentencePiece model ("added_tokens_decoder").
Status add_decoder_tokens(const Json& names, Parts& parts) {
  const Json& list = names["added_tokens_decoder"];
  if (!list.is_object()) return {};
  for (const auto& [key, value] : list.members()) {
    int64_t id = 0;
    for (char c : key)
      id = c >= '0' && c <= '9' && id <= tokenizer::largest_token_id ? id * 10 + (c - '0') : -1;
    if (key.empty() || id < 0) return bad_input("added_tokens_decoder: \"" + key + "\" is no id");
    tokenizer::AddedToken token;
    BM_TRY(token.content, value.get_string("content"));
    BM_TRY(token.special, value.get_bool("special", false));
    BM_TRY(token.normalized, value.get_bool("normalized", !token.special));
    BM_TRY(token.single_word, value.get_bool("single_word", false));
    BM_TRY(token.lstrip, value.get_bool("lstrip", false));
    BM_TRY(token.rstrip, value.get_bool("rstrip", false));
    token.id = static_cast<int32_t>(id);
    BM_CHECK_OK(parts.vocabulary.add(token.content, id));
    std::erase_if(parts.added, [&](const auto& old) { return old.id == token.id; });
    parts.added.push_back(std::move(token));
  }
  return {};
}

// What chat templates may name, and BOS and EOS where the files themselves do not say.
void settle_names(const Json& names, Parts& parts) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"}) {
    std::string name = token_name(names, key);
    if (!name.empty()) parts.chat_names.set(key, name);
  }
  auto by_name = [&](const char* key, std::optional<int32_t>& id,
                     std::initializer_list<const char*> guesses) {
    if (auto named = parts.vocabulary.id(token_name(names, key))) id = named;
    for (const char* guess : guesses) {
      if (!id) id = parts.vocabulary.id(guess);
    }
  };
  const auto& first = parts.post_processor.single[0];
  if (!parts.bos && first.kind == tokenizer::TemplatePart::Kind::ids && !first.ids.empty())
    parts.bos = first.ids[0];
  by_name("bos_token", parts.bos, {"<s>", "<|begin_of_text|>"});
  by_name("eos_token", parts.eos, {"</s>", "<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"});
}

std::shared_ptr<const Tokenizer> finish(Parts parts) {
  if (parts.bos && !parts.chat_names.contains("bos_token")) {
    parts.chat_names.set("bos_token", parts.vocabulary.text(*parts.bos));
  }
  if (parts.eos && !parts.chat_names.contains("eos_token")) {
    parts.chat_names.set("eos_token", parts.vocabulary.text(*parts.eos));
  }
  return std::make_shared<tokenizer::PipelineTokenizer>(std::move(parts));
}

Result<std::shared_ptr<const Tokenizer>> load_file(const std::string& path, const std::string& folder) {
  auto names = read_names(folder);
  if (!names) return std::move(names.error());
  std::string name = path_name(path);
  Parts parts;
  if (ends_with(name, ".model") || starts_with(name, "tokenizer.model")) {
    BM_TRY(auto file, MappedFile::open(path));
    auto read = tokenizer::parts_from_sentencepiece(file.text(), *names);
    if (!read) return std::move(read.error().in(path));
    parts = std::move(*read);
    BM_CHECK_OK(std::move(add_decoder_tokens(*names, parts)).in(path_join(folder, "tokenizer_config.json")));
  } else if (name == "vocab.json" || name == "encoder.json") {
    std::string merges_path = path_join(folder, name == "vocab.json" ? "merges.txt" : "vocab.bpe");
    BM_TRY(Json vocabulary, read_json_file(path));
    BM_TRY(std::string merges, read_file(merges_path));
    auto read = tokenizer::parts_from_gpt2_files(vocabulary, merges);
    if (!read) return std::move(read.error().in(path));
    parts = std::move(*read);
  } else {
    BM_TRY(Json json, read_json_file(path));
    auto read = tokenizer::parts_from_tokenizer_json(json);
    if (!read) return std::move(read.error().in(path));
    parts = std::move(*read);
  }
  settle_names(*names, parts);
  BM_TRY(parts.chat_template, read_template(folder, *names));
  return finish(std::move(parts));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& path) {
  if (!is_directory(path)) {
    if (!exists(path)) return bad_input("there is no such file or folder").in(path);
    return load_file(path, path_parent(path).empty() ? "." : path_parent(path));
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "encoder.json"}) {
    std::string file = path_join(path, name);
    bool has_merges = exists(path_join(path, "merges.txt")) || exists(path_join(path, "vocab.bpe"));
    bool needs_merges = name[0] == 'v' || name[0] == 'e';
    if (exists(file) && (!needs_merges || has_merges)) return load_file(file, path);
  }
  return bad_input("the folder holds no tokenizer",
                   "Put tokenizer.json or tokenizer.model there (every Hugging Face model has one of them).")
      .in(path);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_gguf(const Json& metadata) {
  BM_TRY(Parts parts, tokenizer::parts_from_gguf(metadata));
  return finish(std::move(parts));
}

Encoding Tokenizer::encode_pair(std::string_view text, std::string_view pair,
                                const EncodeOptions& options) const {
  Encoding out = encode_with_offsets(text, options);
  out.type_ids.assign(out.ids.size(), 0);
  Encoding second = encode_with_offsets(pair, options);
  out.ids.insert(out.ids.end(), second.ids.begin(), second.ids.end());
  out.offsets.insert(out.offsets.end(), second.offsets.begin(), second.offsets.end());
  out.type_ids.resize(out.ids.size(), 1);
  return out;
}

bool Tokenizer::adds_bos() const {
  auto ids = encode("");
  return bos_id() && !ids.empty() && ids[0] == *bos_id();
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(int32_t id) {
  pending_.push_back(id);
  std::string fresh = unshown();
  if (fresh.empty() || fresh.ends_with(unicode::replacement)) return {};
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(read_));
  read_ = pending_.size();
  shown_ = tokenizer_.decode(pending_, skip_special_);
  return fresh;
}

// Text of all pending ids behind what is shown. When it no longer begins with that (byte tokens joined
// a run that is no UTF-8 after all), the text of the new ids alone.
std::string StreamDecoder::unshown() const {
  std::string text = tokenizer_.decode(pending_, skip_special_);
  if (text.starts_with(shown_)) return text.substr(shown_.size());
  return tokenizer_.decode(std::span(pending_).subspan(read_), skip_special_);
}

std::string StreamDecoder::flush() {
  std::string fresh = unshown();
  pending_.clear();
  shown_.clear();
  read_ = 0;
  return fresh;
}

Result<std::vector<std::vector<int32_t>>> encode_truncated(const Tokenizer& tokenizer, std::string_view text,
                                                           const TruncationOptions& options,
                                                           bool parse_special) {
  std::vector<int32_t> around = options.add_special ? tokenizer.encode("") : std::vector<int32_t>();
  auto room = options.limit - static_cast<int64_t>(around.size());
  if (room < 0 || options.limit < 1)
    return bad_input("a limit of " + std::to_string(options.limit) + " tokens leaves no room");
  if (options.stride < 0 || (room > 0 && options.stride >= room)) {
    return bad_input("the stride must be below the " + std::to_string(room) + " tokens of a window");
  }
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = false, .parse_special = parse_special});
  // What the post-processor adds goes around each window: found by encoding nothing; a BOS goes in front.
  size_t front = tokenizer.adds_bos() && options.add_special ? 1 : 0;
  auto window = [&](size_t begin, size_t end) {
    std::vector<int32_t> out(around.begin(), around.begin() + static_cast<ptrdiff_t>(front));
    out.insert(out.end(), ids.begin() + static_cast<ptrdiff_t>(begin),
               ids.begin() + static_cast<ptrdiff_t>(end));
    out.insert(out.end(), around.begin() + static_cast<ptrdiff_t>(front), around.end());
    return out;
  };
  std::vector<std::vector<int32_t>> windows;
  size_t n = ids.size(), wide = static_cast<size_t>(room);
  if (n <= wide) return std::vector<std::vector<int32_t>>{window(0, n)};
  if (wide == 0) return std::vector<std::vector<int32_t>>{window(0, 0), window(0, n)};
  size_t step = wide - static_cast<size_t>(options.stride);
  for (size_t i = 0;; i += step) {
    size_t begin = i, end = std::min(i + wide, n);
    if (options.from_left) {
      end = n - i;
      begin = end > wide ? end - wide : 0;
    }
    windows.push_back(window(begin, end));
    if (options.from_left ? begin == 0 : end == n) break;
  }
  return windows;
}

}  // namespace bm
