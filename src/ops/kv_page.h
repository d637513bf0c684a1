// A page of keys and values: kKeyTile positions of one sequence in one layer, in the layout that attention's
// products read, so that nothing is packed again when old positions are looked at.
//
//   for each key/value head: keys   [kKeyTile/16 panels][head_dim][16 positions]
//                            values [ceil(head_dim/16) panels][kKeyTile positions][16 columns]
//
// Elements are float32 or bfloat16 (rounded once, when stored). Columns past head_dim are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace bm {

inline constexpr int64_t kKeyTile = 64;  // attention cuts keys at absolute multiples of this

struct KvPageShape {
  int64_t kv_heads = 0, head_dim = 0;
  DType dtype = DType::f32;  // f32 or bf16

  int64_t element_bytes() const { return dtype == DType::f32 ? 4 : 2; }
  int64_t key_elements() const { return kKeyTile * head_dim; }
  int64_t value_elements() const { return (head_dim + 15) / 16 * 16 * kKeyTile; }
  int64_t head_bytes() const { return (key_elements() + value_elements()) * element_bytes(); }
  int64_t bytes() const { return kv_heads * head_bytes(); }
  const std::byte* keys(const std::byte* page, int64_t head) const { return page + head * head_bytes(); }
  const std::byte* values(const std::byte* page, int64_t head) const {
    return keys(page, head) + key_elements() * element_bytes();
  }
};

// Stores `count` positions from `first` on (first + count <= kKeyTile): k, v [count][kv_heads * head_dim],
// `stride` floats from position to position. Other positions of the page stay as they are.
void store_kv(const KvPageShape& shape, std::byte* page, int64_t first, int64_t count, const float* k,
              const float* v, int64_t stride);

}  // namespace bm
