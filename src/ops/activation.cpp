#include "ops/activation.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <vector>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {
namespace {

constexpr size_t kChunk = 4096;  // elements a task takes in elementwise passes
constexpr size_t kSumChunk = 65536;

template <class F>
void elementwise(int64_t count, F f) {
  parallel_chunks(static_cast<size_t>(count), kChunk, [&](size_t begin, size_t end) {
    f(static_cast<int64_t>(begin), static_cast<int64_t>(end - begin));
  });
}

}  // namespace

void swiglu(const float* gate, const float* up, float* out, int64_t rows, int64_t width, int64_t gate_stride,
            int64_t up_stride) {
  if (gate_stride == 0) gate_stride = width;
  if (up_stride == 0) up_stride = width;
  const RowKernels& kernel = *kernels().rows;
  parallel_chunks(static_cast<size_t>(rows), 4, [&](size_t begin, size_t end) {
    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      kernel.swiglu(width, gate + r * gate_stride, up + r * up_stride, out + r * width);
    }
  });
}

void swiglu_backward(const float* gate, const float* up, const float* d_out, float* d_gate, float* d_up,
                     int64_t count) {
  const RowKernels& kernel = *kernels().rows;
  elementwise(count, [&](int64_t i, int64_t size) {
    kernel.swiglu_backward(size, gate + i, up + i, d_out + i, d_gate + i, d_up + i);
  });
}

void add_into(float* y, const float* x, int64_t count) {
  elementwise(count, [&](int64_t begin, int64_t size) { kernels().rows->add(size, x + begin, y + begin); });
}

void add_scaled(float* y, const float* x, float scale, int64_t count) {
  elementwise(count, [&](int64_t begin, int64_t size) {
    kernels().rows->add_scaled(size, x + begin, scale, y + begin);
  });
}

void scale_in_place(float* y, float scale, int64_t count) {
  elementwise(count, [&](int64_t begin, int64_t size) { kernels().rows->scale(size, scale, y + begin); });
}

double dot_double(const float* x, const float* y, int64_t count) {
  const size_t total = static_cast<size_t>(count), chunks = (total + kSumChunk - 1) / kSumChunk;
  std::vector<double> parts(chunks);
  parallel_for(chunks, [&](size_t chunk) {
    const size_t begin = chunk * kSumChunk, end = std::min(total, begin + kSumChunk);
    double lanes[8] = {};
    size_t i = begin;
    for (; i + 8 <= end; i += 8) {
      for (size_t j = 0; j < 8; ++j)
        lanes[j] += static_cast<double>(x[i + j]) * static_cast<double>(y[i + j]);
    }
    for (; i < end; ++i) lanes[i % 8] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    parts[chunk] =
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
  });
  double sum = 0;
  for (double part : parts) sum += part;
  return sum;
}

double sum_of_squares(const float* x, int64_t count) { return dot_double(x, x, count); }

int64_t first_non_finite(const float* x, int64_t count) {
  const size_t total = static_cast<size_t>(count), chunks = (total + kSumChunk - 1) / kSumChunk;
  std::atomic<int64_t> first{-1};
  parallel_for(chunks, [&](size_t chunk) {
    const int64_t begin = static_cast<int64_t>(chunk * kSumChunk);
    const int64_t end = std::min(count, begin + static_cast<int64_t>(kSumChunk));
    uint32_t found = 0;
    for (int64_t i = begin; i < end; ++i) {
      found |= static_cast<uint32_t>((std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) == 0x7f800000u);
    }
    if (!found) return;
    int64_t at = begin;
    while ((std::bit_cast<uint32_t>(x[at]) & 0x7f800000u) != 0x7f800000u) ++at;
    int64_t seen = first.load();
    while ((seen < 0 || at < seen) && !first.compare_exchange_weak(seen, at)) {
    }
  });
  return first.load();
}

void exponential(const float* x, float* out, int64_t count) {
  const RowKernels& kernel = *kernels().rows;
  elementwise(count, [&](int64_t i, int64_t size) { kernel.exponential(size, x + i, out + i); });
}

}  // namespace bm
