// lm-evaluation-harness's multiple-choice scores of one item from the log-likelihoods of its choices
// (lm_eval/api/task.py at 0.4.13). First index wins ties.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"

namespace bm {

struct ChoiceLikelihood {
  double logprob = 0;   // Σ log p of the continuation's tokens
  bool greedy = false;  // every token is the argmax
  int64_t tokens = 0;
  std::optional<double> unconditional;  // log-likelihood after BOS alone
};

struct ChoiceScores {
  double acc = 0, acc_norm = 0, acc_bytes = 0, exact_match = 0;
  std::optional<double> acc_mutual_info;
  double brier_score = 0;     // Σ over choices of (softmax(lls) − gold)²: 0 … 2
  std::optional<double> mc2;  // share of probability on true choices; the maximum is subtracted first
  int64_t chosen = 0, chosen_norm = 0;  // argmax
};

// choices: texts without the delimiter; acc_norm divides by code points, acc_bytes by UTF-8 bytes.
ChoiceScores score_choices(std::span<const ChoiceLikelihood> likelihoods,
                           std::span<const std::string> choices, int64_t gold,
                           const std::vector<bool>& is_true = {});

// The scores' names and values as they stand in a predictions line.
Json choice_scores_json(const ChoiceScores& scores);

int64_t code_points(std::string_view utf8);
// Length of the text without its trailing white space, as Python's str.rstrip() sees it (bytes).
size_t python_rstrip(std::string_view utf8);

}  // namespace bm
