#include "tensor/dtype.h"

#include <array>
#include <string>

namespace bm {
namespace {

struct Row {
  DType type;
  unsigned bits;
  std::string_view name, torch;
};
constexpr std::array kRows{
    Row{DType::f64, 64, "F64", "float64"},
    Row{DType::f32, 32, "F32", "float32"},
    Row{DType::f16, 16, "F16", "float16"},
    Row{DType::bf16, 16, "BF16", "bfloat16"},
    Row{DType::i64, 64, "I64", "int64"},
    Row{DType::i32, 32, "I32", "int32"},
    Row{DType::i16, 16, "I16", "int16"},
    Row{DType::i8, 8, "I8", "int8"},
    Row{DType::u64, 64, "U64", "uint64"},
    Row{DType::u32, 32, "U32", "uint32"},
    Row{DType::u16, 16, "U16", "uint16"},
    Row{DType::u8, 8, "U8", "uint8"},
    Row{DType::boolean, 8, "BOOL", "bool"},
    Row{DType::f8_e4m3, 8, "F8_E4M3", "float8_e4m3fn"},
    Row{DType::f8_e5m2, 8, "F8_E5M2", "float8_e5m2"},
    Row{DType::f8_e8m0, 8, "F8_E8M0", "float8_e8m0fnu"},
    Row{DType::f8_e4m3fnuz, 8, "F8_E4M3FNUZ", "float8_e4m3fnuz"},
    Row{DType::f8_e5m2fnuz, 8, "F8_E5M2FNUZ", "float8_e5m2fnuz"},
    Row{DType::f6_e2m3, 6, "F6_E2M3", "float6_e2m3fn"},
    Row{DType::f6_e3m2, 6, "F6_E3M2", "float6_e3m2fn"},
    Row{DType::f4, 4, "F4", "float4_e2m1fn_x2"},
    Row{DType::c64, 64, "C64", "complex64"},
};

const Row& row_of(DType type) { return kRows[static_cast<size_t>(type)]; }

}  // namespace

unsigned dtype_bits(DType type) { return row_of(type).bits; }
std::string_view dtype_name(DType type) { return row_of(type).name; }
std::string_view dtype_torch_name(DType type) { return row_of(type).torch; }

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row.type;
  return std::nullopt;
}

std::optional<DType> dtype_from_user(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  if (name == "half") return DType::f16;
  if (name == "float") return DType::f32;
  for (const Row& row : kRows) {
    if (row.torch == name) return row.type;
    std::string lower;
    for (char c : row.name) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if (lower == name || row.name == name) return row.type;
  }
  return std::nullopt;
}

float f16_to_f32(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 0x1fu;
  uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {
    float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

uint16_t f32_to_f16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 65536 or more
  if (bits < 0x38800000u) {                                               // subnormal or zero in f16
    // Adding 0.5 puts the last kept bit of the fraction at 2^-24: the FPU rounds to nearest even.
    float shifted = std::bit_cast<float>(bits) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace bm
