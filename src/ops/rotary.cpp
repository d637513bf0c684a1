#include "ops/rotary.h"

#include <cassert>
#include <cmath>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {

std::vector<double> rotary_inverse_frequencies(double theta, int64_t head_dim) {
  std::vector<double> frequencies(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
  }
  return frequencies;
}

RotaryTable::RotaryTable(std::span<const double> inverse_frequencies, int64_t positions)
    : positions_(positions), half_(static_cast<int64_t>(inverse_frequencies.size())) {
  cos_.resize(static_cast<size_t>(positions * half_));
  sin_.resize(cos_.size());
  parallel_chunks(static_cast<size_t>(positions), 64, [&](size_t begin, size_t end) {
    for (size_t p = begin; p < end; ++p) {
      for (size_t i = 0; i < inverse_frequencies.size(); ++i) {
        const double angle = static_cast<double>(p) * inverse_frequencies[i];
        cos_[p * inverse_frequencies.size() + i] = static_cast<float>(std::cos(angle));
        sin_[p * inverse_frequencies.size() + i] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

namespace {

// Products are rounded before they are added, as in the formula written down; the same bits in every build.
void rotate_rows(const RotaryTable& table, float* x, int64_t rows, int64_t heads, int64_t first_position,
                 int64_t stride, float direction) {
  const int64_t half = table.half();
  const RowKernels& kernel = *kernels().rows;
  if (stride == 0) stride = heads * 2 * half;
  assert(rows == 0 || first_position + rows <= table.positions());
  parallel_chunks(static_cast<size_t>(rows), 16, [&](size_t begin, size_t end) {
    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      const float* cosines = table.cosines(first_position + r);
      const float* sines = table.sines(first_position + r);
      for (int64_t h = 0; h < heads; ++h) {
        float* first = x + r * stride + h * 2 * half;
        kernel.rotate(half, cosines, sines, direction, first, first + half);
      }
    }
  });
}

}  // namespace

void rotary_apply(const RotaryTable& table, float* x, int64_t rows, int64_t heads, int64_t first_position,
                  int64_t stride) {
  rotate_rows(table, x, rows, heads, first_position, stride, 1.0f);
}

void rotary_backward(const RotaryTable& table, float* d_x, int64_t rows, int64_t heads,
                     int64_t first_position, int64_t stride) {
  rotate_rows(table, d_x, rows, heads, first_position, stride, -1.0f);
}

}  // namespace bm
