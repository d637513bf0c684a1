// The "pre_tokenizer" of a tokenizer.json: cuts text into pieces that no merge crosses. Digits,
// ByteLevel, Metaspace, Split, Whitespace, WhitespaceSplit, Punctuation, Sequence.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tokenizer/aligned_text.h"

namespace bm::tokenizer {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(SplitText& text) const = 0;
};

struct PreTokenizerChain {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  bool byte_level = false;  // text goes to the model as bytes in the byte-level alphabet
};

Result<PreTokenizerChain> parse_pre_tokenizer(const Json& json);

// Splits into matches of a regular expression and what lies between them (behaviour "Isolated").
Result<std::unique_ptr<const PreTokenizer>> make_regex_split(std::string_view pattern);

// GPT-2's expression, with the trailing "|\s+".
extern const std::string_view gpt2_pattern;

}  // namespace bm::tokenizer
