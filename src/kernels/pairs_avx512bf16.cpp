// Products of bfloat16 pairs by vdpbf16ps: a tile of 12 rows × 32 columns, 24 zmm of sums. The rules of these
// files are in products_impl.h.
#include "kernels/kernels.h"
#include "kernels/simd_avx512.h"

namespace bm::avx512bf16 {
namespace {

constexpr int kTileRows = 12;
constexpr int64_t kPrefetchBytes = 2048;

// The columns of two inputs beside each other: word 2c from the first, 2c + 1 from the second.
inline __m512i pair_order() {
  alignas(64) static constexpr uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                     21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                     11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_load_si512(order);
}

inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

inline int pair_at(const uint16_t* p) {
  int pair;
  __builtin_memcpy(&pair, p, sizeof(pair));
  return pair;
}

// `mask` chooses the columns of the last panel.
template <int MR, int NP>
[[gnu::noinline]] void tile(const PairArguments& g, const uint16_t* a, const uint16_t* b, float* c,
                            __mmask16 mask) {
  __m512 sums[MR][NP];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) sums[r][p] = _mm512_setzero_ps();
  }
  const __m512i order = pair_order();
  const int64_t a_row = g.a_row, b_panel = g.b_panel;
  for (int64_t i = g.k / 2; i > 0; --i) {
    __m512i columns[NP];
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) {
      columns[p] = _mm512_permutexvar_epi16(order, _mm512_loadu_si512(b + p * b_panel));
      _mm_prefetch(reinterpret_cast<const char*>(b + p * b_panel) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const __m512i pair = _mm512_set1_epi32(pair_at(a + r * a_row));
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p) sums[r][p] = dot(sums[r][p], pair, columns[p]);
    }
    a += 2;
    b += 2 * kLanes;
  }
  if (g.k % 2) {
    for (int p = 0; p < NP; ++p) {
      const __m256i last = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + p * b_panel));
      const __m512i column = _mm512_permutexvar_epi16(order, _mm512_zextsi256_si512(last));
      for (int r = 0; r < MR; ++r) {
        sums[r][p] = dot(sums[r][p], _mm512_set1_epi32(pair_at(a + r * a_row)), column);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) {
      float* out = c + r * g.c_row + p * kLanes;
      const __mmask16 here = p == NP - 1 ? mask : static_cast<__mmask16>(0xffff);
      __m512 sum = sums[r][p];
      if (g.accumulate) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(here, out), sum);
      _mm512_mask_storeu_ps(out, here, sum);
    }
  }
}

// MR rows, all columns of a strip of one or two panels.
template <int MR>
inline void rows_of(const PairArguments& g, int64_t row, int64_t column) {
  const uint16_t *a = g.a + row * g.a_row, *b = g.b + column / kLanes * g.b_panel;
  float* c = g.c + row * g.c_row + column;
  const int64_t left = g.n - column;
  const int64_t last = left >= 2 * kLanes ? int64_t{kLanes} : left > kLanes ? left - kLanes : left;
  const auto mask = static_cast<__mmask16>((1u << last) - 1u);
  if (left > kLanes) {
    tile<MR, 2>(g, a, b, c, mask);
  } else {
    tile<MR, 1>(g, a, b, c, mask);
  }
}

template <int R>
inline void last_rows(const PairArguments& g, int64_t row, int64_t rows, int64_t column) {
  if (rows == R) {
    rows_of<R>(g, row, column);
  } else if constexpr (R > 1) {
    last_rows<R - 1>(g, row, rows, column);
  }
}

void products(const PairArguments& g) {
  for (int64_t column = 0; column < g.n; column += 2 * kLanes) {
    int64_t row = 0;
    for (; row + kTileRows <= g.m; row += kTileRows) rows_of<kTileRows>(g, row, column);
    if (row < g.m) last_rows<kTileRows - 1>(g, row, g.m - row, column);
  }
}

void round(int64_t count, const float* in, uint16_t* out) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = count - i;
    const auto mask = static_cast<__mmask16>(left >= kLanes ? 0xffffu : (1u << left) - 1u);
    const __m256i words = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, in + i)));
    _mm256_mask_storeu_epi16(out + i, mask, words);
  }
}

}  // namespace

extern const PairKernels pairs;
const PairKernels pairs = {true, products, round};

}  // namespace bm::avx512bf16
