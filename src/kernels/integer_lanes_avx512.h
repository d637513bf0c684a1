// 16 int32 lanes and 64 weight codes as zmm registers. Included only by integer_avx512*.cpp, in their
// namespace, after simd_avx512.h; the including file provides dot().
#pragma once

#include "kernels/simd_avx512.h"

namespace bm::avx512 {
namespace {

struct Ints {
  __m512i v;
};
struct Codes {
  __m512i v;
};

inline Codes load_codes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_codes(uint8_t* p, Codes c) { _mm512_storeu_si512(p, c.v); }
inline Codes load_table(const uint8_t* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Codes low_nibbles(Codes c) { return {_mm512_and_si512(c.v, _mm512_set1_epi8(15))}; }
inline Codes high_nibbles(Codes c) {
  return {_mm512_and_si512(_mm512_srli_epi16(c.v, 4), _mm512_set1_epi8(15))};
}
inline Codes look_up(Codes table, Codes index) { return {_mm512_shuffle_epi8(table.v, index.v)}; }
inline Codes make_signed(Codes c) { return {_mm512_xor_si512(c.v, _mm512_set1_epi8(-128))}; }
inline Codes spread(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return {_mm512_set1_epi32(four)};
}
inline Ints ints1(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Ints add_ints(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Ints sub_ints(Ints a, int32_t b) { return {_mm512_sub_epi32(a.v, _mm512_set1_epi32(b))}; }
inline int32_t sum_ints(Ints a) { return _mm512_reduce_add_epi32(a.v); }
inline Lanes to_float(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline Ints to_ints(Lanes a) { return {_mm512_cvtps_epi32(a.v)}; }
template <int J>
inline Ints byte_of(Codes c) {
  return {_mm512_and_si512(_mm512_srli_epi32(c.v, 8 * J), _mm512_set1_epi32(255))};
}
inline Lanes pick(const float* values, Ints index) {
  return {_mm512_permutexvar_ps(index.v, _mm512_loadu_ps(values))};
}
// 16 bytes as lanes.
inline Ints load_bytes(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Ints signed_bytes(const uint8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline void store_bytes(int8_t* p, Ints a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
inline Lanes magnitude(Lanes a) { return {_mm512_abs_ps(a.v)}; }
inline Lanes round_f16(Lanes a) {
  return {_mm512_cvtph_ps(_mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))};
}
inline Lanes round_bf16(Lanes a) {
  __m512i bits = _mm512_castps_si512(a.v);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return {_mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))))};
}
// The first count elements (16 at most), the rest zero.
inline Lanes load_part(const float* p, int64_t count) {
  if (count >= 16) return load(p);
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), p)};
}

}  // namespace
}  // namespace bm::avx512
