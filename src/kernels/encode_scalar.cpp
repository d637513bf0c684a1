// Encoders: scalar.
#include "kernels/simd_scalar.h"
#define BM_ISA scalar

#include "kernels/encode.h"
#include "kernels/kernels.h"

namespace bm::scalar {
namespace {

using RankTable = const FourBitTables*;
inline RankTable rank_table(const FourBitTables& tables) { return &tables; }

// Largest magnitude by its bits, so that NaN and infinity win.
inline Lanes magnitude_max(const Lanes& a, const Lanes& b) {
  return each([&](int i) {
    uint32_t x = std::bit_cast<uint32_t>(a.v[i]) & 0x7fffffffu,
             y = std::bit_cast<uint32_t>(b.v[i]) & 0x7fffffffu;
    return std::bit_cast<float>(x > y ? x : y);
  });
}
inline float magnitude_maximum(const Lanes& a) {
  uint32_t top = 0;
  for (float value : a.v) {
    uint32_t bits = std::bit_cast<uint32_t>(value);
    top = bits > top ? bits : top;
  }
  return std::bit_cast<float>(top);
}

// 32 values in [-1, 1] to 16 bytes, even value in the upper nibble.
inline void store_nibbles(RankTable table, const Lanes& a, const Lanes& b, uint8_t* out) {
  for (int i = 0; i < 32; i += 2) {
    unsigned nibbles[2];
    for (int k = 0; k < 2; ++k) {
      float y = i < 16 ? a.v[i + k] : b.v[i + k - 16];
      int rank = 0;
      for (int m = 0; m < 15; ++m) rank += y > table->midpoints[m] ? 1 : 0;
      nibbles[k] = table->codes[rank];
    }
    out[i / 2] = static_cast<uint8_t>(nibbles[0] << 4 | nibbles[1]);
  }
}

}  // namespace
}  // namespace bm::scalar

#include "kernels/encode_impl.h"
