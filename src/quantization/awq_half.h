// The decoder layer as a float16 network computes it on a CPU: float32 inside an operation, each result
// rounded to float16. For --search-dtype f16, where the peer's scales and losses carry those roundings.
// Inside attention (rotary, softmax) float32 is kept; its output is rounded.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/block.h"

namespace bm {

// weight ⊙ half(x / rms), half. x [rows, hidden] → y.
void rms_norm_half(std::span<const float> weight, double epsilon, const float* x, int64_t rows, float* y);
// o_proj(half(heads)), half; heads: o_proj's input if wanted.
void attention_half(const ModelConfig& config, const LayerWeightsF32& weights,
                    std::span<const int64_t> lengths, const float* normed, float* out,
                    std::vector<float>* heads = nullptr);
// down(half(half(silu(half gate)) · half up)), half; product: down_proj's input if wanted.
void mlp_half(const LayerWeightsF32& weights, int64_t rows, const float* normed, float* out,
              std::vector<float>* product = nullptr);

}  // namespace bm
