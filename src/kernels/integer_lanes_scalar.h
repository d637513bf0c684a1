// 16 int32 lanes and 64 weight codes as arrays: what the other instruction sets must match bit for bit.
#pragma once

#include "kernels/simd_scalar.h"

namespace bm::scalar {
namespace {

struct Ints {
  int32_t v[16];
};
struct Codes {
  uint8_t v[64];
};

template <class F>
inline Ints each_int(F f) {
  Ints out;
  for (int i = 0; i < 16; ++i) out.v[i] = f(i);
  return out;
}
template <class F>
inline Codes each_code(F f) {
  Codes out;
  for (int i = 0; i < 64; ++i) out.v[i] = static_cast<uint8_t>(f(i));
  return out;
}
inline Codes load_codes(const uint8_t* p) {
  return each_code([&](int i) { return p[i]; });
}
inline void store_codes(uint8_t* p, const Codes& c) { __builtin_memcpy(p, c.v, 64); }
inline Codes load_table(const uint8_t* p) {
  return each_code([&](int i) { return p[i % 16]; });
}
inline Codes low_nibbles(const Codes& c) {
  return each_code([&](int i) { return c.v[i] & 15; });
}
inline Codes high_nibbles(const Codes& c) {
  return each_code([&](int i) { return c.v[i] >> 4; });
}
inline Codes look_up(const Codes& table, const Codes& index) {
  return each_code([&](int i) { return table.v[index.v[i]]; });
}
inline Codes make_signed(const Codes& c) { return c; }
inline Codes spread(const int8_t* p) {
  return each_code([&](int i) { return p[i % 4]; });
}
inline Ints ints1(int32_t x) {
  return each_int([&](int) { return x; });
}
template <bool wide>
inline Ints dot(const Ints& sum, const Codes& w, const Codes& x) {
  return each_int([&](int i) {
    int32_t total = sum.v[i];
    for (int j = 0; j < 4; ++j) total += w.v[4 * i + j] * static_cast<int8_t>(x.v[4 * i + j]);
    return total;
  });
}
inline Ints add_ints(const Ints& a, const Ints& b) {
  return each_int([&](int i) { return a.v[i] + b.v[i]; });
}
inline Ints sub_ints(const Ints& a, int32_t b) {
  return each_int([&](int i) { return a.v[i] - b; });
}
inline int32_t sum_ints(const Ints& a) {
  int32_t total = 0;
  for (int32_t x : a.v) total += x;
  return total;
}
inline Lanes to_float(const Ints& a) {
  return each([&](int i) { return static_cast<float>(a.v[i]); });
}
// To nearest, ties to even: adding 1.5·2^23 leaves the rounded number in the low bits. |a| < 2^22.
inline Ints to_ints(const Lanes& a) {
  return each_int([&](int i) {
    volatile float shifted = a.v[i] + 12582912.0f;
    return static_cast<int32_t>(shifted - 12582912.0f);
  });
}
template <int J>
inline Ints byte_of(const Codes& c) {
  return each_int([&](int i) { return c.v[4 * i + J]; });
}
inline Lanes pick(const float* values, const Ints& index) {
  return each([&](int i) { return values[index.v[i]]; });
}
// 16 bytes as lanes.
inline Ints load_bytes(const uint8_t* p) {
  return each_int([&](int i) { return p[i]; });
}
inline Ints signed_bytes(const uint8_t* p) {
  return each_int([&](int i) { return static_cast<int8_t>(p[i]); });
}
inline void store_bytes(int8_t* p, const Ints& a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
}
inline Lanes magnitude(const Lanes& a) {
  return each([&](int i) { return __builtin_fabsf(a.v[i]); });
}
inline Lanes round_f16(const Lanes& a) {
  return each([&](int i) { return bm::round_to_f16(a.v[i]); });
}
inline Lanes round_bf16(const Lanes& a) {
  return each([&](int i) { return bm::round_to_bf16(a.v[i]); });
}
inline Lanes load_part(const float* p, int64_t count) {
  return each([&](int i) { return i < count ? p[i] : 0.0f; });
}

}  // namespace
}  // namespace bm::scalar
