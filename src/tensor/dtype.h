// Element types as safetensors names them, and conversions of the 16-bit floats.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace bm {

enum class DType : uint8_t {
  f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean,
  f8_e4m3, f8_e5m2, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz, f6_e2m3, f6_e3m2, f4, c64,
};

// Bits of one element (4, 6 and 8 bit floats included).
unsigned dtype_bits(DType type);
// "F32", "BF16", … as in a safetensors header; and back.
std::string_view dtype_name(DType type);
std::optional<DType> dtype_from_safetensors(std::string_view name);
// Both habits of users and configs: f32/float32, bf16/bfloat16, f16/float16, "torch." prefix allowed.
std::optional<DType> dtype_from_user(std::string_view name);
// "float32", "bfloat16", … as configs write it.
std::string_view dtype_torch_name(DType type);

// bf16: the upper half of a float32. Rounding is to nearest even; NaN stays NaN (quieted).
inline float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
inline uint16_t f32_to_bf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);  // to nearest even; overflow gives infinity
inline float round_to_bf16(float value) { return bf16_to_f32(f32_to_bf16(value)); }
inline float round_to_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

}  // namespace bm
