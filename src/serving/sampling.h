// From a row of logits to the next token.
//
// Order as in transformers' generation: repetition penalty (Keskar et al. 2019: positive logits of tokens
// seen are divided, negative ones multiplied), temperature, top-k, top-p (Holtzman et al. 2020), min-p
// (Nguyen et al. 2024). Temperature 0 takes the likeliest token, lowest id among equals. Random numbers
// are a function of the seed and of the token's position alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/options.h"
#include "base/random.h"
#include "base/result.h"

namespace bm {

struct SamplingOptions {
  double temperature = 0;  // 0 = greedy
  int64_t top_k = 0;       // keep the k likeliest; 0 = all
  double top_p = 1;        // keep the smallest set with at least this probability
  double min_p = 0;        // keep tokens at least this likely relative to the likeliest
  double repetition_penalty = 1;
  uint64_t seed = 0;
};
void describe(Fields& fields, SamplingOptions& options);  // the seed is the common --seed
Status check(const SamplingOptions& options);

class Sampler {
 public:
  // stream: draws of another stream are others.
  explicit Sampler(const SamplingOptions& options, uint64_t stream = 0);
  // logits [vocab]; history: all tokens so far, prompt included; position = history.size() normally.
  int32_t sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  int32_t draw(double random);
  void sort_first(size_t count);
  SamplingOptions options_;
  CounterRandom random_;
  std::vector<float> scores_;
  std::vector<Candidate> candidates_;
  size_t sorted_ = 0;  // so many candidates stand at the front in their order
};

}  // namespace bm
