#include "serving/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/hash.h"

namespace bm {

void describe(Fields& fields, SamplingOptions& o) {
  fields.add("temperature", o.temperature, "0 = greedy; higher is more varied");
  fields.add("top-k", o.top_k, "sample among the k likeliest tokens; 0 = all", {.unit = "tokens"});
  fields.add("top-p", o.top_p, "sample among the likeliest tokens that hold this share of probability");
  fields.add("min-p", o.min_p, "sample among tokens at least this likely relative to the likeliest");
  fields.add("repetition-penalty", o.repetition_penalty,
             "divides the logits of tokens already seen; 1 = none");
}

Status check(const SamplingOptions& o) {
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature))
    return bad_input("--temperature must be 0 or more");
  if (o.top_k < 0) return bad_input("--top-k must be 0 or more");
  if (!(o.top_p > 0 && o.top_p <= 1)) return bad_input("--top-p must lie above 0 and at most at 1");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return bad_input("--min-p must lie between 0 and 1");
  if (!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty))
    return bad_input("--repetition-penalty must be above 0");
  return {};
}

Sampler::Sampler(const SamplingOptions& options, uint64_t stream)
    : options_(options), random_(options.seed, hash64("next token") + stream) {}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t position) {
  if (options_.repetition_penalty != 1) {
    scores_.assign(logits.begin(), logits.end());
    auto penalty = static_cast<float>(options_.repetition_penalty);
    for (int32_t id : history) {  // from the given logits, so that a token seen twice is penalized once
      float logit = logits[static_cast<size_t>(id)];
      scores_[static_cast<size_t>(id)] = logit > 0 ? logit / penalty : logit * penalty;
    }
    logits = scores_;
  }
  if (options_.temperature == 0)
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  candidates_.resize(logits.size());
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size();
       ++i)  // what is no number is never drawn, and has no place in an order
    candidates_[i] = {std::isnan(logits[i]) ? kNever : logits[i], static_cast<int32_t>(i)};
  sorted_ = 0;
  return draw(random_.uniform53(position));
}

// Puts at least the `count` likeliest candidates in order. A whole vocabulary is seldom sorted: the likeliest
// few hold nearly all probability.
void Sampler::sort_first(size_t count) {
  if (count <= sorted_) return;
  count = std::min(candidates_.size(), std::max({count, 2 * sorted_, size_t{64}}));
  auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const auto from = candidates_.begin() + static_cast<ptrdiff_t>(sorted_);
  const auto to = candidates_.begin() + static_cast<ptrdiff_t>(count);
  if (to != candidates_.end()) std::nth_element(from, to, candidates_.end(), likelier);
  std::sort(from, to, likelier);
  sorted_ = count;
}

int32_t Sampler::draw(double random) {
  size_t keep = candidates_.size();
  if (options_.top_k > 0) keep = std::min(keep, static_cast<size_t>(options_.top_k));
  sort_first(keep < candidates_.size() ? keep : 1);
  const double top = candidates_[0].logit;
  if (!std::isfinite(top)) return candidates_[0].id;
  const auto weight = [&](size_t i) {
    return std::exp((static_cast<double>(candidates_[i].logit) - top) / options_.temperature);
  };
  double total = 0;
  for (size_t i = 0; i < keep; ++i) total += weight(i);
  double kept = total;
  if (options_.top_p < 1 || options_.min_p > 0) {
    size_t count = 0;
    for (kept = 0; count < keep; ++count) {
      sort_first(count + 1);
      const double w = weight(count);  // relative to the likeliest's 1
      if (count > 0 && (kept >= options_.top_p * total || w < options_.min_p)) break;
      kept += w;
    }
    keep = count;
  }
  const double wanted = random * kept;
  double sum = 0;
  for (size_t i = 0; i < keep; ++i) {
    sort_first(i + 1);
    sum += weight(i);
    if (wanted < sum) return candidates_[i].id;
  }
  return candidates_[keep - 1].id;
}

}  // namespace bm
