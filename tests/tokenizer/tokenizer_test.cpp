// Tokenizers made up here, small enough to check by hand.
#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "base/file.h"
#include "paths.h"
#include "tokenizer/pipeline.h"

namespace bm {
namespace {

using Ids = std::vector<int32_t>;
using Offsets = std::vector<std::pair<int64_t, int64_t>>;

std::shared_ptr<const Tokenizer> from_json(const std::string& text) {
  auto json = parse_json(text);
  EXPECT_TRUE(json) << json.error().paragraph();
  auto parts = tokenizer::parts_from_tokenizer_json(*json);
  if (!parts) {
    ADD_FAILURE() << parts.error().paragraph();
    return nullptr;
  }
  return std::make_shared<tokenizer::PipelineTokenizer>(std::move(*parts));
}

std::string error_of(const std::string& text) {
  auto json = parse_json(text);
  if (!json) return json.error().paragraph();
  auto parts = tokenizer::parts_from_tokenizer_json(*json);
  return parts ? "" : parts.error().paragraph();
}

constexpr const char* small = R"({
 "added_tokens": [
  {"id": 0, "content": "<s>", "special": true, "normalized": false},
  {"id": 9, "content": "<tool>", "special": false, "normalized": false, "lstrip": true, "rstrip": true},
  {"id": 10, "content": "day", "special": false, "normalized": false, "single_word": true}],
 "normalizer": null, "pre_tokenizer": null,
 "post_processor": {"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
  "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
 "decoder": {"type": "Fuse"},
 "model": {"type": "BPE", "unk_token": "?", "fuse_unk": true,
  "vocab": {"?": 1, "a": 2, "b": 3, "c": 4, "ab": 5, "bc": 6, "abc": 7, "cc": 8},
  "merges": ["a b", "b c", "ab c", "c c"]}})";

TEST(Bpe, MergesByRankThenLeftmost) {
  auto tokenizer = from_json(small);
  ASSERT_TRUE(tokenizer);
  EncodeOptions plain{.add_special = false};
  EXPECT_EQ(tokenizer->encode("abc", plain), (Ids{7}));
  EXPECT_EQ(tokenizer->encode("bcab", plain), (Ids{6, 5}));
  EXPECT_EQ(tokenizer->encode("ccc", plain), (Ids{8, 4})) << "leftmost of two equal pairs";
  EXPECT_EQ(tokenizer->encode("abcc", plain), (Ids{7, 4})) << "rank 2 before rank 3";
  EXPECT_EQ(tokenizer->encode("axyb", plain), (Ids{2, 1, 3})) << "unknown characters are fused";
  EXPECT_EQ(tokenizer->encode("ab"), (Ids{0, 5}));
  EXPECT_EQ(tokenizer->encode(""), (Ids{0}));
  EXPECT_TRUE(tokenizer->adds_bos() == tokenizer->bos_id().has_value());
}

TEST(AddedTokens, StripsWordsAndSpecialText) {
  auto tokenizer = from_json(small);
  ASSERT_TRUE(tokenizer);
  EncodeOptions literal{.add_special = false}, parsed{.add_special = false, .parse_special = true};
  EXPECT_EQ(tokenizer->encode("a<s>b", parsed), (Ids{2, 0, 3}));
  EXPECT_EQ(tokenizer->encode("a<s>b", literal), (Ids{2, 1, 3})) << "plain text without parse_special";
  EXPECT_EQ(tokenizer->encode("a  <tool> \tb", literal), (Ids{2, 9, 3}))
      << "tokens that are not special are always found";
  EXPECT_EQ(tokenizer->encode_with_offsets("a  <tool> \tb", literal).offsets,
            (Offsets{{0, 1}, {1, 11}, {11, 12}}));
  EXPECT_EQ(tokenizer->encode("day a", literal).front(), 10);
  EXPECT_EQ(tokenizer->encode("days", literal), (Ids{1, 2, 1})) << "single_word wants borders";
}

// The heap for long pieces and the scan for short ones must agree; and cutting at words must not matter.
TEST(Bpe, LongAndShortPathsAgree) {
  tokenizer::Vocabulary vocabulary;
  std::vector<std::string> letters = {"a", "b", "c", "▁"};
  for (const std::string& letter : letters) ASSERT_TRUE(vocabulary.add(letter, vocabulary.size()).ok());
  std::vector<tokenizer::Merge> merges;
  std::mt19937 random(7);
  for (uint32_t rank = 0; rank < 60; ++rank) {
    int32_t left = static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary.size()));
    int32_t right = static_cast<int32_t>(random() % static_cast<uint32_t>(vocabulary.size()));
    std::string joined = vocabulary.text(left) + vocabulary.text(right);
    bool crosses = vocabulary.text(left) != "▁" && vocabulary.text(right).starts_with("▁");
    if (joined.size() > 12 || vocabulary.id(joined) || crosses) continue;
    int32_t id = vocabulary.size();
    ASSERT_TRUE(vocabulary.add(joined, id).ok());
    merges.push_back({left, right, id, rank});
  }
  ASSERT_GT(merges.size(), 10u);
  auto made = tokenizer::Bpe::make(vocabulary, merges, {});
  ASSERT_TRUE(made);
  const tokenizer::Bpe& bpe = **made;
  // Textbook merging: the lowest rank anywhere, leftmost, until nothing fits.
  auto naive = [&](const std::string& text) {
    Ids ids;
    for (size_t i = 0; i < text.size();) {
      size_t length = text[i] == 'a' || text[i] == 'b' || text[i] == 'c' ? 1 : 3;
      ids.push_back(*vocabulary.id(text.substr(i, length)));
      i += length;
    }
    for (;;) {
      const tokenizer::Merge* best = nullptr;
      size_t at = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        for (const auto& merge : merges) {
          bool fits = merge.left == ids[i] && merge.right == ids[i + 1];
          if (fits && (!best || merge.rank < best->rank)) {
            best = &merge;
            at = i;
          }
        }
      }
      if (!best) return ids;
      ids[at] = best->result;
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
    }
  };
  for (int round = 0; round < 300; ++round) {
    std::string text;
    size_t length = 1 + random() % 80;
    for (size_t i = 0; i < length; ++i) text += letters[random() % letters.size()];
    Ids expected = naive(text), got;
    bpe.encode(text, got);
    ASSERT_EQ(got, expected) << text;
    std::vector<tokenizer::Symbol> symbols;
    bpe.encode_symbols(text, symbols);
    uint32_t bytes = 0;
    Ids whole;
    for (const auto& symbol : symbols) {
      whole.push_back(symbol.id);
      bytes += symbol.length;
    }
    ASSERT_EQ(whole, expected) << text;
    ASSERT_EQ(bytes, text.size());
  }
}

