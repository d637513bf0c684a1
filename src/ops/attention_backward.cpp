// Backward of attention. One task owns one key/value head of one sequence with all its query heads, so every
// gradient is summed by one thread in a fixed order: keys by ascending tile, within a tile queries by
// ascending tile.
#include <algorithm>
#include <cassert>
#include <vector>

#include "base/threads.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"
#include "ops/scratch.h"

namespace bm {
namespace {

using attention_detail::Geometry;

struct Inputs {
  const float *q, *k, *v, *out, *log_sum_exp, *d_out;
  float *d_q, *d_k, *d_v;
  int64_t length;
};

// Everything of one (sequence, key/value head); rows are (position, head of the group).
struct Working {
  float *q, *d_out, *d_q, *delta, *lse;                             // all rows of the sequence
  float *key_panels, *value_panels, *key_rows, *d_keys, *d_values;  // one key tile
  float *scores, *gradient;                                         // one query tile × one key tile
  int32_t *low, *high;

  Working(const Geometry& g, int64_t length) {
    const int64_t rows = g.rows(length), tile = kKeyTile * g.padded, tile_rows = g.rows(g.tile_positions);
    q = scratch(ScratchSlot::c, rows * (3 * g.padded + 2));
    d_out = q + rows * g.padded;
    d_q = d_out + rows * g.padded;
    delta = d_q + rows * g.padded;
    lse = delta + rows;
    key_panels = scratch(ScratchSlot::d, 5 * tile);
    value_panels = key_panels + tile;
    key_rows = value_panels + tile;
    d_keys = key_rows + tile;
    d_values = d_keys + tile;
    scores = scratch(ScratchSlot::e, 2 * tile_rows * kKeyTile);
    gradient = scores + tile_rows * kKeyTile;
    low = reinterpret_cast<int32_t*>(scratch(ScratchSlot::f, 2 * tile_rows));
    high = low + tile_rows;
  }
};

// C[m][n] (+)= A·B over k with B either panels (b_k = 16) or rows (b_panel = 16).
void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_k, const float* b,
             int64_t b_k, int64_t b_panel, float* c, int64_t c_row, bool accumulate) {
  BlockArguments g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.a_row = a_row;
  g.a_k = a_k;
  g.b = b;
  g.b_k = b_k;
  g.b_panel = b_panel;
  g.c = c;
  g.c_row = c_row;
  g.accumulate = accumulate;
  kernels().products->f32(g);
}

void backward_tile(const Geometry& g, const Working& w, int64_t first, int64_t positions, int64_t tile,
                   int64_t keys) {
  const int64_t rows = g.rows(positions), row = g.rows(first),
                columns = (keys + kLanes - 1) / kLanes * kLanes;
  const float *q = w.q + row * g.padded, *d_out = w.d_out + row * g.padded;
  const int64_t panel = g.dim * kLanes;
  product(rows, columns, g.dim, q, g.padded, 1, w.key_panels, kLanes, panel, w.scores, kKeyTile, false);
  product(rows, columns, g.dim, d_out, g.padded, 1, w.value_panels, kLanes, panel, w.gradient, kKeyTile,
          false);
  attention_detail::visible_columns(g, first, positions, tile, keys, w.low, w.high);
  kernels().rows->softmax_tile_backward({.rows = rows,
                                         .columns = columns,
                                         .stride = kKeyTile,
                                         .scores = w.scores,
                                         .gradient = w.gradient,
                                         .low = w.low,
                                         .high = w.high,
                                         .scale = g.scale,
                                         .log_sum_exp = w.lse + row,
                                         .delta = w.delta + row});
  product(keys, g.padded, rows, w.scores, 1, kKeyTile, d_out, g.padded, kLanes, w.d_values, g.padded, true);
  product(keys, g.padded, rows, w.gradient, 1, kKeyTile, q, g.padded, kLanes, w.d_keys, g.padded, true);
  product(rows, g.padded, keys, w.gradient, kKeyTile, 1, w.key_rows, g.padded, kLanes, w.d_q + row * g.padded,
          g.padded, true);
}

void load_rows(const Geometry& g, const Inputs& in, const Working& w, int64_t kv_head) {
  const int64_t width = g.heads * g.dim, rows = g.rows(in.length);
  attention_detail::gather_rows(g, in.q, width, kv_head, in.length, w.q);
  attention_detail::gather_rows(g, in.out, width, kv_head, in.length, w.d_q);
  attention_detail::gather_rows(g, in.d_out, width, kv_head, in.length, w.d_out);
  for (int64_t r = 0; r < rows; ++r) {
    w.delta[r] = kernels().rows->dot(g.padded, w.d_q + r * g.padded, w.d_out + r * g.padded);
    w.lse[r] = in.log_sum_exp[r / g.group * g.heads + kv_head * g.group + r % g.group];
  }
  std::fill_n(w.d_q, rows * g.padded, 0.0f);
}

void run_task(const Geometry& g, const Inputs& in, int64_t kv_head) {
  const Working w(g, in.length);
  const int64_t kv_width = g.kv_heads * g.dim, width = g.heads * g.dim;
  load_rows(g, in, w, kv_head);
  for (int64_t tile = 0; tile < in.length; tile += kKeyTile) {
    const int64_t keys = std::min(kKeyTile, in.length - tile), at = tile * kv_width + kv_head * g.dim;
    attention_detail::pack_keys(g, in.k + at, kv_width, keys, w.key_panels);
    attention_detail::pack_keys(g, in.v + at, kv_width, keys, w.value_panels);
    attention_detail::copy_rows(g, in.k + at, kv_width, keys, w.key_rows);
    std::fill_n(w.d_keys, 2 * kKeyTile * g.padded, 0.0f);
    const int64_t start = tile / g.tile_positions * g.tile_positions;
    for (int64_t first = start; first < in.length; first += g.tile_positions) {
      const int64_t positions = std::min(g.tile_positions, in.length - first);
      if (g.first_key(first) >= tile + keys) break;  // the window has passed this tile
      backward_tile(g, w, first, positions, tile, keys);
    }
    for (int64_t key = 0; key < keys; ++key) {
      const size_t bytes = static_cast<size_t>(g.dim) * sizeof(float);
      std::memcpy(in.d_k + at + key * kv_width, w.d_keys + key * g.padded, bytes);
      std::memcpy(in.d_v + at + key * kv_width, w.d_values + key * g.padded, bytes);
    }
  }
  for (int64_t r = 0; r < g.rows(in.length); ++r) {
    float* to = in.d_q + r / g.group * width + (kv_head * g.group + r % g.group) * g.dim;
    std::memcpy(to, w.d_q + r * g.padded, static_cast<size_t>(g.dim) * sizeof(float));
  }
}

}  // namespace

