// AdamW over the parameters of a TrainableModel, in float32 or with bfloat16 in four honest forms.
// Source: Loshchilov & Hutter (ICLR 2019); torch.optim.AdamW, whose order of operations is kept.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/trainable.h"

namespace bm {

enum class Precision : uint8_t {
  f32,
  bf16_masters,     // float32 parameters and moments; products see weights rounded to bf16 (autocast)
  bf16_pure,        // parameters, gradients and moments are bf16; every operation of the update rounds
  bf16_stochastic,  // bf16 parameters, float32 moments; the new value is rounded up or down by chance
};
Result<Precision> parse_precision(std::string_view name);

// Which parameters decay. names: not those transformers excludes by name (norms, biases); all: everything
// but biases, as transformers before 4.46 did for RMSNorm models.
enum class DecayRule : uint8_t { names, all };
bool decays(DecayRule rule, std::string_view parameter);

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  double clip = 0;  // largest gradient norm; 0 = none
  Precision precision = Precision::f32;
  DecayRule decay = DecayRule::names;
  uint64_t seed = 0;  // of stochastic rounding
};

class AdamW {
 public:
  // Rounds the values of `parameters` as the precision wants; the vector must outlive this.
  AdamW(std::vector<Parameter>& parameters, const AdamWOptions& options);

  // √Σ|g|² over all parameters, before clipping (float64 sums over fixed chunks).
  double gradient_norm();
  // Update k (from 1) at this rate; norm from gradient_norm().
  void step(double rate, double norm, int64_t k);

  // What a checkpoint keeps, index as in parameters: the exact values and the moments.
  std::vector<float>& values(size_t i) { return masters_.empty() ? parameters_[i].value : masters_[i]; }
  std::vector<float>& exp_avg(size_t i) { return exp_avg_[i]; }
  std::vector<float>& exp_avg_sq(size_t i) { return exp_avg_sq_[i]; }
  // After values() were replaced: makes what the forward pass sees.
  void refresh();

 private:
  struct Rates;
  void update(size_t index, const Rates& rates);
  std::vector<Parameter>& parameters_;
  AdamWOptions options_;
  std::vector<std::vector<float>> masters_, exp_avg_, exp_avg_sq_;
};

}  // namespace bm
