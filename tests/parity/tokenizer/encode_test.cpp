// Ids, offsets and texts of Hugging Face tokenizers 0.23.3 and SentencePiece 0.1.97, line by line.
#include <algorithm>

#include "support.h"

namespace bm {
namespace {

using testing::ids_of;
using testing::load_or_fail;
using testing::offsets_of;
using testing::read_lines;
using testing::shared_path;
using testing::source_path;

void check_sentencepiece(const Tokenizer& tokenizer, const std::string& golden) {
  size_t checked = 0;
  for (const Json& line : read_lines(golden)) {
    const std::string& text = line["text"].as_string();
    auto ids = tokenizer.encode(text, {.add_special = false});
    ASSERT_EQ(ids, ids_of(line["ids"])) << text;
    auto slow = tokenizer.encode_with_offsets(text, {.add_special = false});
    ASSERT_EQ(slow.ids, ids) << text;
    ASSERT_EQ(slow.offsets.size(), ids.size());
    if (line["roundtrip"].as_bool()) {
      ASSERT_EQ(tokenizer.decode(ids), text);
    }
    ++checked;
  }
  EXPECT_EQ(checked, 606u);
}

TEST(SentencePiece, MistralV1Model) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.model"));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabulary_size(), 32000);
  check_sentencepiece(*tokenizer,
                      shared_path("data/tokenizers/mistral_v1/golden_sentencepiece_0.1.97.jsonl"));
}

TEST(SentencePiece, MistralV1Json) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1"));
  ASSERT_TRUE(tokenizer);
  check_sentencepiece(*tokenizer,
                      shared_path("data/tokenizers/mistral_v1/golden_sentencepiece_0.1.97.jsonl"));
}

TEST(SentencePiece, MistralV3Model) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v3"));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabulary_size(), 32768);
  check_sentencepiece(*tokenizer,
                      shared_path("data/tokenizers/mistral_v3/golden_sentencepiece_0.1.97.jsonl"));
}

TEST(SentencePiece, PublishedVectors) {
  REQUIRE_SHARED();
  auto vectors = read_json_file(shared_path("data/tokenizers/mistral_v1/vectors_mistral-tokenizer-js.json"));
  ASSERT_TRUE(vectors);
  for (const char* name :
       {"data/tokenizers/mistral_v1/tokenizer.model", "data/tokenizers/mistral_v1/tokenizer.json"}) {
    auto tokenizer = load_or_fail(shared_path(name));
    ASSERT_TRUE(tokenizer);
    for (const Json& line : vectors->items()) {
      EXPECT_EQ(tokenizer->encode(line["text"].as_string()), ids_of(line["ids_with_bos"])) << line.dump();
    }
  }
}

// The model file and the tokenizer.json made from it by transformers agree on real text.
TEST(SentencePiece, StoriesModelEqualsItsJson) {
  auto model = load_or_fail(source_path("data/demo/stories260k/tokenizer.model"));
  auto json = load_or_fail(source_path("data/demo/stories260k/tokenizer.json"));
  ASSERT_TRUE(model && json);
  EXPECT_EQ(model->vocabulary_size(), 512);
  auto story = read_file(source_path("tests/parity/serving/data/greedy_200_steps_expected.txt"));
  auto ids = read_json_file(source_path("tests/parity/serving/data/greedy_200_steps_ids.json"));
  ASSERT_TRUE(story && ids);
  auto expected = ids_of(*ids);
  EXPECT_EQ(json->decode(expected, true).substr(0, story->size()), *story);
  for (const char* text :
       {"", " ", "Once upon a time", "  two  spaces", "39 °C, π ≈ 3.14\n\ttabs", "<s>literal</s>"}) {
    EXPECT_EQ(model->encode(text), json->encode(text)) << text;
    EXPECT_EQ(json->decode(json->encode(text), true), text);
  }
  if (!testing::have_shared()) return;
  for (const Json& line :
       read_lines(shared_path("data/tokenizers/mistral_v1/golden_sentencepiece_0.1.97.jsonl"))) {
    const std::string& text = line["text"].as_string();
    ASSERT_EQ(model->encode(text), json->encode(text)) << text;
    ASSERT_EQ(model->decode(model->encode(text)), json->decode(json->encode(text)));
  }
}

