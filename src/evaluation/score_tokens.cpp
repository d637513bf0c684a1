#include "evaluation/score_tokens.h"

#include <algorithm>
#include <string>

#include "evaluation/lm_eval_scores.h"

namespace bm {

std::vector<int32_t> encode_as_lm_eval(const Tokenizer& tokenizer, std::string_view text) {
  bool has_bos = tokenizer.bos_id() && text.starts_with(tokenizer.token_text(*tokenizer.bos_id()));
  return tokenizer.encode(text, {.add_special = !has_bos, .parse_special = true});
}

Result<EncodedPair> encode_pair_as_lm_eval(const Tokenizer& tokenizer, std::string_view context,
                                           std::string_view continuation) {
  EncodedPair pair;
  std::string whole = std::string(context) + std::string(continuation);
  if (!context.empty()) {
    pair.context = encode_as_lm_eval(tokenizer, context.substr(0, python_rstrip(context)));
    if (!pair.context.empty()) {
      std::vector<int32_t> joint = encode_as_lm_eval(tokenizer, whole);
      size_t begin = std::min(pair.context.size(), joint.size());
      pair.continuation.assign(joint.begin() + static_cast<ptrdiff_t>(begin), joint.end());
      return pair;
    }
  }
  // Nothing before the continuation: it follows BOS.
  auto prefix = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  if (!prefix) return bad_input("an empty context needs a BOS or EOS token, and the tokenizer has none");
  pair.context = {*prefix};
  pair.continuation = tokenizer.encode(whole, {.add_special = false, .parse_special = true});
  if (!pair.continuation.empty() && pair.continuation[0] == *prefix) {
    pair.continuation.erase(pair.continuation.begin());
  }
  return pair;
}

ScoringInput scoring_input(std::span<const int32_t> context, std::span<const int32_t> continuation,
                           int64_t max_length) {
  ScoringInput input;
  input.tokens.assign(context.begin(), context.end());
  input.tokens.insert(input.tokens.end(), continuation.begin(), continuation.end());
  auto n = static_cast<int64_t>(input.tokens.size());
  input.dropped = std::max<int64_t>(0, n - (max_length + 1));
  input.tokens.pop_back();
  input.tokens.erase(input.tokens.begin(), input.tokens.begin() + static_cast<ptrdiff_t>(input.dropped));
  return input;
}

}  // namespace bm
