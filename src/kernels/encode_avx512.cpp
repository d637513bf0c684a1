// Encoders: avx512.
#include "kernels/simd_avx512.h"
#define BM_ISA avx512

#include "kernels/encode.h"
#include "kernels/kernels.h"

namespace bm::avx512 {
namespace {

struct RankTable {
  __m512 midpoints;
  __m512i codes;
};
inline RankTable rank_table(const FourBitTables& tables) {
  return {_mm512_loadu_ps(tables.midpoints),
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tables.codes)))};
}

// Largest magnitude by its bits, so that NaN and infinity win.
inline Lanes magnitude_max(Lanes a, Lanes b) {
  __m512i bits = _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(0x7fffffff));
  return {_mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a.v), bits))};
}
inline float magnitude_maximum(Lanes a) {
  return _mm_cvtss_f32(_mm_castsi128_ps(
      _mm_cvtsi32_si128(static_cast<int>(_mm512_reduce_max_epu32(_mm512_castps_si512(a.v))))));
}

// Codes by binary search: how many midpoints lie strictly below.
inline __m512i codes_of(const RankTable& t, __m512 y) {
  __m512i rank = _mm512_setzero_si512();
  for (int step = 8; step > 0; step /= 2) {
    __m512 midpoint = _mm512_permutexvar_ps(_mm512_add_epi32(rank, _mm512_set1_epi32(step - 1)), t.midpoints);
    __mmask16 above = _mm512_cmp_ps_mask(y, midpoint, _CMP_GT_OQ);
    rank = _mm512_mask_add_epi32(rank, above, rank, _mm512_set1_epi32(step));
  }
  return _mm512_permutexvar_epi32(rank, t.codes);
}

// 32 values in [-1, 1] to 16 bytes, even value in the upper nibble.
inline void store_nibbles(const RankTable& t, Lanes a, Lanes b, uint8_t* out) {
  auto half = [&](Lanes v) {  // 16 codes to 8 bytes
    __m512i codes = codes_of(t, v.v);
    __m512i joined = _mm512_or_si512(_mm512_slli_epi64(codes, 4), _mm512_srli_epi64(codes, 32));
    return _mm512_cvtepi64_epi8(joined);
  };
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(half(a), half(b)));
}

}  // namespace
}  // namespace bm::avx512

#include "kernels/encode_impl.h"
