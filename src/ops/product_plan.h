// How a product [m, n] is cut into tasks. Only speed depends on it: every output element is summed the same
// way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace bm {

struct ProductChunk {
  int64_t row = 0, rows = 0, column = 0, columns = 0;
};

struct ProductPlan {
  static constexpr int64_t kLeastColumns = 32;
  int64_t m = 0, n = 0;
  int64_t row_chunk = 0, column_chunk = 0;
  int64_t row_chunks = 0, column_chunks = 0;

  // Even chunks no larger than the kernels', of fewer columns while there are fewer than four tasks a thread.
  static ProductPlan make(int64_t m, int64_t n, const ProductKernels& products, int threads) {
    ProductPlan plan;
    plan.m = m;
    plan.n = n;
    auto cut = [](int64_t size, int64_t chunks, int64_t tile) {
      const int64_t even = (size + chunks - 1) / chunks;
      return (even + tile - 1) / tile * tile;
    };
    auto count = [](int64_t size, int64_t chunk) { return (size + chunk - 1) / chunk; };
    plan.row_chunk = cut(m, count(m, products.chunk_rows), products.tile_rows);
    plan.row_chunks = count(m, plan.row_chunk);
    const int64_t tile = products.tile_columns < kLeastColumns ? kLeastColumns : products.tile_columns;
    plan.column_chunk = cut(n, count(n, products.chunk_columns), tile);
    while (threads > 1 && plan.column_chunk > kLeastColumns &&
           plan.row_chunks * count(n, plan.column_chunk) < 4 * threads) {
      plan.column_chunk = cut(plan.column_chunk, 2, tile);
    }
    plan.column_chunks = count(n, plan.column_chunk);
    return plan;
  }

  size_t tasks() const { return static_cast<size_t>(row_chunks * column_chunks); }
  // Row chunks follow each other within a column chunk: its weights are then still in the shared cache.
  ProductChunk chunk(size_t task) const {
    ProductChunk c;
    c.row = static_cast<int64_t>(task) % row_chunks * row_chunk;
    c.column = static_cast<int64_t>(task) / row_chunks * column_chunk;
    c.rows = std::min(row_chunk, m - c.row);
    c.columns = std::min(column_chunk, n - c.column);
    return c;
  }
};

}  // namespace bm
