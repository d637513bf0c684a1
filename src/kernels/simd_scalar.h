// 16 lanes as an array: the definition the other instruction sets must match bit for bit. Compiled for any
// x86-64 (or anything else); std::fma is exact whether the machine has the instruction or not.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tensor/dtype.h"

namespace bm::scalar {
namespace {

struct Bf16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
struct Lanes {
  float v[16];
};

template <class F>
inline Lanes each(F f) {
  Lanes out;
  for (int i = 0; i < 16; ++i) out.v[i] = f(i);
  return out;
}
inline Lanes load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline Lanes load(const Bf16* p) {
  return each([&](int i) { return bf16_to_f32(p[i].bits); });
}
inline Lanes load(const Half* p) {
  return each([&](int i) { return f16_to_f32(p[i].bits); });
}
inline void store(float* p, const Lanes& a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
inline Lanes set1(float x) {
  return each([&](int) { return x; });
}
inline Lanes add(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
inline Lanes sub(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
inline Lanes mul(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
inline Lanes div(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
// a·b + c with one rounding.
inline Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
// a > b ? a : b, as maxps.
inline Lanes max(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
// a < b ? a : b, as minps.
inline Lanes min(const Lanes& a, const Lanes& b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
// a < b ? x : y
inline Lanes select_less(const Lanes& a, const Lanes& b, const Lanes& x, const Lanes& y) {
  return each([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
// a · 2^n where the low bits of `shifted`'s pattern hold n; a is near 1.
inline Lanes scale_by_bits(const Lanes& a, const Lanes& shifted) {
  return each([&](int i) {
    return std::bit_cast<float>(std::bit_cast<uint32_t>(a.v[i]) +
                                (std::bit_cast<uint32_t>(shifted.v[i]) << 23));
  });
}
inline Lanes lane_index() {
  return each([](int i) { return static_cast<float>(i); });
}
// The fixed tree: lane i + lane i+8, then +4, +2, +1.
inline float sum(const Lanes& a) {
  float t[8];
  for (int i = 0; i < 8; ++i) t[i] = a.v[i] + a.v[i + 8];
  for (int i = 0; i < 4; ++i) t[i] = t[i] + t[i + 4];
  for (int i = 0; i < 2; ++i) t[i] = t[i] + t[i + 2];
  return t[0] + t[1];
}
inline float maximum(const Lanes& a) {
  float t[8];
  for (int i = 0; i < 8; ++i) t[i] = a.v[i] > a.v[i + 8] ? a.v[i] : a.v[i + 8];
  for (int i = 0; i < 4; ++i) t[i] = t[i] > t[i + 4] ? t[i] : t[i + 4];
  for (int i = 0; i < 2; ++i) t[i] = t[i] > t[i + 2] ? t[i] : t[i + 2];
  return t[0] > t[1] ? t[0] : t[1];
}
// Arithmetic in which numbers below the smallest normal one are zero: nothing to switch on here, pair_fma
// does it.
struct TinyIsZero {
  TinyIsZero() {}
};
inline float zero_if_tiny(float x) {
  return (std::bit_cast<uint32_t>(x) & 0x7f800000u) == 0 ? std::copysign(0.0f, x) : x;
}
inline float pair_fma(float a, float b, float c) {
  a = zero_if_tiny(a);
  b = zero_if_tiny(b);
  float sum = std::fma(a, b, c);
  // Rounded up to the smallest normal number from below it: the machine looks at the number rounded with an
  // exponent of any size, which is then still smaller.
  if (std::fabs(sum) == 0x1p-126f && std::fabs(std::fma(a * 0x1p32f, b, c * 0x1p32f)) < 0x1p-94f) {
    return std::copysign(0.0f, sum);
  }
  return zero_if_tiny(sum);
}
inline Lanes pair_fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return each([&](int i) { return pair_fma(a.v[i], b.v[i], c.v[i]); });
}
inline void prefetch(const void*) {}
inline void prefetch_later(const void*) {}

}  // namespace
}  // namespace bm::scalar
