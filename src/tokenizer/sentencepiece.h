// tokenizer.model: the protocol buffer of SentencePiece (sentencepiece_model.proto), read by its wire
// format. Only what encoding and decoding need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm::tokenizer {

// Numbers as in the format; GGUF's tokenizer.ggml.token_type uses the same.
enum class PieceType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

struct SentencePiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  int64_t model_type = 1;  // 1 unigram (the format's default), 2 BPE, 3 word, 4 char
  int64_t unknown_id = 0, bos_id = 1, eos_id = 2, pad_id = -1;
  bool space_as_suffix = false;
  bool add_dummy_prefix = true, remove_extra_spaces = true, escape_spaces = true;
  bool has_character_map = false;  // a compiled normalization (nmt_nfkc …)
  std::string normalizer_name;
};

// bad_input: truncated or overlong fields (with the byte offset), no pieces.
Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes);

}  // namespace bm::tokenizer
