// Kernels of merging: plain loops over arrays, written once and compiled once per instruction set. Nothing
// here may depend on the width of the machine: sums run in 16 lanes of double that meet in a fixed tree, and
// the build allows no contraction, so every instruction set gives the same bits. See products_impl.h for the
// rules of these files.
#pragma once

#include "kernels/merge.h"

namespace bm::BM_ISA {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffffu;

constexpr int kLaneCount = 16;

inline uint32_t bits_of(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  return u;
}
inline float float_of(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

// Eight floats widened to double: one zmm, two ymm, or an array.
typedef float Floats8 __attribute__((vector_size(32)));
typedef double Doubles8 __attribute__((vector_size(64)));
inline void widen(const float* p, Doubles8& out) {
  Floats8 x;
  __builtin_memcpy(&x, p, sizeof x);
  out = __builtin_convertvector(x, Doubles8);
}
// Lanes 0..7 and 8..15: lane i + lane i+8, then +4, +2, +1.
inline double tree(const Doubles8& low, const Doubles8& high) {
  double t[8];
  for (int i = 0; i < 8; ++i) t[i] = low[i] + high[i];
  for (int i = 0; i < 4; ++i) t[i] = t[i] + t[i + 4];
  for (int i = 0; i < 2; ++i) t[i] = t[i] + t[i + 2];
  return t[0] + t[1];
}
inline void padded(const float* p, int64_t count, float* out) {
  for (int i = 0; i < kLaneCount; ++i) out[i] = i < count ? p[i] : 0.0f;
}

inline uint32_t bf16_grid(uint32_t u) {  // the float's bits after rounding to bf16, NaN kept
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
  uint32_t nan = (u | 0x400000u) & 0xffff0000u;
  return (u & kMagnitude) > 0x7f800000u ? nan : rounded;
}

void narrow_bf16(int64_t count, const float* in, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<uint16_t>(bf16_grid(bits_of(in[i])) >> 16);
}

void round_bf16(int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] = float_of(bf16_grid(bits_of(x[i])));
}

void moments(int64_t count, const float* x, const float* y, double* sums) {
  Doubles8 xx[2] = {}, yy[2] = {}, xy[2] = {};
  auto add = [&](const float* p, const float* q) {
    for (int half = 0; half < 2; ++half) {
      Doubles8 a, b;
      widen(p + 8 * half, a);
      widen(q + 8 * half, b);
      xx[half] += a * a;
      yy[half] += b * b;
      xy[half] += a * b;
    }
  };
  int64_t i = 0;
  for (; i + kLaneCount <= count; i += kLaneCount) add(x + i, y + i);
  if (i < count) {
    float p[kLaneCount], q[kLaneCount];
    padded(x + i, count - i, p);
    padded(y + i, count - i, q);
    add(p, q);
  }
  sums[0] = tree(xx[0], xx[1]);
  sums[1] = tree(yy[0], yy[1]);
  sums[2] = tree(xy[0], xy[1]);
}

double absolute_sum(int64_t count, const float* x) {
  Doubles8 total[2] = {};
  auto add = [&](const float* p) {
    float a[kLaneCount];
    for (int j = 0; j < kLaneCount; ++j) a[j] = float_of(bits_of(p[j]) & kMagnitude);
    for (int half = 0; half < 2; ++half) {
      Doubles8 wide;
      widen(a + 8 * half, wide);
      total[half] += wide;
    }
  };
  int64_t i = 0;
  for (; i + kLaneCount <= count; i += kLaneCount) add(x + i);
  if (i < count) {
    float p[kLaneCount];
    padded(x + i, count - i, p);
    add(p);
  }
  return tree(total[0], total[1]);
}

void blend(int64_t count, float a, const float* x, float b, const float* y, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = a * x[i] + b * y[i];
}

void accumulate(int64_t count, double weight, const float* x, float* sum) {
  for (int64_t i = 0; i < count; ++i)
    sum[i] = static_cast<float>(static_cast<double>(sum[i]) + static_cast<double>(x[i]) * weight);
}

void subtract(int64_t count, const float* x, const float* y, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = x[i] - y[i];
}

void multiply(int64_t count, float factor, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] = x[i] * factor;
}

int64_t collect(int64_t count, const float* x, uint32_t low, uint32_t high, uint32_t* keys,
                uint32_t* positions, int64_t* below) {
  int64_t found = 0, smaller = 0;
  const uint32_t width = high - low;
  auto append = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      uint32_t key = bits_of(x[i]) & kMagnitude;
      keys[found] = key;
      positions[found] = static_cast<uint32_t>(i);
      found += key - low < width;
    }
  };
  constexpr int64_t step = 64;
  int64_t i = 0;
  for (; i + step <= count; i += step) {
    uint32_t inside = 0, under = 0;
    for (int64_t j = 0; j < step; ++j) {
      uint32_t key = bits_of(x[i + j]) & kMagnitude;
      inside += key - low < width ? 1u : 0u;
      under += key < low ? 1u : 0u;
    }
    smaller += under;
    if (inside) append(i, i + step);
  }
  for (int64_t j = i; j < count; ++j) smaller += (bits_of(x[j]) & kMagnitude) < low;
  append(i, count);
  *below = smaller;
  return found;
}

