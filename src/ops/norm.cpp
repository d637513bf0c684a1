#include "ops/norm.h"

#include <cmath>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {
namespace {
constexpr size_t kRowChunk = 16;
}

void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t rows, int64_t width,
              float* inverse_rms) {
  const RowKernels& kernel = *kernels().rows;
  parallel_chunks(static_cast<size_t>(rows), kRowChunk, [&](size_t begin, size_t end) {
    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      const float mean = kernel.sum_of_squares(width, x + r * width) / static_cast<float>(width);
      const float inverse = 1.0f / std::sqrt(mean + epsilon);
      if (inverse_rms) inverse_rms[r] = inverse;
      kernel.scale_by_weight(width, x + r * width, inverse, weight, y + r * width);
    }
  });
}

// With r = 1/rms and g = w·dy: dx = r·(g − x·r²·mean(g·x)), dw = Σ dy·x·r.
void rms_norm_backward(const float* x, const float* weight, const float* inverse_rms, const float* d_y,
                       float* d_x, float* d_weight, int64_t rows, int64_t width, bool accumulate) {
  if (d_weight) {
    parallel_chunks(static_cast<size_t>(width), 64, [&](size_t begin, size_t end) {
      for (int64_t r = 0; r < rows; ++r) {
        const float inverse = inverse_rms[r];
        const float *in = x + r * width, *d = d_y + r * width;
        for (size_t j = begin; j < end; ++j) d_weight[j] += d[j] * (in[j] * inverse);
      }
    });
  }
  if (!d_x) return;
  const RowKernels& kernel = *kernels().rows;
  parallel_chunks(static_cast<size_t>(rows), kRowChunk, [&](size_t begin, size_t end) {
    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      const float *in = x + r * width, *d = d_y + r * width;
      const float inverse = inverse_rms[r];
      const float mean = kernel.dot3(width, d, weight, in) / static_cast<float>(width);
      kernel.norm_gradient(width, d, weight, in, inverse, inverse * inverse * mean, d_x + r * width,
                           accumulate);
    }
  });
}

}  // namespace bm
