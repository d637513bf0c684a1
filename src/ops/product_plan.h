// How a product [m, n] is cut into tasks. Only speed depends on it: every output element is summed the same
// way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace bm {

struct ProductChunk {
  int64_t row = 0, rows = 0, column = 0, columns = 0;
};

struct ProductPlan {
  int64_t m = 0, n = 0;
  int64_t row_chunk = 0, column_chunk = 0;
  int64_t row_chunks = 0, column_chunks = 0;

  // Chunks of about 192 rows (a k block of them stays in the second cache) × 192 columns, finer while there
  // are fewer than four tasks a thread.
  static ProductPlan make(int64_t m, int64_t n, int64_t tile_rows, int threads) {
    ProductPlan plan;
    plan.m = m;
    plan.n = n;
    plan.row_chunks = (m + 95) / 96;
    const int64_t even = (m + plan.row_chunks - 1) / plan.row_chunks;
    plan.row_chunk = (even + tile_rows - 1) / tile_rows * tile_rows;
    plan.row_chunks = (m + plan.row_chunk - 1) / plan.row_chunk;
    plan.column_chunk = 192;
    auto count = [&] { return (n + plan.column_chunk - 1) / plan.column_chunk; };
    while (threads > 1 && plan.column_chunk > 48 && plan.row_chunks * count() < 4 * threads)
      plan.column_chunk /= 2;
    plan.column_chunks = count();
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
