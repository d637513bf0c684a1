// Causal attention with grouped query heads, blockwise with online softmax (Milakov & Gimelshein 2018; Dao et
// al. 2022). Keys are cut at absolute multiples of kKeyTile, so a query's result has the same bits however
// the queries were batched, chunked or cached. No memory of size queries × keys.
//
// Query head h uses key/value head h / (heads / kv_heads). Query at position p sees keys j with
// p - window < j <= p (window 0: all j <= p).
#pragma once

#include <cstdint>
#include <span>

#include "ops/kv_page.h"

namespace bm {

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;  // keys a query sees, itself included; 0 = all
  float scale = 0;     // 0 = 1/sqrt(head_dim)
};

// New queries of one sequence. Keys and values of positions [0, first_position + queries) are there, those of
// the new tokens included: in pages of a cache, or plainly one position behind the other. Both give the same
// bits when the pages are float32.
struct AttentionSequence {
  const float* q = nullptr;                 // [queries][heads * head_dim]
  const std::byte* const* pages = nullptr;  // page i: positions from i * kKeyTile on; or nullptr
  int64_t page_offset = 0;                  // bytes from a page's start to this layer's part
  const KvPageShape* page_shape = nullptr;  // with pages
  const float* keys = nullptr;              // [position][kv_heads * head_dim]
  const float* values = nullptr;            // [position][kv_heads * head_dim]
  float* out = nullptr;                     // [queries][heads * head_dim]
  int64_t queries = 0;
  int64_t first_position = 0;
  int64_t q_stride = 0;   // elements from query to query in q (0 = heads * head_dim)
  int64_t kv_stride = 0;  // elements from position to position in keys and values (0 = kv_heads * head_dim)
  float* log_sum_exp = nullptr;  // [queries][heads] of the scaled scores, written when not null
};

// A ragged batch, no padding.
void attention(const AttentionShape& shape, std::span<const AttentionSequence> sequences);

// Training: `rows` sequences of `length` tokens each, every one starting at position 0.
// q, out [rows*length, heads*head_dim]; k, v [rows*length, kv_heads*head_dim]; log_sum_exp [rows*length,
// heads].
void attention_forward(const AttentionShape& shape, int64_t rows, int64_t length, const float* q,
                       const float* k, const float* v, float* out, float* log_sum_exp);
// Probabilities are recomputed tile by tile. Writes d_q, d_k, d_v (shapes as q, k, v); deterministic.
void attention_backward(const AttentionShape& shape, int64_t rows, int64_t length, const float* q,
                        const float* k, const float* v, const float* out, const float* log_sum_exp,
                        const float* d_out, float* d_q, float* d_k, float* d_v);

// The same for sequences of different lengths, one behind the other (documents that do not see each other).
void attention_forward(const AttentionShape& shape, std::span<const int64_t> lengths, const float* q,
                       const float* k, const float* v, float* out, float* log_sum_exp);
void attention_backward(const AttentionShape& shape, std::span<const int64_t> lengths, const float* q,
                        const float* k, const float* v, const float* out, const float* log_sum_exp,
                        const float* d_out, float* d_q, float* d_k, float* d_v);

}  // namespace bm
