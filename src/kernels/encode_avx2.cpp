// Encoders: avx2.
#include "kernels/simd_avx2.h"
#define BM_ISA avx2

#include "kernels/encode.h"
#include "kernels/kernels.h"

namespace bm::avx2 {
namespace {

// 16 midpoints in two registers for a search by permutation.
struct RankTable {
  __m256 low, high;  // midpoints 0-7 and 8-15
  __m128i codes;
};
inline RankTable rank_table(const FourBitTables& tables) {
  return {_mm256_loadu_ps(tables.midpoints), _mm256_loadu_ps(tables.midpoints + 8),
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(tables.codes))};
}

inline __m256i magnitude_max(__m256i a, __m256 b) {
  return _mm256_max_epu32(a, _mm256_and_si256(_mm256_castps_si256(b), _mm256_set1_epi32(0x7fffffff)));
}
// Largest magnitude by its bits, so that NaN and infinity win.
inline Lanes magnitude_max(Lanes a, Lanes b) {
  return {_mm256_castsi256_ps(magnitude_max(_mm256_castps_si256(a.lo), b.lo)),
          _mm256_castsi256_ps(magnitude_max(_mm256_castps_si256(a.hi), b.hi))};
}
inline float magnitude_maximum(Lanes a) {
  __m256i eight = _mm256_max_epu32(_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi));
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
  __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 1));
  return _mm_cvtss_f32(_mm_castsi128_ps(one));
}

// Ranks of 8 values by binary search: how many midpoints lie strictly below.
inline __m256i ranks_of(const RankTable& t, __m256 y) {
  __m256 middle = _mm256_set1_ps(_mm256_cvtss_f32(_mm256_permutevar8x32_ps(t.low, _mm256_set1_epi32(7))));
  __m256 upper = _mm256_cmp_ps(y, middle, _CMP_GT_OQ);
  __m256i rank = _mm256_and_si256(_mm256_castps_si256(upper), _mm256_set1_epi32(8));
  for (int step = 4; step > 0; step /= 2) {
    __m256i place =
        _mm256_add_epi32(rank, _mm256_set1_epi32(step - 1));  // the permutation takes its low 3 bits
    __m256 midpoint = _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, place),
                                       _mm256_permutevar8x32_ps(t.high, place), upper);
    __m256i above = _mm256_castps_si256(_mm256_cmp_ps(y, midpoint, _CMP_GT_OQ));
    rank = _mm256_add_epi32(rank, _mm256_and_si256(above, _mm256_set1_epi32(step)));
  }
  return rank;
}

// 16 values to 16 codes, one a byte.
inline __m128i codes_of(const RankTable& t, Lanes v) {
  __m256i words = _mm256_packs_epi32(ranks_of(t, v.lo), ranks_of(t, v.hi));  // 0-3 8-11 4-7 12-15
  words = _mm256_permute4x64_epi64(words, 0xd8);
  __m128i ranks = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  return _mm_shuffle_epi8(t.codes, ranks);
}

// 32 values in [-1, 1] to 16 bytes, even value in the upper nibble.
inline void store_nibbles(const RankTable& t, Lanes a, Lanes b, uint8_t* out) {
  const __m128i weights = _mm_set1_epi16(0x0110);  // even · 16 + odd · 1
  __m128i first = _mm_maddubs_epi16(codes_of(t, a), weights);
  __m128i second = _mm_maddubs_epi16(codes_of(t, b), weights);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(first, second));
}

}  // namespace
}  // namespace bm::avx2

#include "kernels/encode_impl.h"
