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

// The part of a parameter whose moments one of several ranks keeps (ZeRO-1).
struct ElementRange {
  size_t begin = 0, end = 0;
  size_t count() const { return end - begin; }
};
// Rank's part of `count` elements: equal parts but for the last.
ElementRange shard_of(size_t count, int rank, int ranks);

class AdamW {
 public:
  // Rounds the values of `parameters` as the precision wants; the vector must outlive this.
  // With several ranks only this one's part of every parameter is updated.
  AdamW(std::vector<Parameter>& parameters, const AdamWOptions& options, int rank = 0, int ranks = 1);

  // √Σ|g|² over all parameters, before clipping (float64 sums over fixed chunks).
  double gradient_norm();
  // Σ|g|² over this rank's parts.
  double squared_gradient();
  double norm_of(double squares) const;
  // Update k (from 1) at this rate; norm from gradient_norm().
  void step(double rate, double norm, int64_t k);

  // What a checkpoint keeps, index as in parameters: the exact values (whole), and the moments and masters
  // of this rank's part.
  ElementRange range(size_t i) const;
  std::vector<float>& value_part(size_t i) { return masters_.empty() ? parameters_[i].value : masters_[i]; }
  bool has_masters() const { return options_.precision == Precision::bf16_masters; }
  std::vector<float>& exp_avg(size_t i) { return exp_avg_[i]; }
  std::vector<float>& exp_avg_sq(size_t i) { return exp_avg_sq_[i]; }
  // After values or masters were replaced: makes what the forward pass sees.
  void refresh();
  // Of the last step, bf16 forms that round the value: the share of elements whose update was not 0 but left
  // the value as it was.
  double lost_updates() const {
    return moved_ + lost_ > 0 ? static_cast<double>(lost_) / static_cast<double>(moved_ + lost_) : 0;
  }
  bool counts_lost_updates() const {
    return options_.precision == Precision::bf16_pure || options_.precision == Precision::bf16_stochastic;
  }

 private:
  struct Rates;
  void update(size_t index, const Rates& rates);
  std::vector<Parameter>& parameters_;
  AdamWOptions options_;
  std::vector<std::vector<float>> masters_, exp_avg_, exp_avg_sq_;  // of this rank's part
  int rank_ = 0, ranks_ = 1;
  uint64_t moved_ = 0, lost_ = 0;
};

}  // namespace bm