TEST(Tokenizers, MistralV1Offsets) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.json"));
  ASSERT_TRUE(tokenizer);
  auto lines = read_lines(shared_path("golden/tokenizer/mistral_v1_encode_offsets.jsonl"));
  EXPECT_EQ(lines.size(), 106u);
  for (const Json& line : lines) {
    const std::string& text = line["text"].as_string();
    auto ids = ids_of(line["ids"]);
    Encoding encoding = tokenizer->encode_with_offsets(text, {.parse_special = true});
    ASSERT_EQ(encoding.ids, ids) << text;
    ASSERT_EQ(tokenizer->encode(text, {.parse_special = true}), ids) << text;
    ASSERT_EQ(encoding.offsets, offsets_of(line["offsets_in_characters"])) << text;
    ASSERT_EQ(tokenizer->encode(text, {.add_special = false, .parse_special = true}),
              ids_of(line["ids_without_added_bos"]));
    const Json& plain = line.contains("ids_special_strings_as_plain_text")
                            ? line["ids_special_strings_as_plain_text"]
                            : line["ids"];
    ASSERT_EQ(tokenizer->encode(text), ids_of(plain)) << text;
    ASSERT_EQ(tokenizer->decode(ids), line["decoded"].as_string());
    const Json& skipped =
        line.contains("decoded_skip_special_tokens") ? line["decoded_skip_special_tokens"] : line["decoded"];
    ASSERT_EQ(tokenizer->decode(ids, true), skipped.as_string());
    const Json& tokens = line["tokens"];
    const Json& mask = line["special_tokens_mask"];
    for (size_t i = 0; i < ids.size(); ++i) {
      ASSERT_EQ(tokenizer->token_text(ids[i]), tokens[i].as_string());
      if (mask[i].as_int() == 1) {
        ASSERT_TRUE(tokenizer->is_special(ids[i]));
      }
    }
  }
}

TEST(Tokenizers, MistralV1Pairs) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.json"));
  ASSERT_TRUE(tokenizer);
  for (const Json& line : read_lines(shared_path("golden/tokenizer/mistral_v1_pairs.jsonl"))) {
    Encoding pair =
        tokenizer->encode_pair(line["text"].as_string(), line["pair"].as_string(), {.parse_special = true});
    EXPECT_EQ(pair.ids, ids_of(line["ids"])) << line.dump();
    EXPECT_EQ(pair.type_ids, ids_of(line["type_ids"])) << line.dump();
    EXPECT_EQ(pair.offsets, offsets_of(line["offsets_in_characters"])) << line.dump();
  }
}

TEST(Tokenizers, MistralV1SingleTokens) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.json"));
  auto model = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.model"));
  ASSERT_TRUE(tokenizer && model);
  for (const Json& line : read_lines(shared_path("golden/tokenizer/mistral_v1_single_token_decode.jsonl"))) {
    std::vector<int32_t> id{static_cast<int32_t>(line["id"].as_int())};
    for (const auto& each : {tokenizer, model}) {
      ASSERT_EQ(each->token_text(id[0]), line["token"].as_string());
      ASSERT_EQ(each->decode(id), line["decoded"].as_string()) << line.dump();
      ASSERT_EQ(each->decode(id, true), line["decoded_skip_special_tokens"].as_string()) << line.dump();
    }
  }
}

TEST(Tokenizers, MistralV1Truncation) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.json"));
  auto texts = read_json_file(shared_path("golden/tokenizer/mistral_v1_truncation_texts.json"));
  ASSERT_TRUE(tokenizer && texts);
  for (const Json& line : read_lines(shared_path("golden/tokenizer/mistral_v1_truncation.jsonl"))) {
    TruncationOptions options{.limit = line["max_length"].as_int(),
                              .stride = line["stride"].as_int(),
                              .from_left = line["direction"].as_string() == "left",
                              .add_special = line["add_special_tokens"].as_bool()};
    const std::string& text = (*texts)[static_cast<size_t>(line["text_index"].as_int())].as_string();
    auto windows = encode_truncated(*tokenizer, text, options, true);
    ASSERT_TRUE(windows) << windows.error().paragraph();
    ASSERT_EQ((*windows)[0], ids_of(line["ids"])) << line.dump();
    ASSERT_EQ(windows->size(), static_cast<size_t>(line["overflowing_count"].as_int()) + 1) << line.dump();
    const auto& others = line["overflowing_ids"].items();
    for (size_t i = 0; i < others.size(); ++i) ASSERT_EQ((*windows)[i + 1], ids_of(others[i]));
  }
}

