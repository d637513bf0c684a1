// Token embeddings: rows of a table, and the gradient of the table.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace bm {

// out[tokens, width] = table[token, width] widened. The table is F32, F16 or BF16 [vocab, width]; ids must be
// in range (checked by the caller: this is an assert).
void embedding_lookup(const TensorView& table, std::span<const int32_t> tokens, float* out);

// d_table[vocab, width] += d_out[i, width] at row tokens[i], i ascending, for any thread count.
void embedding_backward(std::span<const int32_t> tokens, const float* d_out, float* d_table, int64_t vocab,
                        int64_t width);

}  // namespace bm
