// Block products for any machine: the reference the others must match bit for bit.
#include "kernels/simd_scalar.h"
#define BM_ISA scalar
namespace bm::scalar {
constexpr int kTileRows = 4, kTilePanels = 1, kAccumulators = 4, kChunkRows = 96, kChunkColumns = 192;
constexpr bool kNarrowInTile = false;
}  // namespace bm::scalar
#include "kernels/pairs_impl.h"
#include "kernels/products_impl.h"
