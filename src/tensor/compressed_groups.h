// Symmetric integer weights as compressed-tensors stores them: pack-quantized 4-bit groups, int8 channels.
// Source: compressed-tensors 0.20 quantization/utils/helpers.py calculate_qparams,
// compressors/pack_quantized.
//
//   scale = max |w| / ((2^bits − 1) / 2), in the weight's dtype; its epsilon for a group of zeros
//   code = clamp(round(w / scale), −2^(bits−1), 2^(bits−1) − 1), the quotient rounded to the dtype first
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace bm {

struct CompressedGroups {
  int bits = 4;
  int64_t group = 128;       // inputs that share a scale; divides the columns
  DType dtype = DType::f16;  // of the weight: f32, f16, bf16
};

// scales [rows, columns / group], values of the dtype.
void compressed_scales(const float* weights, int64_t rows, int64_t columns, const CompressedGroups& options,
                       float* scales);
// codes [rows, columns], for scales as above.
void compressed_codes(const float* weights, int64_t rows, int64_t columns, const CompressedGroups& options,
                      const float* scales, int8_t* codes);
// Eight 4-bit codes a word, each plus 8, rows padded to whole words: [rows, ⌈columns / 8⌉].
void compressed_pack(const int8_t* codes, int64_t rows, int64_t columns, int32_t* words);

}  // namespace bm
