// A linear layer that is trained: its weight is a parameter, or it is frozen and a low-rank product is
// trained beside it.
//
//   y = x·Wᵀ + b + s · (drop(x)·Aᵀ)·Bᵀ          DoRA: y = f ⊙ (x·Wᵀ + s·(x·Aᵀ)·Bᵀ), f = m / ‖rows of W +
//   s·B·A‖
//
// DoRA's norm is held constant in the backward pass, as PEFT does. Internal to model/.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/frozen_matrix.h"
#include "model/trainable.h"

namespace bm {

using Floats = std::vector<float>;

struct LowRank {
  Parameter *a = nullptr, *b = nullptr, *magnitude = nullptr;  // [rank, inputs], [outputs, rank], [outputs]
  int64_t rank = 0;
  float scale = 1;
  double dropout = 0;
  uint64_t key = 0;  // of its own dropout
  Floats factors;    // DoRA: f of this pass, [outputs]
  Floats norms;      // DoRA: ‖rows‖ of this pass, [outputs]
};

// Memory shared by all linears.
struct LinearScratch {
  Floats weight, dropped, low_gradient, outputs, input_gradient;
};

struct TrainableLinear {
  int64_t outputs = 0, inputs = 0;
  Parameter *weight = nullptr, *bias = nullptr;
  FrozenMatrix frozen;
  Floats frozen_bias;
  std::optional<LowRank> low_rank;

  // y [tokens, outputs] from x [tokens, inputs]. low [tokens, rank]: s·drop(x)·Aᵀ, kept for the backward
  // pass. dropout_key: 0 = no dropout.
  void forward(const float* x, float* y, int64_t tokens, Floats& low, uint64_t dropout_key,
               LinearScratch& scratch) const;
  // d_x (= or +=) the gradient of x; adds to the gradients of what is trained.
  void backward(const float* x, const float* d_y, float* d_x, bool accumulate, int64_t tokens,
                const Floats& low, uint64_t dropout_key, LinearScratch& scratch) const;
  // Of forward(), only what it leaves in `low`.
  void low_rank_input(const float* x, int64_t tokens, Floats& low, uint64_t dropout_key,
                      LinearScratch& scratch) const;
  // Before the passes of one batch: DoRA's norms of the current values.
  void refresh(LinearScratch& scratch);

 private:
  const float* values(LinearScratch& scratch) const;
  void low_rank_backward(const float* x, const float* d_y, float* d_x, int64_t tokens, const Floats& low,
                         uint64_t dropout_key, LinearScratch& scratch) const;
};

// A norm's weight.
struct TrainableVector {
  Parameter* parameter = nullptr;
  Floats frozen;
  const float* values() const { return parameter ? parameter->value.data() : frozen.data(); }
  float* gradient() const { return parameter ? parameter->gradient.data() : nullptr; }
};

}  // namespace bm
