// The "normalizer" of a tokenizer.json: Prepend, Replace, Strip, Lowercase, NFC/NFD/NFKC/NFKD,
// StripAccents, Sequence; and the normalization of a SentencePiece model, built from the same steps.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tokenizer/aligned_text.h"
#include "tokenizer/regex.h"

namespace bm::tokenizer {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(AlignedText& text) const = 0;
};
using NormalizerChain = std::vector<std::unique_ptr<const Normalizer>>;

// null gives an empty chain; errors name the type that is not supported.
Result<NormalizerChain> parse_normalizer(const Json& json);
std::unique_ptr<const Normalizer> make_prepend(std::string prefix);
std::unique_ptr<const Normalizer> make_replace(unicode::Regex pattern, std::string content);
// Leading and trailing spaces removed, inner runs made one (SentencePiece's remove_extra_whitespaces).
std::unique_ptr<const Normalizer> make_collapse_spaces();

void normalize(const NormalizerChain& chain, AlignedText& text);

// {"String": …} or {"Regex": …} as patterns are written.
Result<unicode::Regex> parse_pattern(const Json& json);

}  // namespace bm::tokenizer
