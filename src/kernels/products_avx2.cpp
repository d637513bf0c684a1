// Block products for AVX2 + FMA: a tile of 6 rows × 16 columns, 12 ymm of sums. The inner loop is written out
// because gcc 12 moves and spills the sums when it allocates the registers itself.
#include "kernels/simd_avx2.h"
#define BM_ISA avx2
#define BM_OWN_FULL_TILE
#include "kernels/kernels.h"

namespace bm::avx2 {
constexpr int kTileRows = 6, kTilePanels = 1, kAccumulators = 6, kChunkRows = 96, kChunkColumns = 192;
constexpr bool kNarrowInTile = false;

namespace {

// One step of k: two ymm of B against six broadcast elements of A.
#define BM_STEP                               \
  "vmovups (%[b]), %%ymm0\n\t"                \
  "vmovups 32(%[b]), %%ymm1\n\t"              \
  "vbroadcastss (%[a]), %%ymm2\n\t"           \
  "vbroadcastss (%[a],%[row]), %%ymm3\n\t"    \
  "vfmadd231ps %%ymm0, %%ymm2, %[s00]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm2, %[s01]\n\t"    \
  "vfmadd231ps %%ymm0, %%ymm3, %[s10]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm3, %[s11]\n\t"    \
  "vbroadcastss (%[a],%[row],2), %%ymm2\n\t"  \
  "vbroadcastss (%[a3]), %%ymm3\n\t"          \
  "vfmadd231ps %%ymm0, %%ymm2, %[s20]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm2, %[s21]\n\t"    \
  "vfmadd231ps %%ymm0, %%ymm3, %[s30]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm3, %[s31]\n\t"    \
  "vbroadcastss (%[a3],%[row]), %%ymm2\n\t"   \
  "vbroadcastss (%[a3],%[row],2), %%ymm3\n\t" \
  "add %[ak], %[a]\n\t"                       \
  "add %[ak], %[a3]\n\t"                      \
  "vfmadd231ps %%ymm0, %%ymm2, %[s40]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm2, %[s41]\n\t"    \
  "vfmadd231ps %%ymm0, %%ymm3, %[s50]\n\t"    \
  "vfmadd231ps %%ymm1, %%ymm3, %[s51]\n\t"    \
  "add %[bk], %[b]\n\t"

inline void finish(float* c, bool accumulate, __m256 lo, __m256 hi) {
  if (accumulate) {
    lo = _mm256_add_ps(_mm256_loadu_ps(c), lo);
    hi = _mm256_add_ps(_mm256_loadu_ps(c + 8), hi);
  }
  _mm256_storeu_ps(c, lo);
  _mm256_storeu_ps(c + 8, hi);
}

inline void tile_full(const BlockArguments& g, const float* a, const void* b, float* c) {
  const int64_t c_row = g.c_row;
  if (g.accumulate) {
    for (int r = 0; r < kTileRows; ++r) prefetch(c + r * c_row);
  }
  __m256 s00, s01, s10, s11, s20, s21, s30, s31, s40, s41, s50, s51;
  const int64_t row = g.a_row * 4, ak = g.a_k * 4, bk = g.b_k * 4;
  const float* a3 = a + 3 * g.a_row;
  int64_t fours = g.k / 4, ones = g.k % 4;
  asm volatile(
      "vxorps %[s00], %[s00], %[s00]\n\t"
      "vxorps %[s01], %[s01], %[s01]\n\t"
      "vxorps %[s10], %[s10], %[s10]\n\t"
      "vxorps %[s11], %[s11], %[s11]\n\t"
      "vxorps %[s20], %[s20], %[s20]\n\t"
      "vxorps %[s21], %[s21], %[s21]\n\t"
      "vxorps %[s30], %[s30], %[s30]\n\t"
      "vxorps %[s31], %[s31], %[s31]\n\t"
      "vxorps %[s40], %[s40], %[s40]\n\t"
      "vxorps %[s41], %[s41], %[s41]\n\t"
      "vxorps %[s50], %[s50], %[s50]\n\t"
      "vxorps %[s51], %[s51], %[s51]\n\t"
      "test %[fours], %[fours]\n\t"
      "jz 2f\n\t"
      ".p2align 5\n"
      "1:\n\t" BM_STEP BM_STEP BM_STEP BM_STEP
      "dec %[fours]\n\t"
      "jnz 1b\n"
      "2:\n\t"
      "test %[ones], %[ones]\n\t"
      "jz 4f\n"
      "3:\n\t" BM_STEP
      "dec %[ones]\n\t"
      "jnz 3b\n"
      "4:\n\t"
      : [s00] "=&x"(s00), [s01] "=&x"(s01), [s10] "=&x"(s10), [s11] "=&x"(s11), [s20] "=&x"(s20),
        [s21] "=&x"(s21), [s30] "=&x"(s30), [s31] "=&x"(s31), [s40] "=&x"(s40), [s41] "=&x"(s41),
        [s50] "=&x"(s50), [s51] "=&x"(s51), [a] "+r"(a), [a3] "+r"(a3), [b] "+r"(b), [fours] "+r"(fours),
        [ones] "+r"(ones)
      : [row] "r"(row), [ak] "r"(ak), [bk] "r"(bk)
      : "xmm0", "xmm1", "xmm2", "xmm3", "cc", "memory");
  finish(c, g.accumulate, s00, s01);
  finish(c + c_row, g.accumulate, s10, s11);
  finish(c + 2 * c_row, g.accumulate, s20, s21);
  finish(c + 3 * c_row, g.accumulate, s30, s31);
  finish(c + 4 * c_row, g.accumulate, s40, s41);
  finish(c + 5 * c_row, g.accumulate, s50, s51);
}
#undef BM_STEP

}  // namespace
}  // namespace bm::avx2

#include "kernels/pairs_impl.h"
#include "kernels/products_impl.h"
