// Block products for AVX-512: a tile of 12 rows × 32 columns, 24 zmm of sums.
#include "kernels/simd_avx512.h"
#define BM_ISA avx512
namespace bm::avx512 {
constexpr int kTileRows = 12, kTilePanels = 2, kAccumulators = 24, kChunkRows = 264, kChunkColumns = 384;
// Widening takes 4 instructions beside 24 multiply-adds and halves what the first cache must hold.
constexpr bool kNarrowInTile = true;
}  // namespace bm::avx512
#include "kernels/pairs_impl.h"
#include "kernels/products_impl.h"