TEST(Tokenizers, SmolLm2) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("golden/tokenizer/smollm2"));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabulary_size(), 49152);
  auto lines = read_lines(shared_path("golden/tokenizer/smollm2_encode.jsonl"));
  EXPECT_EQ(lines.size(), 480u);
  for (const Json& line : lines) {
    const std::string& text = line["text"].as_string();
    auto ids = ids_of(line["ids"]);
    ASSERT_EQ(tokenizer->encode(text, {.parse_special = true}), ids) << text;
    const Json& plain = line.contains("ids_special_strings_as_plain_text")
                            ? line["ids_special_strings_as_plain_text"]
                            : line["ids"];
    ASSERT_EQ(tokenizer->encode(text), ids_of(plain)) << text;
    Encoding encoding = tokenizer->encode_with_offsets(text, {.parse_special = true});
    ASSERT_EQ(encoding.ids, ids);
    if (line.contains("offsets")) {
      ASSERT_EQ(encoding.offsets, offsets_of(line["offsets"])) << text;
    }
    for (size_t i = 0; i < ids.size(); ++i)
      ASSERT_EQ(tokenizer->token_text(ids[i]), line["tokens"][i].as_string());
    ASSERT_EQ(tokenizer->decode(ids), line["decoded"].as_string());
    const Json& skipped =
        line.contains("decoded_skip_special_tokens") ? line["decoded_skip_special_tokens"] : line["decoded"];
    ASSERT_EQ(tokenizer->decode(ids, true), skipped.as_string());
  }
}

// The same vocabulary as a GGUF file holds it, with the step that transformers' own loader loses.
TEST(Tokenizers, SmolLm2FromGgufMetadata) {
  REQUIRE_SHARED();
  auto json = read_json_file(shared_path("golden/tokenizer/smollm2/tokenizer.json"));
  ASSERT_TRUE(json);
  const Json& vocabulary = (*json)["model"]["vocab"];
  std::vector<Json> tokens(vocabulary.size()), types(vocabulary.size(), Json(1));
  for (const auto& [text, id] : vocabulary.members()) tokens[static_cast<size_t>(id.as_int())] = Json(text);
  for (const Json& added : (*json)["added_tokens"].items())
    types[static_cast<size_t>(added["id"].as_int())] = Json(3);
  std::vector<Json> merges;
  for (const Json& merge : (*json)["model"]["merges"].items()) {
    merges.emplace_back(merge[0].as_string() + " " + merge[1].as_string());
  }
  Json metadata = Json::object();
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set("tokenizer.ggml.pre", "smollm");
  metadata.set("tokenizer.ggml.tokens", Json::array(tokens));
  metadata.set("tokenizer.ggml.token_type", Json::array(types));
  metadata.set("tokenizer.ggml.merges", Json::array(merges));
  metadata.set("tokenizer.ggml.bos_token_id", 1);
  metadata.set("tokenizer.ggml.eos_token_id", 2);
  auto smollm = Tokenizer::from_gguf(metadata);
  ASSERT_TRUE(smollm) << smollm.error().paragraph();
  metadata.set("tokenizer.ggml.pre", "gpt-2");
  auto gpt2 = Tokenizer::from_gguf(metadata);
  ASSERT_TRUE(gpt2);
  size_t different = 0;
  for (const Json& line : read_lines(shared_path("golden/tokenizer/smollm2_encode.jsonl"))) {
    const std::string& text = line["text"].as_string();
    ASSERT_EQ((*smollm)->encode(text, {.parse_special = true}), ids_of(line["ids"])) << text;
    const Json& without =
        line.contains("ids_without_digits_step") ? line["ids_without_digits_step"] : line["ids"];
    different += line.contains("ids_without_digits_step");
    ASSERT_EQ((*gpt2)->encode(text, {.parse_special = true}), ids_of(without)) << text;
  }
  EXPECT_GT(different, 20u);
}

void check_stream(const Tokenizer& tokenizer, const std::string& golden) {
  for (const Json& line : read_lines(golden)) {
    bool skip = line["skip_special_tokens"].as_bool();
    StreamDecoder decoder(tokenizer, skip);
    auto ids = ids_of(line["ids"]);
    std::string joined;
    for (size_t i = 0; i < ids.size(); ++i) {
      std::string piece = decoder.push(ids[i]);
      const Json& expected = line["pieces"][i];
      ASSERT_EQ(piece, expected.is_null() ? "" : expected.as_string()) << line.dump();
      joined += piece;
    }
    if (line.contains("joined")) {
      ASSERT_EQ(joined, line["joined"].as_string());
    }
    joined += decoder.flush();
    ASSERT_EQ(joined, line["decode_at_once"].as_string()) << line.dump();
    ASSERT_EQ(tokenizer.decode(ids, skip), line["decode_at_once"].as_string());
  }
}

TEST(Tokenizers, MistralV1Stream) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("data/tokenizers/mistral_v1/tokenizer.json"));
  ASSERT_TRUE(tokenizer);
  check_stream(*tokenizer, shared_path("golden/tokenizer/mistral_v1_decode_stream.jsonl"));
}

TEST(Tokenizers, SmolLm2Stream) {
  REQUIRE_SHARED();
  auto tokenizer = load_or_fail(shared_path("golden/tokenizer/smollm2"));
  ASSERT_TRUE(tokenizer);
  check_stream(*tokenizer, shared_path("golden/tokenizer/smollm2_decode_stream.jsonl"));
}

}  // namespace
}  // namespace bm