TEST(Bpe, WordCutsOnlyWhereNothingCrosses) {
  tokenizer::Vocabulary vocabulary;
  for (const char* token : {"a", "▁", "▁a", "a▁", "▁▁"})
    ASSERT_TRUE(vocabulary.add(token, vocabulary.size()).ok());
  auto safe = tokenizer::Bpe::make(vocabulary, {{1, 0, 2, 0}, {1, 1, 4, 1}}, {});
  auto crossing = tokenizer::Bpe::make(vocabulary, {{0, 1, 3, 0}}, {});
  ASSERT_TRUE(safe && crossing);
  EXPECT_TRUE((*safe)->splits_at_words());
  EXPECT_FALSE((*crossing)->splits_at_words());
  Ids ids;
  (*crossing)->encode("a▁a▁", ids);
  EXPECT_EQ(ids, (Ids{3, 3}));
}

TEST(Bpe, AMegabyteWithoutSpacesIsNotQuadratic) {
  auto tokenizer = from_json(small);
  ASSERT_TRUE(tokenizer);
  std::string text;
  for (int i = 0; i < 350'000; ++i) text += "abc";
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer->encode(text, {.add_special = false}).size(), 350'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ByteFallback, BytesOutAndIn) {
  std::string vocab = R"("▁": 300, "a": 301)";
  for (int b = 0; b < 256; ++b) {
    char name[16];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    vocab += ", \"" + std::string(name) + "\": " + std::to_string(b);
  }
  auto tokenizer =
      from_json(R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "byte_fallback": true, "unk_token": null, "vocab": {)" +
                vocab + R"(}, "merges": []}})");
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("é a"), (Ids{300, 0xC3, 0xA9, 300, 301}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("é a")), "é a");
  std::string broken = "a\xFF";
  EXPECT_EQ(tokenizer->encode(broken), (Ids{300, 301, 0xFF})) << "a byte that is no UTF-8 goes through";
  EXPECT_EQ(tokenizer->decode(Ids{0xFF, 0xFE, 0x41}), "\uFFFD\uFFFD\uFFFD") << "every byte of an invalid run";
  EXPECT_EQ(tokenizer->encode_with_offsets("é").offsets, (Offsets{{0, 1}, {0, 1}, {0, 1}}));
  EXPECT_EQ(tokenizer->decode(Ids{301, 12345, -5, 301}), "aa") << "ids that stand for nothing are left out";

  StreamDecoder stream(*tokenizer, false);
  EXPECT_EQ(stream.push(0xC3), "");
  EXPECT_EQ(stream.push(0xA9), "é");
  EXPECT_EQ(stream.push(0xC3), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Metaspace, PrependSchemes) {
  auto make = [](const std::string& fields) {
    return from_json(
        R"({"added_tokens": [{"id": 9, "content": "<x>", "special": true}], "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", )" +
        fields + R"(},
      "decoder": {"type": "Metaspace", "replacement": "▁", )" +
        fields + R"(},
      "model": {"type": "BPE", "vocab": {"▁": 0, "a": 1, "▁a": 2, "▁▁": 3}, "merges": ["▁ a", "▁ ▁"]}})");
  };
  EncodeOptions parsed{.parse_special = true};
  auto always = make(R"("prepend_scheme": "always", "split": true)");
  auto first = make(R"("prepend_scheme": "first", "split": false)");
  auto never = make(R"("prepend_scheme": "never", "split": true)");
  auto older = make(R"("add_prefix_space": true)");
  ASSERT_TRUE(always && first && never && older);
  EXPECT_EQ(always->encode("a a", parsed), (Ids{2, 2}));
  EXPECT_EQ(always->encode(" a", parsed), (Ids{2})) << "no second mark before a space";
  EXPECT_EQ(always->encode("a<x>a", parsed), (Ids{2, 9, 2}));
  EXPECT_EQ(first->encode("a<x>a", parsed), (Ids{2, 9, 1}));
  EXPECT_EQ(first->encode("a  a", parsed), (Ids{2, 0, 2})) << "merges by rank: ▁a before ▁▁";
  EXPECT_EQ(always->encode("a  ", parsed), (Ids{2, 0, 0})) << "split: runs of marks never join";
  EXPECT_EQ(never->encode("a a", parsed), (Ids{1, 2}));
  EXPECT_EQ(older->encode("a", parsed), (Ids{2}));
  EXPECT_EQ(always->decode(Ids{2, 2}), "a a");
  EXPECT_EQ(never->decode(Ids{2, 2}), " a a");
}

