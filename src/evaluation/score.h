// Log-likelihoods of continuations and prompts: the low door (interface.md, "score"; docs/scoring.md).
//
// Data flow: requests (score_io.h reads them from JSON lines) → score_tokens.h makes ids of texts as
// lm-evaluation-harness does → every distinct model input once, through prefix_runner.h, which computes
// common prefixes once → rows of logits become answers and, when asked for, tensors in a safetensors file.
// Results are the same bits whatever the threads, the batches, the order of requests and the cache.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"
#include "evaluation/prefix_runner.h"
#include "model/model.h"

namespace bm {

struct ScoreRequest {
  Json id;  // repeated in the answer; null: none
  // Text, to be tokenized; or ids, taken as they are. Exactly one of the two kinds.
  std::optional<std::string> prompt;
  std::vector<std::string> continuations;
  std::optional<std::vector<int32_t>> prompt_ids;
  std::vector<std::vector<int32_t>> continuation_ids;
  int64_t next = 0;             // how many of the likeliest next tokens are wanted
  bool token_logprobs = false;  // of the prompt's own tokens
  std::string error;            // set by the reader: the line cannot be a request
};

struct ContinuationScore {
  int64_t tokens = 0;
  double logprob = 0;   // Σ natural log p of its tokens; −infinity is possible
  bool greedy = false;  // every token is the likeliest one (lowest id among equals)
};

struct NextToken {
  int32_t id = 0;
  double logprob = 0;
};

struct ScoreAnswer {
  std::string error;           // "" or why there is no answer
  int64_t prompt_tokens = 0;   // before truncation; of the context when there are continuations
  int64_t dropped_tokens = 0;  // cut off on the left (the most that any of its inputs lost)
  std::vector<ContinuationScore> continuations;
  std::vector<NextToken> next;         // likeliest first, ties by lowest id
  std::vector<double> token_logprobs;  // of prompt tokens 1 …; one less than the tokens kept
};

struct ScoreOptions {
  std::string in, out;              // files; "" = standard input and output (cli/)
  std::string arithmetic = "auto";  // exact, bf16, fast; auto: fast for quantized models, else exact
  std::string truncate = "none";    // left: keep the end of what is too long
  int64_t max_length = 0;           // tokens of one model input; 0 = the model's positions
  ByteSize kv_memory;               // of key/value caches; 0 = 2 GB
  std::string kv = "f32";           // what they hold: f32, or bf16 (half the memory, rounded)
  std::string logits;               // safetensors file to write
  bool all_logits = false;          // one tensor per request in it, too
  std::string base;                 // base model of an adapter folder
};
void describe(Fields& fields, ScoreOptions& options);

struct ScoreReport {
  int64_t requests = 0, failed = 0, truncated = 0;
  int64_t input_tokens = 0;     // of all distinct model inputs
  int64_t computed_tokens = 0;  // that went through the model
  uint64_t kv_bytes = 0;        // most memory of key/value caches at one time
};

// What scoring would do.
struct ScorePlan {
  PrefixPlan prompts;
  int64_t failed = 0;  // requests that cannot be scored
  double seconds = 0;  // estimate, from a few tokens timed
};
Result<ScorePlan> plan_scoring(const Model& model, std::span<const ScoreRequest> requests,
                               const ScoreOptions& options);

// Arithmetic that "auto" stands for.
Result<Arithmetic> resolve_arithmetic(const std::string& name, const std::string& model_path);

// Answers in the order of the requests. A request that cannot be scored (id out of range, too long,
// empty continuation, text without a tokenizer) gets its own error; bad_input only for what concerns the
// whole run (options, two requests with one id when all logits are wanted). With options.logits the file
// holds last_logits [requests, vocabulary] (logits of the prompt's last token; NaN for failed requests)
// and with all_logits logits.<id> [tokens, vocabulary] of each prompt. interrupted: stopped by a signal.
// A --kv-memory that does not hold one prompt is bad_input.
Result<std::vector<ScoreAnswer>> score_requests(const Model& model, std::span<const ScoreRequest> requests,
                                                const ScoreOptions& options, ScoreReport* report = nullptr);

}  // namespace bm
