#include "ops/attention.h"

#include <cassert>
#include <limits>
#include <vector>

#include "base/threads.h"
#include "ops/attention_tiles.h"
#include "ops/scratch.h"

namespace bm {
namespace {

using attention_detail::Geometry;

constexpr int64_t kTilesPerTask = 4;  // query tiles that share a packed key tile

struct Task {
  const AttentionSequence* sequence;
  int64_t kv_head, first, positions;  // queries [first, first + positions) of the sequence
};

// Queries, sums and results of all rows of a task; keys, values and scores of one tile.
struct Working {
  float *q, *out, *keys, *values, *scores;
  float *maximum, *sum, *rescale, *row_scratch;
  int32_t *low, *high;

  explicit Working(const Geometry& g) {
    const int64_t tile_rows = g.rows(g.tile_positions), rows = kTilesPerTask * tile_rows;
    q = scratch(ScratchSlot::c, 2 * rows * g.padded);
    out = q + rows * g.padded;
    keys = scratch(ScratchSlot::d, 2 * kKeyTile * g.padded);
    values = keys + kKeyTile * g.padded;
    scores = scratch(ScratchSlot::e, tile_rows * kKeyTile);
    maximum = scratch(ScratchSlot::f, 2 * rows + 4 * tile_rows);
    sum = maximum + rows;
    rescale = sum + rows;
    row_scratch = rescale + tile_rows;
    low = reinterpret_cast<int32_t*>(row_scratch + tile_rows);
    high = low + tile_rows;
  }
};

// Keys and values of one tile in the layout of the products.
struct KeyTile {
  const void *keys = nullptr, *values = nullptr;
  int64_t value_panel = 0;  // elements from panel to panel of the values
  BlockProduct product = nullptr;
};

KeyTile key_tile(const Geometry& g, const Working& w, const AttentionSequence& s, int64_t kv_head,
                 int64_t tile, int64_t keys) {
  const ProductKernels& products = *kernels().products;
  if (s.pages) {
    const std::byte* page = s.pages[tile / kKeyTile] + s.page_offset;
    return {s.page_shape->keys(page, kv_head), s.page_shape->values(page, kv_head), kKeyTile * kLanes,
            s.page_shape->dtype == DType::f32 ? products.f32 : products.bf16};
  }
  const int64_t stride = s.kv_stride ? s.kv_stride : g.kv_heads * g.dim;
  const int64_t at = tile * stride + kv_head * g.dim;
  attention_detail::pack_keys(g, s.keys + at, stride, keys, w.keys);
  attention_detail::pack_values(g, s.values + at, stride, keys, w.values);
  return {w.keys, w.values, keys * kLanes, products.f32};
}

// One key tile for one query tile (rows from `row` on): scores, softmax, and the weighted values added to
// `out`. The queries see none but the first `keys` of the tile.
void attend_tile(const Geometry& g, const Working& w, const KeyTile& tile, int64_t row, int64_t rows,
                 int64_t keys) {
  BlockArguments s;
  s.m = rows;
  s.n = (keys + kLanes - 1) / kLanes * kLanes;
  s.k = g.dim;
  s.a = w.q + row * g.padded;
  s.a_row = g.padded;
  s.b = tile.keys;
  s.b_panel = g.dim * kLanes;
  s.c = w.scores;
  s.c_row = kKeyTile;
  tile.product(s);
  kernels().rows->softmax_tile({.rows = rows,
                                .columns = s.n,
                                .stride = kKeyTile,
                                .scores = w.scores,
                                .low = w.low,
                                .high = w.high,
                                .scale = g.scale,
                                .maximum = w.maximum + row,
                                .sum = w.sum + row,
                                .rescale = w.rescale,
                                .scratch = w.row_scratch});
  float* out = w.out + row * g.padded;
  for (int64_t r = 0; r < rows; ++r) {
    if (w.rescale[r] != 1.0f) kernels().rows->scale(g.padded, w.rescale[r], out + r * g.padded);
  }
  BlockArguments o;
  o.m = rows;
  o.n = g.padded;
  o.k = keys;
  o.a = w.scores;
  o.a_row = kKeyTile;
  o.b = tile.values;
  o.b_panel = tile.value_panel;
  o.c = out;
  o.c_row = g.padded;
  o.accumulate = true;
  tile.product(o);
}

void finish_rows(const Geometry& g, const Working& w, const Task& task) {
  const AttentionSequence& s = *task.sequence;
  for (int64_t p = 0; p < task.positions; ++p) {
    for (int64_t h = 0; h < g.group; ++h) {
      const int64_t row = p * g.group + h, head = task.kv_head * g.group + h, query = task.first + p;
      const float inverse = 1.0f / w.sum[row];
      float* from = w.out + row * g.padded;
      kernels().rows->scale(g.dim, inverse, from);
      std::memcpy(s.out + (query * g.heads + head) * g.dim, from, static_cast<size_t>(g.dim) * sizeof(float));
      if (s.log_sum_exp) {
        s.log_sum_exp[query * g.heads + head] =
            w.maximum[row] + static_cast<float>(std::log(static_cast<double>(w.sum[row])));
      }
    }
  }
}

void run_task(const Geometry& g, const Task& task) {
  const AttentionSequence& s = *task.sequence;
  const int64_t rows = g.rows(task.positions), position = s.first_position + task.first;
  const int64_t q_stride = s.q_stride ? s.q_stride : g.heads * g.dim;
  const Working w(g);
  attention_detail::gather_rows(g, s.q + task.first * q_stride, q_stride, task.kv_head, task.positions, w.q);
  std::fill_n(w.out, rows * g.padded, 0.0f);
  std::fill_n(w.maximum, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(w.sum, rows, 0.0f);
  const int64_t end = position + task.positions;
  for (int64_t tile = g.first_key(position) / kKeyTile * kKeyTile; tile < end; tile += kKeyTile) {
    const int64_t packed = std::min(kKeyTile, end - tile);
    const KeyTile held = key_tile(g, w, s, task.kv_head, tile, packed);
    for (int64_t first = 0; first < task.positions; first += g.tile_positions) {
      const int64_t positions = std::min(g.tile_positions, task.positions - first);
      const int64_t from = position + first, keys = std::min(packed, from + positions - tile);
      if (keys <= 0 || g.first_key(from) >= tile + packed)
        continue;  // all still to come, or out of the window
      attention_detail::visible_columns(g, from, positions, tile, keys, w.low, w.high);
      attend_tile(g, w, held, g.rows(first), g.rows(positions), keys);
    }
  }
  finish_rows(g, w, task);
}

}  // namespace

void attention(const AttentionShape& shape, std::span<const AttentionSequence> sequences) {
  assert(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  const Geometry g(shape);
  std::vector<Task> tasks;
  for (const AttentionSequence& sequence : sequences) {
    if (sequence.queries <= 0) continue;
    // The longest rows first, so that the threads end together.
    const int64_t most = kTilesPerTask * g.tile_positions;
    for (int64_t first = (sequence.queries - 1) / most * most; first >= 0; first -= most) {
      for (int64_t head = 0; head < g.kv_heads; ++head) {
        tasks.push_back({&sequence, head, first, std::min(most, sequence.queries - first)});
      }
    }
  }
  parallel_for(tasks.size(), [&](size_t i) { run_task(g, tasks[i]); });
}

void attention_forward(const AttentionShape& shape, int64_t rows, int64_t length, const float* q,
                       const float* k, const float* v, float* out, float* log_sum_exp) {
  std::vector<AttentionSequence> sequences(static_cast<size_t>(rows));
  const int64_t q_width = shape.heads * shape.head_dim, kv_width = shape.kv_heads * shape.head_dim;
  for (int64_t r = 0; r < rows; ++r) {
    AttentionSequence& s = sequences[static_cast<size_t>(r)];
    s.q = q + r * length * q_width;
    s.keys = k + r * length * kv_width;
    s.values = v + r * length * kv_width;
    s.out = out + r * length * q_width;
    s.queries = length;
    s.log_sum_exp = log_sum_exp ? log_sum_exp + r * length * shape.heads : nullptr;
  }
  attention(shape, sequences);
}

}  // namespace bm