TEST(WordLevel, OfTheTinyModel) {
  auto tokenizer = from_json(R"({"pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "hello": 1, "world": 2, "!": 3}}})");
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("hello  world! you"), (Ids{1, 2, 3, 0}));
  EXPECT_EQ(tokenizer->encode_with_offsets("hello  world!").offsets, (Offsets{{0, 5}, {7, 12}, {12, 13}}));
  EXPECT_EQ(tokenizer->decode(Ids{1, 2}), "hello world");
}

TEST(Normalizer, FormsAndCase) {
  auto make = [](const std::string& normalizer) {
    return from_json(R"({"normalizer": )" + normalizer + R"(, "model": {"type": "WordLevel", "unk_token": "?",
      "vocab": {"?": 0, "é": 1, "e": 2, "fi": 3, "ab": 4, "a b": 5}}})");
  };
  auto nfc = make(R"({"type": "NFC"})");
  auto strip = make(R"({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]})");
  auto nfkc = make(R"({"type": "NFKC"})");
  auto lower = make(R"({"type": "Lowercase"})");
  auto edges = make(R"({"type": "Strip", "strip_left": true, "strip_right": true})");
  ASSERT_TRUE(nfc && strip && nfkc && lower && edges);
  EXPECT_EQ(nfc->encode("e\xCC\x81"), (Ids{1}));
  EXPECT_EQ(nfc->encode_with_offsets("e\xCC\x81").offsets, (Offsets{{0, 2}}));
  EXPECT_EQ(strip->encode("\xC3\xA9"), (Ids{2}));
  EXPECT_EQ(nfkc->encode("\xEF\xAC\x81"), (Ids{3})) << "the ligature fi";
  EXPECT_EQ(lower->encode("AB"), (Ids{4}));
  EXPECT_EQ(edges->encode(" \ta b\n"), (Ids{5}));
}

