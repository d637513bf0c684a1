#include "ops/kv_page.h"

#include <algorithm>
#include <cassert>

#include "kernels/kernels.h"

namespace bm {
namespace {

static_assert(kKeyTile % kLanes == 0);

inline void put(float* to, float value) { *to = value; }
inline void put(uint16_t* to, float value) { *to = f32_to_bf16(value); }

// Keys of up to 16 positions, `lane` on, of one panel: a transposition.
template <class T>
void store_keys(int64_t dim, int64_t lane, int64_t count, const float* k, int64_t stride, T* panel) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (count == kLanes) {
      kernels().products->pack_transposed(count, dim, k, stride, panel);
      return;
    }
  }
  for (int64_t p = 0; p < count; ++p)
    for (int64_t d = 0; d < dim; ++d) put(panel + d * kLanes + lane + p, k[p * stride + d]);
}

template <class T>
void store_values(int64_t dim, int64_t first, int64_t count, const float* v, int64_t stride, T* panels) {
  for (int64_t column = 0; column < dim; column += kLanes, panels += kKeyTile * kLanes) {
    const int64_t columns = std::min<int64_t>(kLanes, dim - column);
    for (int64_t p = 0; p < count; ++p) {
      T* to = panels + (first + p) * kLanes;
      const float* from = v + p * stride + column;
      for (int64_t c = 0; c < columns; ++c) put(to + c, from[c]);
      std::fill(to + columns, to + kLanes, T{});
    }
  }
}

template <class T>
void store(const KvPageShape& s, std::byte* page, int64_t first, int64_t count, const float* k,
           const float* v, int64_t stride) {
  for (int64_t head = 0; head < s.kv_heads; ++head) {
    T* keys = reinterpret_cast<T*>(page + head * s.head_bytes());
    for (int64_t p = 0; p < count;) {
      const int64_t lane = (first + p) % kLanes, some = std::min(count - p, kLanes - lane);
      store_keys(s.head_dim, lane, some, k + p * stride + head * s.head_dim, stride,
                 keys + (first + p) / kLanes * s.head_dim * kLanes);
      p += some;
    }
    store_values(s.head_dim, first, count, v + head * s.head_dim, stride, keys + s.key_elements());
  }
}

}  // namespace

void store_kv(const KvPageShape& shape, std::byte* page, int64_t first, int64_t count, const float* k,
              const float* v, int64_t stride) {
  assert(first >= 0 && first + count <= kKeyTile);
  if (shape.dtype == DType::f32) {
    store<float>(shape, page, first, count, k, v, stride);
  } else {
    store<uint16_t>(shape, page, first, count, k, v, stride);
  }
}

}  // namespace bm
