// Block products for AVX-512: a tile of 12 rows × 32 columns, 24 zmm of sums.
#include "kernels/simd_avx512.h"
#define BM_ISA avx512
namespace bm::avx512 {
constexpr int kTileRows = 12, kTilePanels = 2, kAccumulators = 24;
}
#include "kernels/products_impl.h"
