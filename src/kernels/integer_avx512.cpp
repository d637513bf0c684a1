// Integer products for AVX-512 without VNNI: 6 rows × 32 outputs, pairs of products in 16 bits.
#include "kernels/integer_lanes_avx512.h"
#define BM_ISA avx512
namespace bm::avx512 {
constexpr int32_t kWideOffset = 128;
constexpr int kStripPanels = 2;
namespace {
// Pairs of products fit 16 bits: codes are at most 127, or signed with magnitudes to 128.
template <bool wide>
inline Ints dot(Ints sum, Codes w, Codes x) {
  __m512i factor = x.v, code = w.v;
  if constexpr (wide) {
    factor = _mm512_mask_sub_epi8(x.v, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), x.v);
    code = _mm512_abs_epi8(w.v);
  }
  __m512i pairs = _mm512_maddubs_epi16(code, factor);
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
}  // namespace
}  // namespace bm::avx512
#include "kernels/integer_impl.h"
