// The "decoder" of a tokenizer.json: tokens → text. Replace, ByteFallback, Fuse, Strip, ByteLevel,
// Metaspace, Sequence; none joins the tokens with spaces.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm::tokenizer {

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

struct DecoderChain {
  std::vector<std::unique_ptr<const Decoder>> steps;
  bool join_with_spaces = false;  // no decoder at all
  bool byte_level = false;
  std::string decode(std::vector<std::string> tokens) const;
};

Result<DecoderChain> parse_decoder(const Json& json);

// What Llama-like tokenizer.json files hold: "▁" → " ", byte tokens → UTF-8, one leading space away.
DecoderChain sentencepiece_decoder(bool strip_leading_space);
DecoderChain byte_level_decoder();

}  // namespace bm::tokenizer
