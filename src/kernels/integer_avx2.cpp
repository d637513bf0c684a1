// Integer products for AVX2: 6 rows × 16 outputs, pairs of products in 16 bits.
#include "kernels/integer_lanes_avx2.h"
#define BM_ISA avx2
namespace bm::avx2 {
constexpr int32_t kWideOffset = 128;
constexpr int kStripPanels = 1;
}  // namespace bm::avx2
#include "kernels/integer_impl.h"
