// AWQ's grouped affine quantizer: groups of `group` consecutive inputs of each output row share a scale
// and a zero point. Source: AutoAWQ 0.2.9 quantizer.py pseudo_quantize_tensor; semantics.md 1.2.
//
//   s = max(hi - lo, 1e-5) / (2^bits - 1)     z = clamp(-round(lo / s), 0, 2^bits - 1)
//   q = clamp(round(w / s) + z, 0, 2^bits - 1)     value = (q - z) · s          round: half to even
//
// The peer does every operation in the weight's dtype, so each result is rounded to it ("precision").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/dtype.h"

namespace bm {

// Rounds float32 to the nearest float16 (half to even, overflow to infinity). Branch-free twin of
// round_to_f16, which compilers turn into vector code.
inline float round_to_f16_fast(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
  uint32_t rounded = (magnitude + 0xfffu + ((magnitude >> 13) & 1u)) & 0xffffe000u;
  rounded = rounded >= 0x47800000u ? 0x7f800000u : rounded;  // 65,536 and above
  float positive = std::bit_cast<float>(magnitude);
  float subnormal = (positive + 0.75f) - 0.75f;  // steps of 2^-24
  uint32_t result = magnitude < 0x38800000u ? std::bit_cast<uint32_t>(subnormal) : rounded;
  result = magnitude > 0x7f800000u ? 0x7fc00000u : result;  // NaN
  return std::bit_cast<float>(result | sign);
}

struct AwqGroupOptions {
  int64_t group = 128;           // divides the columns
  int bits = 4;                  // 2..8
  bool zero_point = true;        // false: symmetric, codes -2^(bits-1) .. 2^(bits-1)-1, no zero
  DType precision = DType::f32;  // f32, f16, bf16: what every operation is rounded to
  // The range of a group is widened to contain zero. AutoAWQ does not, and destroys groups whose values
  // all have one sign (constant 0.5 becomes 1e-5).
  bool widen_to_zero = false;
  // Arithmetic in float32, only the scale rounded to float16 as it is stored: no double rounding and no
  // overflow of hi - lo. Excludes `precision`.
  bool store_scale_f16 = false;
};

// Scale and zero of one group of options.group values.
struct AwqGroupParameters {
  float scale = 0, zero = 0;
};
AwqGroupParameters awq_group_parameters(const float* values, const AwqGroupOptions& options);

// Replaces weights [rows, columns] by what their codes decode to, groups along columns.
void awq_pseudo_quantize(float* weights, int64_t rows, int64_t columns, const AwqGroupOptions& options);
// The same for one row, or any run of whole groups.
void awq_pseudo_quantize_groups(float* values, int64_t count, const AwqGroupOptions& options);

struct AwqCodes {
  int64_t rows = 0, columns = 0, group = 0;
  std::vector<uint8_t> codes;  // [rows, columns]; two's complement when symmetric
  std::vector<float> scales;   // [rows, columns / group]
  std::vector<float> zeros;    // [rows, columns / group]; empty when symmetric
};
AwqCodes awq_quantize(std::span<const float> weights, int64_t rows, int64_t columns,
                      const AwqGroupOptions& options);
// Only scales and zeros (codes stays empty).
AwqCodes awq_quantize_parameters(std::span<const float> weights, int64_t rows, int64_t columns,
                                 const AwqGroupOptions& options);
// (code - zero) · scale, rounded to float16 as AutoAWQ's dequantize_gemm does: [rows, columns].
std::vector<float> awq_dequantize(const AwqCodes& codes);

}  // namespace bm
