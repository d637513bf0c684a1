// The block products, written once over Lanes and compiled once per instruction set. The including file has
// defined BM_ISA (the namespace), kTileRows and kTilePanels (the register tile: rows × panels of 16 columns),
// kAccumulators (how many Lanes of sums the registers hold), kChunkRows, kChunkColumns and kNarrowInTile (see
// ProductKernels), and may define a faster tile_full for float weights.
//
// Nothing from the standard library is used here: an inline function compiled with AVX flags must never be
// the copy that the linker keeps for the rest of the program.
#pragma once

#include "kernels/kernels.h"

namespace bm::BM_ISA {
namespace {

// How far ahead of its use a panel is fetched: 2 kB measured best from one row to hundreds.
constexpr int64_t kPrefetchBytes = 2048;

// C[MR][NP·16] from zero over k, then stored or added. One copy of each, called: the files stay small.
template <int MR, int NP, class W>
[[gnu::noinline]] void tile(const BlockArguments& g, const float* a, const W* b, float* c) {
  Lanes sums[MR][NP];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) sums[r][p] = set1(0.0f);
  }
  const int64_t a_row = g.a_row, a_k = g.a_k, b_k = g.b_k, b_panel = g.b_panel;
  for (int64_t i = g.k; i > 0; --i) {
    Lanes column[NP];
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) {
      column[p] = load(b + p * b_panel);
      prefetch(reinterpret_cast<const char*>(b + p * b_panel) + kPrefetchBytes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      Lanes value = set1(a[r * a_row]);
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p) sums[r][p] = fma(value, column[p], sums[r][p]);
    }
    a += a_k;
    b += b_k;
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) {
      float* out = c + r * g.c_row + p * kLanes;
      store(out, g.accumulate ? add(load(out), sums[r][p]) : sums[r][p]);
    }
  }
}

template <int MR, int NP, class W>
inline void tile_any(const BlockArguments& g, const float* a, const W* b, float* c) {
#ifdef BM_OWN_FULL_TILE
  if constexpr (MR == kTileRows && NP == kTilePanels && sizeof(W) == 4) {
    tile_full(g, a, b, c);
    return;
  }
#endif
  tile<MR, NP>(g, a, b, c);
}

// The last panel when fewer than 16 columns of C are there: through a small copy.
template <int MR, class W>
inline void tile_tail(const BlockArguments& g, const float* a, const W* b, float* c, int64_t columns) {
  float copy[MR * kLanes];
  for (int r = 0; r < MR; ++r) {
    for (int64_t j = 0; j < kLanes; ++j) {
      copy[r * kLanes + j] = g.accumulate && j < columns ? c[r * g.c_row + j] : 0.0f;
    }
  }
  BlockArguments inner = g;
  inner.c_row = kLanes;
  tile<MR, 1>(inner, a, b, copy);
  for (int r = 0; r < MR; ++r) {
    for (int64_t j = 0; j < columns; ++j) c[r * g.c_row + j] = copy[r * kLanes + j];
  }
}

// `MR` rows starting at `row`, all columns, in strips of NP panels.
template <int MR, int NP, class W>
inline void row_strip(const BlockArguments& g, int64_t row) {
  const float* a = g.a + row * g.a_row;
  float* c = g.c + row * g.c_row;
  const W* b = static_cast<const W*>(g.b);
  int64_t full = g.n / kLanes, panel = 0;
  for (; panel + NP <= full; panel += NP) tile_any<MR, NP>(g, a, b + panel * g.b_panel, c + panel * kLanes);
  for (; panel < full; ++panel) tile<MR, 1>(g, a, b + panel * g.b_panel, c + panel * kLanes);
  if (g.n % kLanes) tile_tail<MR>(g, a, b + panel * g.b_panel, c + panel * kLanes, g.n % kLanes);
}

constexpr int strip_panels(int rows) {
  int panels = kAccumulators / rows;
  return panels >= 4 ? 4 : panels >= 2 ? 2 : 1;
}

template <int R, class W>
inline void last_rows(const BlockArguments& g, int64_t row, int64_t rows) {
  if (rows == R) {
    row_strip<R, strip_panels(R), W>(g, row);
  } else if constexpr (R > 1) {
    last_rows<R - 1, W>(g, row, rows);
  }
}

template <class W>
void block(const BlockArguments& g) {
  const W* b = static_cast<const W*>(g.b);
  int64_t rows = g.m - g.m % kTileRows;
  if (rows > 0) {
    int64_t full = g.n / kLanes, panel = 0;
    // While a panel is used, the next one is fetched, a share with every tile.
    const int64_t share = g.b_k == kLanes ? (kTilePanels * g.k * kTileRows + rows - 1) / rows : 0;
    for (; panel + kTilePanels <= full; panel += kTilePanels) {
      const W* next = b + (panel + kTilePanels) * g.b_panel;
      for (int64_t row = 0; row < rows; row += kTileRows) {
        if (panel + kTilePanels < full) {
          for (int64_t i = 0; i < share; ++i, next += kLanes) prefetch_later(next);
        }
        tile_any<kTileRows, kTilePanels>(g, g.a + row * g.a_row, b + panel * g.b_panel,
                                         g.c + row * g.c_row + panel * kLanes);
      }
    }
    for (; panel < full; ++panel) {
      for (int64_t row = 0; row < rows; row += kTileRows) {
        tile<kTileRows, 1>(g, g.a + row * g.a_row, b + panel * g.b_panel,
                           g.c + row * g.c_row + panel * kLanes);
      }
    }
    if (g.n % kLanes) {
      for (int64_t row = 0; row < rows; row += kTileRows) {
        tile_tail<kTileRows>(g, g.a + row * g.a_row, b + panel * g.b_panel,
                             g.c + row * g.c_row + panel * kLanes, g.n % kLanes);
      }
    }
  }
  if (rows < g.m) last_rows<kTileRows - 1, W>(g, rows, g.m - rows);
}

template <class W>
void widen(int64_t count, const uint16_t* in, float* out) {
  const W* words = reinterpret_cast<const W*>(in);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load(words + i));
  if (i < count) {
    W last[kLanes] = {};
    float wide[kLanes];
    for (int64_t j = i; j < count; ++j) last[j - i] = words[j];
    store(wide, load(last));
    for (int64_t j = i; j < count; ++j) out[j] = wide[j - i];
  }
}

#ifdef __AVX2__
inline void transpose_8x8(const float* src, int64_t stride, float* dst) {
  __m256 r[8], s[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(src + i * stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(dst + i * kLanes, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * kLanes, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}
#endif

void pack_transposed(int64_t rows, int64_t k, const float* src, int64_t stride, float* dst) {
  int64_t i = 0;
#ifdef __AVX2__
  if (rows == kLanes) {
    for (; i + 8 <= k; i += 8) {
      transpose_8x8(src + i, stride, dst + i * kLanes);
      transpose_8x8(src + i + 8 * stride, stride, dst + i * kLanes + 8);
    }
  }
#endif
  for (; i < k; ++i) {
    for (int64_t r = 0; r < kLanes; ++r) dst[i * kLanes + r] = r < rows ? src[r * stride + i] : 0.0f;
  }
}

}  // namespace

extern const ProductKernels products;
const ProductKernels products = {
    kTileRows,   kTilePanels* kLanes, kChunkRows,      kChunkColumns, kNarrowInTile, block<float>,
    block<Bf16>, block<Half>,         pack_transposed, widen<Bf16>,   widen<Half>,
};

}  // namespace bm::BM_ISA
