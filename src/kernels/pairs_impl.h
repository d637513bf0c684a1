// Products of bfloat16 pairs, written once over Lanes: the bits of vdpbf16ps for machines without it. See
// products_impl.h for the rules of these files; included after it.
#pragma once

#include "kernels/kernels.h"

namespace bm::BM_ISA {
namespace {

inline Lanes broadcast_bf16(const uint16_t* word) {
  Bf16 copies[kLanes];
  for (int i = 0; i < kLanes; ++i) copies[i].bits = *word;
  return load(copies);
}

// C[MR][columns] of one panel.
template <int MR>
[[gnu::noinline]] void pair_tile(const PairArguments& g, const uint16_t* a, const uint16_t* b, float* c,
                                 int64_t columns) {
  const Bf16 none[kLanes] = {};
  const uint16_t nothing = 0;
  Lanes sums[MR];
  for (int r = 0; r < MR; ++r) sums[r] = set1(0.0f);
  {
    const TinyIsZero tiny;
    for (int64_t i = 0; i < g.k; i += 2) {
      const bool odd = i + 1 < g.k;
      const Bf16* words = reinterpret_cast<const Bf16*>(b + i * kLanes);
      const Lanes first = load(words), second = load(odd ? words + kLanes : none);
#pragma GCC unroll 4
      for (int r = 0; r < MR; ++r) {
        const uint16_t* pair = a + r * g.a_row + i;
        sums[r] = pair_fma(broadcast_bf16(odd ? pair + 1 : &nothing), second, sums[r]);
        sums[r] = pair_fma(broadcast_bf16(pair), first, sums[r]);
      }
    }
  }
  for (int r = 0; r < MR; ++r) {
    float part[kLanes];
    store(part, sums[r]);
    float* out = c + r * g.c_row;
    for (int64_t j = 0; j < columns; ++j) out[j] = g.accumulate ? out[j] + part[j] : part[j];
  }
}

void pair_products(const PairArguments& g) {
  for (int64_t column = 0; column < g.n; column += kLanes) {
    const uint16_t* b = g.b + column / kLanes * g.b_panel;
    const int64_t columns = g.n - column < kLanes ? g.n - column : int64_t{kLanes};
    int64_t row = 0;
    for (; row + 4 <= g.m; row += 4)
      pair_tile<4>(g, g.a + row * g.a_row, b, g.c + row * g.c_row + column, columns);
    for (; row < g.m; ++row) pair_tile<1>(g, g.a + row * g.a_row, b, g.c + row * g.c_row + column, columns);
  }
}

void round_bf16(int64_t count, const float* in, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, in + i, sizeof(bits));
    const uint32_t size = bits & 0x7fffffffu;
    uint32_t word = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    word = size > 0x7f800000u ? (bits >> 16) | 0x40u : word;  // NaN stays NaN
    word = size < 0x00800000u ? (bits >> 16) & 0x8000u : word;
    out[i] = static_cast<uint16_t>(word);
  }
}

}  // namespace

extern const PairKernels pairs;
const PairKernels pairs = {false, pair_products, round_bf16};

}  // namespace bm::BM_ISA
