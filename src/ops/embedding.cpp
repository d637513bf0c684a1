#include "ops/embedding.h"

#include <cassert>
#include <cstring>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {

void embedding_lookup(const TensorView& table, std::span<const int32_t> tokens, float* out) {
  assert(table.shape.size() == 2);
  const int64_t width = table.shape[1];
  const ProductKernels& products = *kernels().products;
  for (size_t i = 0; i < tokens.size(); ++i) {
    assert(tokens[i] >= 0 && tokens[i] < table.shape[0]);
    const int64_t at = tokens[i] * width;
    float* row = out + static_cast<int64_t>(i) * width;
    if (table.dtype == DType::f32) {
      std::memcpy(row, table.data + at * 4, static_cast<size_t>(width) * sizeof(float));
    } else {
      assert(table.dtype == DType::bf16 || table.dtype == DType::f16);
      (table.dtype == DType::bf16 ? products.widen_bf16 : products.widen_f16)(width,
                                                                              table.as<uint16_t>() + at, row);
    }
  }
}

void embedding_backward(std::span<const int32_t> tokens, const float* d_out, float* d_table, int64_t vocab,
                        int64_t width) {
  // Cut by columns: a thread owns its columns of every row, so the order of a row's additions is that of the
  // tokens.
  parallel_chunks(static_cast<size_t>(width), 64, [&](size_t begin, size_t end) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      assert(tokens[i] >= 0 && tokens[i] < vocab);
      const float* in = d_out + static_cast<int64_t>(i) * width;
      float* row = d_table + tokens[i] * width;
      for (size_t j = begin; j < end; ++j) row[j] += in[j];
    }
  });
  (void)vocab;
}

}  // namespace bm
