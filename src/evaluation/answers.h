// From prompts to predictions with one model: tokenizing, requests, logits to letter probabilities.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "evaluation/journal.h"
#include "evaluation/lm_eval_scores.h"
#include "evaluation/plan.h"
#include "evaluation/predictions.h"
#include "evaluation/prefix_runner.h"
#include "model/model.h"

namespace bm {

// Ids whose decoded text is exactly a letter: "▁A", "A", "<0x41>" of SentencePiece.
class LetterIds {
 public:
  LetterIds(const Tokenizer& tokenizer, int64_t vocabulary, const std::vector<std::string>& letters);
  // Ascending; empty when no id decodes to the letter.
  const std::vector<int32_t>& of(const std::string& letter) const;

 private:
  std::unordered_map<std::string, std::vector<int32_t>> ids_;
};

// Letters, probabilities, best token of one row of logits [vocabulary]: softmax over the whole vocabulary in
// double precision; a letter's probability is the largest over its ids, neither summed nor renormalized;
// the best prediction is the decoded argmax, lowest id on ties. failed: logits that are no numbers.
Result<Prediction> read_logits(const float* logits, int64_t vocabulary,
                               const std::vector<std::string>& letters, const LetterIds& ids,
                               const Tokenizer& tokenizer);

// Tokens of a context and a continuation as lm-eval cuts them: trailing white space of the context moves to
// the continuation, both are encoded jointly, BOS is not added twice.
struct EncodedPair {
  std::vector<int32_t> context, continuation;
};
EncodedPair encode_pair(const Tokenizer& tokenizer, const std::string& context,
                        const std::string& continuation);

struct AnswerOptions {
  int64_t max_length = 0;  // tokens that may go into the model
  bool truncate_left = false;
  bool chat = false;
  std::string system_prompt;
  PrefixRunOptions run;
};

struct AnswerReport {
  PrefixRunReport run;
  int64_t answered = 0, failed = 0, truncated = 0;
  double seconds = 0;
};

// Answers the prompts with these indices. Each gets a line in the journal under its index: prediction_json(),
// or {"failed": reason} when it cannot be scored (too long). interrupted: after a stop request, with the
// journal synced.
Result<AnswerReport> answer_prompts(const Model& model, const Plan& plan, const std::vector<size_t>& prompts,
                                    const AnswerOptions& options, Journal& journal, const std::string& label);

// The reason in a failed prompt's line; nullopt for a prediction.
std::optional<std::string> failure_of(const std::string& line);

}  // namespace bm
