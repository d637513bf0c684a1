// 16 int32 lanes and 64 weight codes as two ymm registers. Included only by integer_avx2.cpp.
#pragma once

#include "kernels/simd_avx2.h"

namespace bm::avx2 {
namespace {

struct Ints {
  __m256i lo, hi;
};
struct Codes {
  __m256i lo, hi;
};

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Codes load_codes(const uint8_t* p) { return {load256(p), load256(p + 32)}; }
inline void store_codes(uint8_t* p, Codes c) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), c.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), c.hi);
}
inline Codes load_table(const uint8_t* p) {
  __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {t, t};
}
inline Codes low_nibbles(Codes c) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(c.lo, mask), _mm256_and_si256(c.hi, mask)};
}
inline Codes high_nibbles(Codes c) {
  return low_nibbles({_mm256_srli_epi16(c.lo, 4), _mm256_srli_epi16(c.hi, 4)});
}
inline Codes look_up(Codes table, Codes index) {
  return {_mm256_shuffle_epi8(table.lo, index.lo), _mm256_shuffle_epi8(table.hi, index.hi)};
}
inline Codes make_signed(Codes c) {
  const __m256i flip = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(c.lo, flip), _mm256_xor_si256(c.hi, flip)};
}
inline Codes spread(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  __m256i v = _mm256_set1_epi32(four);
  return {v, v};
}
inline Ints ints1(int32_t x) {
  __m256i v = _mm256_set1_epi32(x);
  return {v, v};
}
// Pairs of products fit 16 bits: codes are at most 127, or signed with magnitudes to 128.
template <bool wide>
inline __m256i dot(__m256i sum, __m256i w, __m256i x) {
  __m256i pairs =
      wide ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <bool wide>
inline Ints dot(Ints sum, Codes w, Codes x) {
  return {dot<wide>(sum.lo, w.lo, x.lo), dot<wide>(sum.hi, w.hi, x.hi)};
}
inline Ints add_ints(Ints a, Ints b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
inline Ints sub_ints(Ints a, int32_t b) {
  __m256i v = _mm256_set1_epi32(b);
  return {_mm256_sub_epi32(a.lo, v), _mm256_sub_epi32(a.hi, v)};
}
inline int32_t sum_ints(Ints a) {
  __m256i eight = _mm256_add_epi32(a.lo, a.hi);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}
inline Lanes to_float(Ints a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
inline Ints to_ints(Lanes a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
template <int J>
inline Ints byte_of(Codes c) {
  const __m256i mask = _mm256_set1_epi32(255);
  return {_mm256_and_si256(_mm256_srli_epi32(c.lo, 8 * J), mask),
          _mm256_and_si256(_mm256_srli_epi32(c.hi, 8 * J), mask)};
}
inline __m256 pick(const float* values, __m256i index) {
  __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values), index);
  __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values + 8), index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
inline Lanes pick(const float* values, Ints index) {
  return {pick(values, index.lo), pick(values, index.hi)};
}
// 16 bytes as lanes.
inline __m128i load64(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
inline Ints load_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(load64(p)), _mm256_cvtepu8_epi32(load64(p + 8))};
}
inline Ints signed_bytes(const uint8_t* p) {
  return {_mm256_cvtepi8_epi32(load64(p)), _mm256_cvtepi8_epi32(load64(p + 8))};
}
inline void store_bytes(int8_t* p, Ints a) {
  __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xd8);
  __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
inline Lanes magnitude(Lanes a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline __m256 round_f16(__m256 a) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Lanes round_f16(Lanes a) { return {round_f16(a.lo), round_f16(a.hi)}; }
inline __m256 round_bf16(__m256 a) {
  __m256i bits = _mm256_castps_si256(a);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  return _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u))));
}
inline Lanes round_bf16(Lanes a) { return {round_bf16(a.lo), round_bf16(a.hi)}; }
inline Lanes load_part(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  float part[16] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = p[i];
  return load(part);
}

}  // namespace
}  // namespace bm::avx2