TEST(TokenizerJson, RefusesByName) {
  const std::string model = R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []})";
  EXPECT_NE(error_of("[]").find("object"), std::string::npos);
  EXPECT_NE(error_of("{}").find("model"), std::string::npos);
  EXPECT_NE(error_of(R"({"model": {"type": "Unigram", "vocab": []}})").find("Unigram"), std::string::npos);
  EXPECT_NE(error_of(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})").find("merge 0"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [7]}})").find("merge 0"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"model": {"type": "BPE", "vocab": {"a": 99999999999}, "merges": []}})")
                .find("99999999999"),
            std::string::npos);
  EXPECT_NE(
      error_of(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})").find("two tokens"),
      std::string::npos);
  EXPECT_NE(error_of(R"({"normalizer": {"type": "Precompiled"}, )" + model + "}").find("Precompiled"),
            std::string::npos);
  EXPECT_NE(
      error_of(R"({"pre_tokenizer": {"type": "BertPreTokenizer"}, )" + model + "}").find("BertPreTokenizer"),
      std::string::npos);
  EXPECT_NE(error_of(R"({"decoder": {"type": "WordPiece"}, )" + model + "}").find("WordPiece"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}}, )" + model + "}")
                .find("pre_tokenizer"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"added_tokens": [{"content": "x", "id": -1}], )" + model + "}").find("added_tokens"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"added_tokens": [{"content": "x", "id": 0}], )" + model + "}").find("two tokens"),
            std::string::npos);
}

TEST(SentencePieceFile, RefusesWhatIsNone) {
  auto load = [](const std::string& bytes) {
    testing::TemporaryFolder folder;
    EXPECT_TRUE(write_file_atomic(folder.file("tokenizer.model"), bytes).ok());
    auto tokenizer = Tokenizer::load(folder.path());
    return tokenizer ? std::string() : tokenizer.error().paragraph();
  };
  EXPECT_NE(load("").find("no pieces"), std::string::npos);
  EXPECT_NE(load("\x0A\xFF\xFF\xFF\xFF\x0F").find("longer than what is left"), std::string::npos);
  EXPECT_NE(load("\x0A").find("ends inside"), std::string::npos);
  EXPECT_NE(load("<html>404</html>").find("tokenizer.model"), std::string::npos);
  std::string piece(
      "\x0A\x05\x0A\x01"
      "a\x18\x01",
      7);  // piece "a", normal; no trainer: unigram
  EXPECT_NE(load(piece).find("unigram"), std::string::npos);
  std::string unigram_free = piece + std::string("\x12\x02\x18\x02", 4);
  EXPECT_EQ(load(unigram_free), "");
  EXPECT_NE(load(unigram_free + std::string("\x1A\x03\x12\x01x", 5)).find("character map"),
            std::string::npos);
  std::string unknown_type(
      "\x0A\x05\x0A\x01"
      "a\x18\x09",
      7);
  EXPECT_NE(load(unknown_type).find("unknown type"), std::string::npos);
}

