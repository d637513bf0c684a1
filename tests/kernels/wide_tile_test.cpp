// The tile code in the shape AVX-512 uses (12 rows × 2 panels, several panels a strip), compiled over arrays
// of floats: its paths are so tested on machines that have no AVX-512.
#include <gtest/gtest.h>

#include "kernels/kernels.h"
#include "kernels/simd_scalar.h"
#include "kernels/values.h"

namespace bm::wide_tile {
using namespace bm::scalar;  // NOLINT: the lanes
constexpr int kTileRows = 12, kTilePanels = 2, kAccumulators = 24, kChunkRows = 264, kChunkColumns = 384;
constexpr bool kNarrowInTile = true;
extern const ProductKernels products;
}  // namespace bm::wide_tile
#define BM_ISA wide_tile
#include "kernels/products_impl.h"

namespace bm {
namespace {

TEST(WideTile, SameBitsAsScalar) {
  for (int64_t m = 1; m <= 26; ++m) {
    for (int64_t n : {1, 16, 31, 32, 48, 67, 96, 113}) {
      const int64_t k = 19, panels = (n + kLanes - 1) / kLanes;
      std::vector<float> a = testing::values(m * k, 1), b = testing::values(panels * k * kLanes, 2);
      std::vector<float> one = testing::values(m * n, 3), two = one;
      BlockArguments g{.m = m, .n = n, .k = k, .a = a.data(), .a_row = k, .b = b.data()};
      g.b_panel = k * kLanes;
      g.c_row = n;
      g.accumulate = n % 2 == 0;
      g.c = one.data();
      wide_tile::products.f32(g);
      g.c = two.data();
      scalar::products.f32(g);
      ASSERT_TRUE(testing::same_bits(one, two)) << m << " " << n;
    }
  }
}

}  // namespace
}  // namespace bm
