#include "kernels/integer_lanes_scalar.h"
#define BM_ISA scalar
namespace bm::scalar {
constexpr int32_t kWideOffset = 0;
constexpr int kStripPanels = 1;
}  // namespace bm::scalar
#include "kernels/integer_impl.h"
