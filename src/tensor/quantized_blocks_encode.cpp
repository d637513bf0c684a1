// Encoders of the GGML formats of 32 elements. Source: ggml-quants.c quantize_row_*_ref; semantics.md part 0,
// item 31. Truncation after adding half, the first of two equal magnitudes, and the scale before its rounding
// to float16 all decide bytes.
#include <cmath>
#include <cstring>

#include "tensor/dtype.h"
#include "tensor/quantized_blocks.h"

namespace bm {
namespace {

constexpr int kBlock = 32;

void write_half(uint8_t* out, float value) {
  uint16_t bits = f32_to_f16(value);
  std::memcpy(out, &bits, 2);
}

float inverse_of(float step) { return step != 0 ? 1.0f / step : 0.0f; }

// The value of the largest magnitude, the first of several, with its sign.
float extreme(const float* x) {
  float top = 0, signed_top = 0;
  for (int i = 0; i < kBlock; ++i)
    if (top < std::fabs(x[i])) {
      top = std::fabs(x[i]);
      signed_top = x[i];
    }
  return signed_top;
}

struct Range {
  float low, high;
};
Range range_of(const float* x) {
  Range range{x[0], x[0]};
  for (int i = 1; i < kBlock; ++i) {
    range.low = x[i] < range.low ? x[i] : range.low;
    range.high = x[i] > range.high ? x[i] : range.high;
  }
  return range;
}

unsigned cut(float value, int most) {
  int code = static_cast<int>(value);  // towards zero
  return static_cast<unsigned>(code < most ? code : most);
}

// Two nibbles a byte, element i with element i + 16; the fifth bits, if wanted, in 4 bytes.
void pack(const unsigned* codes, uint8_t* nibbles, uint8_t* fifth) {
  uint32_t high = 0;
  for (int j = 0; j < kBlock / 2; ++j) {
    nibbles[j] = static_cast<uint8_t>((codes[j] & 15u) | (codes[j + 16] & 15u) << 4);
    high |= (codes[j] >> 4 & 1u) << j | (codes[j + 16] >> 4 & 1u) << (j + 16);
  }
  if (fifth) std::memcpy(fifth, &high, 4);
}

template <int Most>
void encode_symmetric(const float* x, uint8_t* out) {
  constexpr float half = static_cast<float>(Most + 1) / 2.0f;
  float d = extreme(x) / -half, inverse = inverse_of(d);
  unsigned codes[kBlock];
  for (int i = 0; i < kBlock; ++i) codes[i] = cut(x[i] * inverse + (half + 0.5f), Most);
  write_half(out, d);
  if constexpr (Most == 15)
    pack(codes, out + 2, nullptr);
  else
    pack(codes, out + 6, out + 2);
}

template <int Most>
void encode_affine(const float* x, uint8_t* out) {
  Range range = range_of(x);
  float d = (range.high - range.low) / static_cast<float>(Most), inverse = inverse_of(d);
  unsigned codes[kBlock];
  for (int i = 0; i < kBlock; ++i) codes[i] = cut((x[i] - range.low) * inverse + 0.5f, Most);
  write_half(out, d);
  write_half(out + 2, range.low);
  if constexpr (Most == 15)
    pack(codes, out + 4, nullptr);
  else
    pack(codes, out + 8, out + 4);
}

void encode_q8_0(const float* x, uint8_t* out) {
  float d = std::fabs(extreme(x)) / 127.0f, inverse = inverse_of(d);
  write_half(out, d);
  for (int i = 0; i < kBlock; ++i)
    out[2 + i] =
        static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));  // half away from zero
}

}  // namespace

void quantize_blocks(BlockType type, const float* values, int64_t count, std::byte* blocks) {
  using Encode = void (*)(const float*, uint8_t*);
  constexpr Encode encoders[] = {encode_symmetric<15>, encode_affine<15>, encode_symmetric<31>,
                                 encode_affine<31>, encode_q8_0};
  Encode encode = encoders[static_cast<size_t>(type)];
  auto* block = reinterpret_cast<uint8_t*>(blocks);
  for (int64_t done = 0; done < count; done += kBlock, block += block_bytes(type))
    encode(values + done, block);
}

}  // namespace bm