TEST(Gguf, RefusesUnknownPre) {
  Json metadata = *parse_json(R"({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "martian",
    "tokenizer.ggml.tokens": ["a", "b", "ab"], "tokenizer.ggml.merges": ["a b"]})");
  auto refused = Tokenizer::from_gguf(metadata);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what().find("martian"), std::string::npos);
  metadata.set("tokenizer.ggml.pre", "default");
  auto loaded = Tokenizer::from_gguf(metadata);
  ASSERT_TRUE(loaded);
  EXPECT_EQ((*loaded)->encode("ab"), (Ids{2}));
  metadata.set("tokenizer.ggml.bos_token_id", 7);
  EXPECT_FALSE(Tokenizer::from_gguf(metadata));
  metadata.set("tokenizer.ggml.bos_token_id", 0);
  metadata.set("tokenizer.ggml.add_bos_token", true);
  EXPECT_EQ((*Tokenizer::from_gguf(metadata))->encode("ab"), (Ids{0, 2}));
  EXPECT_FALSE(Tokenizer::from_gguf(Json::object()));
  EXPECT_FALSE(Tokenizer::from_gguf(
      *parse_json(R"({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [1]})")));
}

// SentencePiece pieces inside a GGUF file: scores decide the merges.
TEST(Gguf, LlamaPieces) {
  Json metadata = *parse_json(R"({"tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a"],
    "tokenizer.ggml.scores": [0, 0, 0, -5, -6, -7, -2, -1],
    "tokenizer.ggml.token_type": [2, 3, 3, 1, 1, 1, 1, 1],
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.chat_template": "{{ bos_token }}x"})");
  auto loaded = Tokenizer::from_gguf(metadata);
  ASSERT_TRUE(loaded) << loaded.error().paragraph();
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.encode("ab ab"), (Ids{1, 7, 5, 7, 5}));
  EXPECT_EQ(tokenizer.encode("</s>", {.parse_special = true}), (Ids{1, 2}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab ab"), true), "ab ab");
  EXPECT_EQ(*tokenizer.render_chat({{"user", "hi"}}, true), "<s>x");
}

TEST(Load, FoldersAndConfigs) {
  testing::TemporaryFolder folder;
  EXPECT_FALSE(Tokenizer::load(folder.file("nowhere")));
  auto empty = Tokenizer::load(folder.path());
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().paragraph().find("tokenizer.json"), std::string::npos);
  ASSERT_TRUE(write_file_atomic(folder.file("tokenizer.json"), small).ok());
  ASSERT_TRUE(write_file_atomic(
                  folder.file("tokenizer_config.json"),
                  R"({"eos_token": {"content": "cc"}, "chat_template": [{"name": "tool", "template": "no"},
                                    {"name": "default", "template": "{{ messages[0].content }}{{ eos_token }}"}]})")
                  .ok());
  auto loaded = Tokenizer::load(folder.path());
  ASSERT_TRUE(loaded) << loaded.error().paragraph();
  EXPECT_EQ((*loaded)->bos_id(), 0);
  EXPECT_EQ((*loaded)->eos_id(), 8);
  EXPECT_TRUE((*loaded)->adds_bos());
  EXPECT_EQ(*(*loaded)->render_chat({{"user", "hi"}}, false), "hicc");
  ASSERT_TRUE(write_file_atomic(folder.file("chat_template.jinja"), "file").ok());
  EXPECT_EQ(*(*Tokenizer::load(folder.path()))->render_chat({{"user", "hi"}}, false), "file");
  ASSERT_TRUE(write_file_atomic(folder.file("tokenizer_config.json"), "{").ok());
  auto broken = Tokenizer::load(folder.path());
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().paragraph().find("tokenizer_config.json"), std::string::npos);
}

TEST(Truncation, BadLimits) {
  auto tokenizer = from_json(small);
  ASSERT_TRUE(tokenizer);
  EXPECT_FALSE(encode_truncated(*tokenizer, "abc", {.limit = 0}));
  EXPECT_FALSE(encode_truncated(*tokenizer, "abcabc", {.limit = 2, .stride = 1, .add_special = true}));
  EXPECT_FALSE(encode_truncated(*tokenizer, "abcabc", {.limit = 3, .stride = -1}));
}

}  // namespace
}  // namespace bm
