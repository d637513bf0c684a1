// RMSNorm (Zhang & Sennrich 2019): y = w · (x / sqrt(mean(x²) + epsilon)), float32.
#pragma once

#include <cstdint>

namespace bm {

// x, y [rows, width] (may be the same memory); weight [width]; inverse_rms [rows] is written when not null.
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t rows, int64_t width,
              float* inverse_rms = nullptr);

// x, d_y [rows, width], inverse_rms [rows] of the forward pass. Writes (or adds to, with accumulate)
// d_x[rows, width]; d_weight[width] += Σ_rows, rows in order. d_x may be d_y. Either gradient may be null.
void rms_norm_backward(const float* x, const float* weight, const float* inverse_rms, const float* d_y,
                       float* d_x, float* d_weight, int64_t rows, int64_t width, bool accumulate = false);

}  // namespace bm
