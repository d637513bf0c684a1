// Body of minhash, compiled once per instruction set. Lanes are independent, so the compiler's vectors
// give the same bits as its scalars.
#pragma once

#include "kernels/minhash.h"

// Nothing here may be shared between files of different instruction sets.
namespace {

// `Lanes` functions at a time stay in registers while the values pass.
template <size_t Lanes>
inline void minhash_block(const uint64_t* values, size_t count, const uint64_t* a, const uint64_t* b,
                          uint64_t* out) {
  constexpr uint64_t prime = (uint64_t{1} << 61) - 1;
  uint64_t factor[Lanes], summand[Lanes], least[Lanes];
  for (size_t k = 0; k < Lanes; ++k) {
    factor[k] = a[k];
    summand[k] = b[k];
    least[k] = ~uint64_t{0};
  }
  for (size_t i = 0; i < count; ++i) {
    const uint64_t value = values[i];
    for (size_t k = 0; k < Lanes; ++k) {
      const uint64_t x = factor[k] * value + summand[k];
      const uint64_t folded = (x & prime) + (x >> 61);  // < 2^61 + 7: one subtraction at most
      const uint64_t rest = folded - prime < folded ? folded - prime : folded;
      least[k] = rest < least[k] ? rest : least[k];
    }
  }
  for (size_t k = 0; k < Lanes; ++k) out[k] = least[k];
}

inline void minhash_all(const uint64_t* values, size_t count, const uint64_t* a, const uint64_t* b,
                        size_t hashes, uint64_t* out) {
  size_t k = 0;
  for (; k + 56 <= hashes; k += 56) minhash_block<56>(values, count, a + k, b + k, out + k);
  for (; k < hashes; k += 8) minhash_block<8>(values, count, a + k, b + k, out + k);
}

}  // namespace
