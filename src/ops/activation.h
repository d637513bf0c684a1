// SwiGLU (Shazeer 2020) and elementwise passes.
#pragma once

#include <cstdint>

namespace bm {

// out[rows, width] = silu(gate) · up. gate_stride/up_stride: elements from row to row (0 = width), so that
// both may lie in one [rows, 2·width] buffer: swiglu(buffer, buffer + width, out, rows, width, 2 * width, 2 *
// width).
void swiglu(const float* gate, const float* up, float* out, int64_t rows, int64_t width,
            int64_t gate_stride = 0, int64_t up_stride = 0);
// d_gate, d_up [count] from d_out [count]; d_gate may be gate, d_up may be up.
void swiglu_backward(const float* gate, const float* up, const float* d_out, float* d_gate, float* d_up,
                     int64_t count);

// y[i] += x[i].
void add_into(float* y, const float* x, int64_t count);
// y[i] += scale · x[i] (product rounded, then sum).
void add_scaled(float* y, const float* x, float scale, int64_t count);
void scale_in_place(float* y, float scale, int64_t count);

// Σ x[i]·y[i] and Σ x[i]², products and sums in double, blocks of 65,536 added in order.
double dot_double(const float* x, const float* y, int64_t count);
double sum_of_squares(const float* x, int64_t count);
// Index of the first NaN or infinity, -1 when there is none.
int64_t first_non_finite(const float* x, int64_t count);

// Exponential used by every kernel (softmax, SwiGLU): out[i] = e^x[i], at most 1 ulp off (docs/kernels.md);
// flushes to 0 below −87.3365, +inf above 88.7228; NaN stays NaN.
void exponential(const float* x, float* out, int64_t count);

}  // namespace bm
