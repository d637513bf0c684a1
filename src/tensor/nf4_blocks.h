// bitsandbytes' 4-bit blocks: NF4 and FP4, with or without double quantization of the block maxima.
// Source: bitsandbytes 0.50.2 functional.py and its CPU backend; semantics.md 1.3 and part 0, items 27-29.
//
//   values are flattened row-major and cut in blocks of `block`; absmax = max |x|
//   y = clip(x · (1 / max(absmax, 1e-38)), -1, 1)     code = nearest of the 16 values, the lower on a
//   midpoint bytes = (even code << 4) | odd code; an odd count is padded with y = 0 a partial last block
//   divides by max(absmax, 1e-38) instead, and stores that
// Double quantization: offset = mean(absmax); blocks of 256 of absmax - offset become 8-bit codes of a
// signed dynamic map, looked up through a 65,536-entry table as the CPU backend does.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/dtype.h"

namespace bm {

enum class FourBitKind : uint8_t { nf4, fp4 };

// The 16 values by code (quant_map); FP4's codes 8 + k are the negatives.
const std::array<float, 16>& four_bit_map(FourBitKind kind);
// The 256 values of the signed dynamic 8-bit map, ascending (nested_quant_map).
const std::array<float, 256>& dynamic_map();

// The map in ascending order: what lies between neighbours decides the code, the lower one on a midpoint.
struct FourBitRanks {
  std::array<float, 15> midpoints;
  std::array<uint8_t, 16> codes;
};
const FourBitRanks& four_bit_ranks(FourBitKind kind);

// Block sizes the format knows: powers of two, 32..4096.
bool is_four_bit_block(int64_t block);
inline int64_t four_bit_bytes(int64_t count) { return (count + 1) / 2; }
inline int64_t four_bit_blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }

// absmax as stored, [four_bit_blocks(count, block)].
void four_bit_absmax(const float* values, int64_t count, int64_t block, float* absmax);
// Packed bytes, [four_bit_bytes(count)].
void four_bit_encode(FourBitKind kind, const float* values, int64_t count, int64_t block, uint8_t* packed);
// code · absmax rounded to `dtype` (f32, f16, bf16), as float32.
void four_bit_decode(FourBitKind kind, const uint8_t* packed, const float* absmax, int64_t count,
                     int64_t block, DType dtype, float* out);
// The same with the map stored in the file.
void four_bit_decode(std::span<const float, 16> map, const uint8_t* packed, const float* absmax,
                     int64_t count, int64_t block, DType dtype, float* out);

inline constexpr int64_t kNestedBlock = 256;
struct NestedAbsmax {
  float offset = 0;
  std::vector<uint8_t> codes;  // [blocks]
  std::vector<float> absmax;   // [⌈blocks / 256⌉], the nested maxima
};
// Mean in double precision, rounded once (the peer's float32 sum may differ by 2 units in the last place).
NestedAbsmax nest_absmax(std::span<const float> absmax);
// With the offset given, for comparison with the peer's.
NestedAbsmax nest_absmax(std::span<const float> absmax, float offset);
// map[code] · nested absmax + offset, [codes.size()].
std::vector<float> unnest_absmax(std::span<const uint8_t> codes, std::span<const float> nested_absmax,
                                 std::span<const float, 256> map, float offset,
                                 int64_t nested_block = kNestedBlock);

}  // namespace bm
