// Pieces shared by the forward and backward pass of attention: which keys a query sees, and tiles copied into
// the layouts of the block products. Rows of a query tile are (position, head of the group), position
// outermost.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"
#include "ops/attention.h"

namespace bm::attention_detail {

struct Geometry {
  int64_t heads, kv_heads, group, dim, padded, window;
  float scale;
  int64_t tile_positions;  // positions in a query tile: about 48 rows, which the first cache holds with their
                           // scores

  explicit Geometry(const AttentionShape& shape)
      : heads(shape.heads),
        kv_heads(shape.kv_heads),
        group(shape.heads / shape.kv_heads),
        dim(shape.head_dim),
        padded((shape.head_dim + kLanes - 1) / kLanes * kLanes),
        window(shape.window),
        scale(shape.scale != 0 ? shape.scale
                               : static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)))),
        tile_positions(std::max<int64_t>(1, 48 / group)) {}

  int64_t rows(int64_t positions) const { return positions * group; }
  // First key the query at `position` sees.
  int64_t first_key(int64_t position) const {
    return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
  }
};

// dst[positions * group][padded] from src[position][heads * dim] of the group's heads; padding zeroed.
inline void gather_rows(const Geometry& g, const float* src, int64_t stride, int64_t kv_head,
                        int64_t positions, float* dst) {
  const float* in = src + kv_head * g.group * g.dim;
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t h = 0; h < g.group; ++h, dst += g.padded) {
      std::memcpy(dst, in + p * stride + h * g.dim, static_cast<size_t>(g.dim) * sizeof(float));
      std::fill(dst + g.dim, dst + g.padded, 0.0f);
    }
  }
}

// Key columns [0, keys) as panels [panel][dim][16] (for products with one column a key).
inline void pack_keys(const Geometry& g, const float* first, int64_t stride, int64_t keys, float* panels) {
  for (int64_t key = 0; key < keys; key += kLanes, panels += g.dim * kLanes) {
    kernels().products->pack_transposed(std::min<int64_t>(kLanes, keys - key), g.dim, first + key * stride,
                                        stride, panels);
  }
}

// Panels [padded/16][keys][16], padding zeroed (for products that sum over keys).
inline void pack_values(const Geometry& g, const float* first, int64_t stride, int64_t keys, float* panels) {
  for (int64_t column = 0; column < g.dim; column += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, g.dim - column);
    for (int64_t key = 0; key < keys; ++key, panels += kLanes) {
      const float* in = first + key * stride + column;
      if (count == kLanes) {
        std::memcpy(panels, in, kLanes * sizeof(float));
      } else {
        for (int64_t c = 0; c < kLanes; ++c) panels[c] = c < count ? in[c] : 0.0f;
      }
    }
  }
}

// Rows [keys][padded], padding zeroed.
inline void copy_rows(const Geometry& g, const float* first, int64_t stride, int64_t keys, float* rows) {
  for (int64_t key = 0; key < keys; ++key, rows += g.padded) {
    std::memcpy(rows, first + key * stride, static_cast<size_t>(g.dim) * sizeof(float));
    std::fill(rows + g.dim, rows + g.padded, 0.0f);
  }
}

// Visible columns [low, high) of the key tile that starts at `tile` (holding `keys` keys) for each row.
inline void visible_columns(const Geometry& g, int64_t position, int64_t positions, int64_t tile,
                            int64_t keys, int32_t* low, int32_t* high) {
  for (int64_t p = 0; p < positions; ++p) {
    const int64_t last = position + p;
    const auto from = static_cast<int32_t>(std::clamp<int64_t>(g.first_key(last) - tile, 0, keys));
    const auto to = static_cast<int32_t>(std::clamp<int64_t>(last + 1 - tile, 0, keys));
    for (int64_t h = 0; h < g.group; ++h) {
      low[p * g.group + h] = from;
      high[p * g.group + h] = to;
    }
  }
}

}  // namespace bm::attention_detail
