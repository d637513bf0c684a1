#include "tensor/compressed_groups.h"

#include <algorithm>
#include <cmath>

#include "tensor/awq_groups.h"

namespace bm {
namespace {

float rounded(DType dtype, float value) {
  if (dtype == DType::bf16) return round_to_bf16(value);
  return dtype == DType::f16 ? round_to_f16_fast(value) : value;
}

// torch.finfo(dtype).eps
float epsilon_of(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-7f : dtype == DType::f16 ? 0x1p-10f : 0x1p-23f;
}

}  // namespace

void compressed_scales(const float* weights, int64_t rows, int64_t columns, const CompressedGroups& options,
                       float* scales) {
  const float half_range = static_cast<float>((1 << options.bits) - 1) / 2.0f;
  for (int64_t g = 0; g < rows * (columns / options.group); ++g, weights += options.group) {
    float top = 0;
    for (int64_t i = 0; i < options.group; ++i) top = std::max(top, std::fabs(weights[i]));
    float scale = rounded(options.dtype, top / half_range);
    scales[g] = scale == 0 ? epsilon_of(options.dtype) : scale;
  }
}

void compressed_codes(const float* weights, int64_t rows, int64_t columns, const CompressedGroups& options,
                      const float* scales, int8_t* codes) {
  const auto most = static_cast<float>((1 << (options.bits - 1)) - 1), least = -most - 1.0f;
  for (int64_t g = 0; g < rows * (columns / options.group); ++g) {
    const float* w = weights + g * options.group;
    for (int64_t i = 0; i < options.group; ++i) {
      float quotient = std::clamp(rounded(options.dtype, w[i] / scales[g]), least, most);
      codes[g * options.group + i] = static_cast<int8_t>(std::nearbyint(quotient));
    }
  }
}

void compressed_pack(const int8_t* codes, int64_t rows, int64_t columns, int32_t* words) {
  int64_t width = (columns + 7) / 8;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < width; ++k) {
      uint32_t word = 0;
      for (int64_t i = 8 * k; i < std::min(columns, 8 * k + 8); ++i)
        word |= static_cast<uint32_t>(codes[r * columns + i] + 8) << (4 * (i % 8));
      words[r * width + k] = static_cast<int32_t>(word);
    }
}

}  // namespace bm
