// Perplexity of text under a model, by windows. Three averaging rules are in use; the answer names the
// one it gives (golden/training, "Perplexity"; docs/scoring.md):
//   exact            Σ −ln p over all scored tokens / their number. The default.
//   hf-page          transformers' page "Perplexity of fixed-length models": a window's mean loss weighs
//                    (targets − 1), which counts every window but the first one target short.
//   window-means     exp(mean of the windows' mean losses), the older page and many scripts.
// Window b = 0, stride, 2·stride, …: tokens b … min(b + window, n); its targets are those no earlier window
// scored; the last window is the one that reaches the end.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "model/model.h"

namespace bm {

struct PerplexityOptions {
  std::string data;                 // text file, or JSON lines with "text" or "ids" (.gz, .zst too)
  int64_t window = 0;               // tokens; 0 = the model's positions, at most 2048
  int64_t stride = 0;               // tokens; 0 = the window
  std::string average = "exact";    // exact, hf-page, window-means
  std::string arithmetic = "auto";  // as ScoreOptions
  std::string base;                 // base model of an adapter folder
};
void describe(Fields& fields, PerplexityOptions& options);

// One text: its ids, and the bytes of what is scored (0 when only ids are known).
struct TextIds {
  std::vector<int32_t> ids;
  int64_t scored_bytes = 0;
};
// Every line of JSON lines is a document of its own; any other file is one; of a corpus folder, its articles.
// BOS as the tokenizer adds it; the first id of a document is never scored. limit: documents, 0 = all.
Result<std::vector<TextIds>> read_text_ids(const std::string& path, const Tokenizer* tokenizer,
                                           int64_t limit);

struct TextWindow {
  size_t document = 0;
  int64_t begin = 0, end = 0;  // tokens of the document
  int64_t first_target = 0;  // targets are first_target … end − 1, each predicted by the token before it
  int64_t new_tokens = 0;    // tokens no earlier window held (HF's trg_len)
};
std::vector<TextWindow> plan_windows(std::span<const TextIds> documents, int64_t window, int64_t stride);
// What 0 stands for in the options.
int64_t default_window(const ModelConfig& config);

struct PerplexityResult {
  int64_t documents = 0, tokens = 0, windows = 0, scored_tokens = 0, scored_bytes = 0;
  int64_t window = 0, stride = 0;
  double nll = 0;                                   // Σ −ln p of the scored tokens
  double exact = 0, hf_page = 0, window_means = 0;  // mean −ln p by each rule; NaN without tokens
  std::vector<double> window_losses;                // mean −ln p of each window's targets
};
// Logits are reduced row by row as they come; they never exist for all tokens. bad_input: ids outside the
// vocabulary, window below 2 or beyond the model's positions, stride outside 1 … window, nothing to score.
Result<PerplexityResult> perplexity_of(const Model& model, std::span<const TextIds> documents,
                                       const PerplexityOptions& options);

// {"perplexity", "mean_nll", "bits_per_byte", "protocol": {…}, …}
Json perplexity_json(const PerplexityResult& result, const std::string& average);

}  // namespace bm
