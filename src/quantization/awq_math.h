// Sums and candidates the AWQ search is made of. Everything here gives the same bits for any number of
// threads: work is cut at fixed places and partial sums are added in order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/block.h"
#include "tensor/awq_groups.h"

namespace bm {

// Rounds in place to float16 when precision says so.
void round_values(DType precision, std::span<float> values);
inline float round_value(DType precision, float value) {
  return precision == DType::f16 ? round_to_f16_fast(value) : value;
}

// mean |x| over rows, per column (double sums, rounded to the precision). x [rows, columns].
std::vector<float> column_abs_means(const float* x, int64_t rows, int64_t columns, DType precision);

// mean (a - b)², the difference rounded to the precision first.
double mean_square_difference(std::span<const float> a, std::span<const float> b, DType precision);
double mean_square(std::span<const float> a);

// What the quantizer makes of linear · diag(scales), divided by the scales again. Writes to `out` (same shape).
void quantized_candidate(const LinearF32& linear, std::span<const float> scales, const AwqGroupOptions& groups,
                         LinearF32& out);

// XᵀX [columns, columns] of x [rows, columns] with row stride; float32.
std::vector<float> gram_matrix(const float* x, int64_t rows, int64_t columns, int64_t stride);

// Σ over rows of dᵀ G d for the rows d of `difference` [rows, columns].
double quadratic_error(const std::vector<float>& difference, int64_t rows, int64_t columns, const std::vector<float>& gram);

}  // namespace bm