void attention_forward(const AttentionShape& shape, std::span<const int64_t> lengths, const float* q,
                       const float* k, const float* v, float* out, float* log_sum_exp) {
  std::vector<AttentionSequence> sequences;
  int64_t start = 0;
  for (int64_t length : lengths) {
    const int64_t at = start * shape.heads * shape.head_dim, kv_at = start * shape.kv_heads * shape.head_dim;
    AttentionSequence& s = sequences.emplace_back();
    s.q = q + at;
    s.keys = k + kv_at;
    s.values = v + kv_at;
    s.out = out + at;
    s.queries = length;
    s.log_sum_exp = log_sum_exp ? log_sum_exp + start * shape.heads : nullptr;
    start += length;
  }
  attention(shape, sequences);
}

void attention_backward(const AttentionShape& shape, std::span<const int64_t> lengths, const float* q,
                        const float* k, const float* v, const float* out, const float* log_sum_exp,
                        const float* d_out, float* d_q, float* d_k, float* d_v) {
  assert(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0);
  const Geometry g(shape);
  struct Piece {
    int64_t start, length;
  };
  std::vector<Piece> pieces;
  int64_t start = 0;
  for (int64_t length : lengths) {
    if (length > 0) pieces.push_back({start, length});
    start += length;
  }
  // The longest first, so that the threads end together.
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.length > b.length; });
  parallel_for(pieces.size() * static_cast<size_t>(g.kv_heads), [&](size_t task) {
    const Piece& piece = pieces[task / static_cast<size_t>(g.kv_heads)];
    const auto kv_head = static_cast<int64_t>(task % static_cast<size_t>(g.kv_heads));
    const int64_t at = piece.start * g.heads * g.dim, kv_at = piece.start * g.kv_heads * g.dim;
    run_task(g,
             {q + at, k + kv_at, v + kv_at, out + at, log_sum_exp + piece.start * g.heads, d_out + at,
              d_q + at, d_k + kv_at, d_v + kv_at, piece.length},
             kv_head);
  });
}

void attention_backward(const AttentionShape& shape, int64_t rows, int64_t length, const float* q,
                        const float* k, const float* v, const float* out, const float* log_sum_exp,
                        const float* d_out, float* d_q, float* d_k, float* d_v) {
  const std::vector<int64_t> lengths(static_cast<size_t>(rows), length);
  attention_backward(shape, lengths, q, k, v, out, log_sum_exp, d_out, d_q, d_k, d_v);
}

}  // namespace bm
