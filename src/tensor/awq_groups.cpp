#include "tensor/awq_groups.h"

#include <algorithm>
#include <cmath>

namespace bm {
namespace {

// Nearest integer, half to even; exact for |v| < 2^22, which the clamp before it ensures.
inline float round_even(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2^23
  return (v + kMagic) - kMagic;
}

struct RoundF32 {
  static float round(float v) { return v; }
};
struct RoundF16 {
  static float round(float v) { return round_to_f16_fast(v); }
};
struct RoundBf16 {
  static float round(float v) { return round_to_bf16(v); }
};

// Codes are clamped to at most 8 bits afterwards, so quotients beyond this never matter. NaN (0/0 cannot
// happen: scales are positive) passes through.
constexpr float kQuotientLimit = 1024.0f;

template <class R>
AwqGroupParameters parameters(const float* w, const AwqGroupOptions& o) {
  float hi = w[0], lo = w[0];
  for (int64_t i = 1; i < o.group; ++i) {
    hi = w[i] > hi ? w[i] : hi;
    lo = w[i] < lo ? w[i] : lo;
  }
  auto levels = static_cast<float>((1 << o.bits) - 1);
  float floor = R::round(1e-5f);
  AwqGroupParameters p;
  if (!o.zero_point) {
    auto top = static_cast<float>((1 << (o.bits - 1)) - 1);
    p.scale = R::round(std::max(std::max(hi, -lo), floor) / top);
    if (o.store_scale_f16) p.scale = round_to_f16_fast(p.scale);
    return p;
  }
  if (o.widen_to_zero) {
    hi = std::max(hi, 0.0f);
    lo = std::min(lo, 0.0f);
  }
  p.scale = R::round(std::max(R::round(hi - lo), floor) / levels);
  if (o.store_scale_f16) p.scale = round_to_f16_fast(p.scale);
  float quotient = std::clamp(R::round(lo / p.scale), -kQuotientLimit, kQuotientLimit);
  p.zero = std::clamp(-round_even(quotient), 0.0f, levels);
  return p;
}

template <class R>
inline float code_of(float w, const AwqGroupParameters& p, float least, float most) {
  float quotient = std::clamp(R::round(w / p.scale), -kQuotientLimit, kQuotientLimit);
  return std::clamp(round_even(quotient) + p.zero, least, most);
}

struct CodeRange {
  float least, most;
};
CodeRange code_range(const AwqGroupOptions& o) {
  if (o.zero_point) return {0.0f, static_cast<float>((1 << o.bits) - 1)};
  auto half = static_cast<float>(1 << (o.bits - 1));
  return {-half, half - 1};
}

template <class R>
void pseudo_quantize(float* values, int64_t count, const AwqGroupOptions& o) {
  CodeRange range = code_range(o);
  for (int64_t begin = 0; begin < count; begin += o.group) {
    float* w = values + begin;
    AwqGroupParameters p = parameters<R>(w, o);
    for (int64_t i = 0; i < o.group; ++i) {
      float q = code_of<R>(w[i], p, range.least, range.most);
      w[i] = R::round((q - p.zero) * p.scale);
    }
  }
}

template <class R>
void quantize_into(std::span<const float> weights, const AwqGroupOptions& o, bool with_codes, AwqCodes& out) {
  CodeRange range = code_range(o);
  auto groups = static_cast<int64_t>(weights.size()) / o.group;
  for (int64_t g = 0; g < groups; ++g) {
    const float* w = weights.data() + g * o.group;
    AwqGroupParameters p = parameters<R>(w, o);
    out.scales[static_cast<size_t>(g)] = p.scale;
    if (o.zero_point) out.zeros[static_cast<size_t>(g)] = p.zero;
    if (!with_codes) continue;
    uint8_t* codes = out.codes.data() + g * o.group;
    for (int64_t i = 0; i < o.group; ++i)
      codes[i] = static_cast<uint8_t>(static_cast<int32_t>(code_of<R>(w[i], p, range.least, range.most)));
  }
}

AwqCodes quantize(std::span<const float> weights, int64_t rows, int64_t columns, const AwqGroupOptions& o,
                  bool with_codes) {
  AwqCodes out;
  out.rows = rows;
  out.columns = columns;
  out.group = o.group;
  auto groups = static_cast<size_t>(rows * columns / o.group);
  if (with_codes) out.codes.resize(weights.size());
  out.scales.resize(groups);
  if (o.zero_point) out.zeros.resize(groups);
  switch (o.precision) {
    case DType::f16:
      quantize_into<RoundF16>(weights, o, with_codes, out);
      break;
    case DType::bf16:
      quantize_into<RoundBf16>(weights, o, with_codes, out);
      break;
    default:
      quantize_into<RoundF32>(weights, o, with_codes, out);
      break;
  }
  return out;
}

}  // namespace

AwqGroupParameters awq_group_parameters(const float* values, const AwqGroupOptions& options) {
  switch (options.precision) {
    case DType::f16:
      return parameters<RoundF16>(values, options);
    case DType::bf16:
      return parameters<RoundBf16>(values, options);
    default:
      return parameters<RoundF32>(values, options);
  }
}

void awq_pseudo_quantize_groups(float* values, int64_t count, const AwqGroupOptions& options) {
  switch (options.precision) {
    case DType::f16:
      pseudo_quantize<RoundF16>(values, count, options);
      break;
    case DType::bf16:
      pseudo_quantize<RoundBf16>(values, count, options);
      break;
    default:
      pseudo_quantize<RoundF32>(values, count, options);
      break;
  }
}

void awq_pseudo_quantize(float* weights, int64_t rows, int64_t columns, const AwqGroupOptions& options) {
  awq_pseudo_quantize_groups(weights, rows * columns, options);
}

AwqCodes awq_quantize(std::span<const float> weights, int64_t rows, int64_t columns,
                      const AwqGroupOptions& options) {
  return quantize(weights, rows, columns, options, true);
}

AwqCodes awq_quantize_parameters(std::span<const float> weights, int64_t rows, int64_t columns,
                                 const AwqGroupOptions& options) {
  return quantize(weights, rows, columns, options, false);
}

std::vector<float> awq_dequantize(const AwqCodes& c) {
  std::vector<float> out(c.codes.size());
  auto groups = static_cast<int64_t>(c.scales.size());
  for (int64_t g = 0; g < groups; ++g) {
    float scale = c.scales[static_cast<size_t>(g)];
    float zero = c.zeros.empty() ? 0.0f : c.zeros[static_cast<size_t>(g)];
    for (int64_t i = g * c.group; i < (g + 1) * c.group; ++i) {
      auto index = static_cast<size_t>(i);
      float code = c.zeros.empty() ? static_cast<float>(static_cast<int8_t>(c.codes[index]))
                                   : static_cast<float>(c.codes[index]);
      out[index] = round_to_f16_fast((code - zero) * scale);
    }
  }
  return out;
}

}  // namespace bm
