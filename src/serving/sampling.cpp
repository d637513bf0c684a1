#include "serving/sampling.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"

namespace bm {

void describe(Fields& fields, SamplingOptions& o) {
  fields.add("temperature", o.temperature, "0 = greedy; higher is more varied");
  fields.add("top-k", o.top_k, "sample among the k likeliest tokens; 0 = all", {.unit = "tokens"});
  fields.add("top-p", o.top_p, "sample among the likeliest tokens that hold this share of probability");
  fields.add("min-p", o.min_p, "sample among tokens at least this likely relative to the likeliest");
  fields.add("repetition-penalty", o.repetition_penalty, "divides the logits of tokens already seen; 1 = none");
}

Status check(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature)) return bad_input("--temperature must be 0 or more");
  if (o.top_k < 0) return bad_input("--top-k must be 0 or more");
  if (!(o.top_p > 0 && o.top_p <= 1)) return bad_input("--top-p must lie above 0 and at most at 1");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return bad_input("--min-p must lie between 0 and 1");
  if (!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty)) return bad_input("--repetition-penalty must be above 0");
  return {};
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed, hash64("next token")) {}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t position) {
  scores_.assign(logits.begin(), logits.end());
  if (options_.repetition_penalty != 1) {
    auto penalty = static_cast<float>(options_.repetition_penalty);
    for (int32_t id : history) {  // from the given logits, so that a token seen twice is penalized once
      float logit = logits[static_cast<size_t>(id)];
      scores_[static_cast<size_t>(id)] = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options_.temperature == 0) {
    return static_cast<int32_t>(std::max_element(scores_.begin(), scores_.end()) - scores_.begin());
  }
  candidates_.resize(scores_.size());
  for (size_t i = 0; i < scores_.size(); ++i) candidates_[i] = {scores_[i], static_cast<int32_t>(i)};
  keep_likely();
  double total = 0;
  for (double weight : weights_) total += weight;
  double wanted = random_.uniform53(position) * total, sum = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    sum += weights_[i];
    if (wanted < sum) return candidates_[i].id;
  }
  return candidates_[weights_.size() - 1].id;
}

// Leaves the candidates that may be drawn, likeliest first, with their weights.
void Sampler::keep_likely() {
  auto likelier = [](const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; };
  size_t keep = candidates_.size();
  if (options_.top_k > 0) keep = std::min(keep, static_cast<size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(keep), candidates_.end(), likelier);
  candidates_.resize(keep);
  weights_.resize(keep);
  double total = 0;
  for (size_t i = 0; i < keep; ++i) {
    weights_[i] = std::exp((static_cast<double>(candidates_[i].logit) - static_cast<double>(candidates_[0].logit)) / options_.temperature);
    total += weights_[i];
  }
  if (options_.top_p < 1) {
    double sum = 0;
    size_t count = 0;
    while (count < keep && sum < options_.top_p * total) sum += weights_[count++];
    keep = std::max<size_t>(count, 1);
  }
  while (keep > 1 && weights_[keep - 1] < options_.min_p) --keep;  // weights are relative to the likeliest's 1
  weights_.resize(keep);
}

}  // namespace bm
