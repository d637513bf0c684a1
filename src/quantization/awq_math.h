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

// Sum of a column in float32 in the order torch's CPU kernels add (cascade_sum: 16 or more terms a level,
// four levels), so that means agree with the peer's to the last bit where the terms do.
class CascadeSum {
 public:
  explicit CascadeSum(int64_t terms);
  void add(float value);
  float total() const;

 private:
  float levels_[4] = {0, 0, 0, 0};
  int64_t count_ = 0, power_ = 4, whole_ = 0;
};

// mean |x| over rows, per column (rounded to the precision). x [rows, columns].
std::vector<float> column_abs_means(const float* x, int64_t rows, int64_t columns, DType precision);

// mean (a - b)², the difference rounded to the precision first.
double mean_square_difference(std::span<const float> a, std::span<const float> b, DType precision);
double mean_square(std::span<const float> a);

// What the quantizer makes of linear · diag(scales), divided by the scales again. Writes to `out` (same
// shape).
void quantized_candidate(const LinearF32& linear, std::span<const float> scales,
                         const AwqGroupOptions& groups, LinearF32& out);

// XᵀX [columns, columns] of x [rows, columns] with row stride; float32.
std::vector<float> gram_matrix(const float* x, int64_t rows, int64_t columns, int64_t stride);

// Σ over rows of dᵀ G d for the rows d of `difference` [rows, columns].
double quadratic_error(const std::vector<float>& difference, int64_t rows, int64_t columns,
                       const std::vector<float>& gram);

}  // namespace bm
