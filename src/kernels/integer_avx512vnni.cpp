// Integer products for AVX-512 with VNNI: 6 rows × 32 outputs, four products a lane and instruction.
#include "kernels/integer_lanes_avx512.h"
#define BM_ISA avx512vnni
namespace bm::avx512vnni {
using namespace avx512;
constexpr int32_t kWideOffset = 0;
constexpr int kStripPanels = 2;
namespace {
// As asm: with the intrinsic gcc 12 copies every sum to another register and back (half the speed).
template <bool wide>
inline Ints dot(Ints sum, Codes w, Codes x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.v) : "v"(w.v), "v"(x.v));
  return sum;
}
}  // namespace
}  // namespace bm::avx512vnni
#include "kernels/integer_impl.h"