void keep_from(int64_t count, uint32_t key, float* x) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t u = bits_of(x[i]);
    x[i] = float_of((u & kMagnitude) >= key ? u : 0u);
  }
}

void keep_bits(int64_t count, const uint64_t* words, float* x) {
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const uint64_t word = words[i / 64];
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t bits = static_cast<uint32_t>(word >> (32 * half));
      float* p = x + i + 32 * half;
      for (uint32_t j = 0; j < 32; ++j) p[j] = float_of(bits_of(p[j]) & (0u - ((bits >> j) & 1u)));
    }
  }
  for (; i < count; ++i)
    if (!((words[i / 64] >> (i & 63)) & 1)) x[i] = 0.0f;
}

// Philox4x32-10 of 16 consecutive counters: word w of counter j at out[w][j].
inline void philox16(uint64_t seed, uint64_t purpose, uint64_t first, uint32_t out[4][kLaneCount]) {
  for (int j = 0; j < kLaneCount; ++j) {
    const uint64_t index = first + static_cast<uint64_t>(j);
    uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = static_cast<uint32_t>(purpose), c3 = static_cast<uint32_t>(purpose >> 32);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
      c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(b);
      c3 = static_cast<uint32_t>(a);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    out[0][j] = c0;
    out[1][j] = c1;
    out[2][j] = c2;
    out[3][j] = c3;
  }
}

void random_bits(uint64_t seed, uint64_t purpose, uint64_t first, int64_t words, uint32_t threshold,
                 uint64_t* out) {
  for (int64_t n = 0; n < words; ++n) {
    uint32_t drawn[4][kLaneCount];
    philox16(seed, purpose, (first + static_cast<uint64_t>(n)) * kLaneCount, drawn);
    uint64_t bits = 0;
    for (uint32_t w = 0; w < 4; ++w) {
      uint64_t nibbles = 0;
      for (uint32_t j = 0; j < kLaneCount; ++j)
        nibbles |= static_cast<uint64_t>((drawn[w][j] >> 8) < threshold ? 1u : 0u) << (4 * j);
      bits |= nibbles << w;
    }
    out[n] = bits;
  }
}

// One stretch of at most kStretch elements, sums and votes in double.
constexpr int64_t kStretch = 512;
void combine_stretch(const CombineArguments& a, int64_t begin, int64_t n) {
  double sum[kStretch], divisor[kStretch], kept[kStretch];
  for (int64_t i = 0; i < n; ++i) sum[i] = 0;
  for (int k = 0; k < a.vectors; ++k) {
    const float* d = a.d[k] + begin;
    const double w = a.weights[k];
    for (int64_t i = 0; i < n; ++i) sum[i] += static_cast<double>(d[i]) * w;
  }
  if (a.consensus) {
    for (int64_t i = 0; i < n; ++i) kept[i] = divisor[i] = 0;
    for (int k = 0; k < a.vectors; ++k) {
      const float* d = a.d[k] + begin;
      const double w = a.weights[k];
      for (int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(d[i]) * w;
        const double along = sum[i] >= 0 ? x : -x;  // positive where its sign is the elected one
        kept[i] += along > 0 ? x : 0.0;
        divisor[i] += along > 0 ? w : 0.0;
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      sum[i] = kept[i];
      divisor[i] = divisor[i] == 0 ? 1.0 : divisor[i];
    }
  } else {
    for (int64_t i = 0; i < n; ++i) divisor[i] = a.all_weights;
  }
  const float* base = a.base + begin;
  float* out = a.out + begin;
  if (a.normalize)
    for (int64_t i = 0; i < n; ++i) sum[i] = sum[i] / divisor[i];
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<float>(static_cast<double>(base[i]) + sum[i] * a.lambda);
}

void combine(const CombineArguments& a) {
  for (int64_t begin = 0; begin < a.count; begin += kStretch)
    combine_stretch(a, begin, a.count - begin < kStretch ? a.count - begin : kStretch);
}

}  // namespace

extern const MergeKernels merge;
const MergeKernels merge = {
    narrow_bf16, round_bf16, moments,   absolute_sum, blend,       accumulate, subtract,
    multiply,    collect,    keep_from, keep_bits,    random_bits, combine,
};

}  // namespace bm::BM_ISA
