// Requests and answers of `score` as JSON lines.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "evaluation/score.h"

namespace bm {

// Never fails: a line that is no request becomes one whose `error` says why.
ScoreRequest parse_score_request(std::string_view line);

// {"id", "prompt_tokens", "continuations", "next", "token_logprobs"} as asked for, or {"id", "error"}.
// `tokenizer` gives next[].text; nullptr leaves it out. −infinity becomes null.
Json score_answer_json(const ScoreRequest& request, const ScoreAnswer& answer, const Tokenizer* tokenizer);

}  // namespace bm
