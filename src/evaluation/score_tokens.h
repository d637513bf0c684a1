// Texts to ids as lm-evaluation-harness does it (lm_eval/api/model.py TemplateLM._encode_pair and
// loglikelihood, models/huggingface.py tok_encode, at 0.4.13).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace bm {

// Special strings in the text become control tokens; BOS as the tokenizer adds it, but not when the
// text itself begins with BOS.
std::vector<int32_t> encode_as_lm_eval(const Tokenizer& tokenizer, std::string_view text);

struct EncodedPair {
  std::vector<int32_t> context, continuation;
};
// The context's trailing white space moves to the continuation; continuation = what the joint text has
// behind as many ids as the context alone gives. An empty context is BOS (or EOS where there is no BOS).
// bad_input: neither BOS nor EOS for an empty context.
Result<EncodedPair> encode_pair_as_lm_eval(const Tokenizer& tokenizer, std::string_view context,
                                           std::string_view continuation);

// The model's input for scoring a continuation: the last max_length + 1 ids of context + continuation
// without the very last. `dropped` = ids cut off on the left.
struct ScoringInput {
  std::vector<int32_t> tokens;
  int64_t dropped = 0;
};
ScoringInput scoring_input(std::span<const int32_t> context, std::span<const int32_t> continuation,
                           int64_t max_length);

}  // namespace bm
