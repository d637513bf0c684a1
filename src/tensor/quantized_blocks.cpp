// Decoders of the GGML block formats. Each multiplies in the order ggml's dequantize_row_* does, so the
// floats are the same bits (golden/quantization/gguf).
#include "tensor/quantized_blocks.h"

#include <cstring>

#include "tensor/dtype.h"

namespace bm {
namespace {

struct BlockLayout {
  std::string_view name;
  int64_t elements, bytes;
};

constexpr BlockLayout layouts[] = {{"Q4_0", 32, 18},   {"Q4_1", 32, 20},  {"Q5_0", 32, 22},
                                   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},  {"Q4_K", 256, 144},
                                   {"Q5_K", 256, 176}, {"Q6_K", 256, 210}};

const BlockLayout& layout(BlockType type) { return layouts[static_cast<size_t>(type)]; }

float half_at(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  return f16_to_f32(bits);
}

// Value of a small integer, through int so that the sign is right.
float as_float(int value) { return static_cast<float>(value); }

void decode_q4_0(const uint8_t* block, float* out) {
  float d = half_at(block);
  const uint8_t* q = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = as_float((q[j] & 0xf) - 8) * d;
    out[j + 16] = as_float((q[j] >> 4) - 8) * d;
  }
}

void decode_q4_1(const uint8_t* block, float* out) {
  float d = half_at(block), m = half_at(block + 2);
  const uint8_t* q = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = as_float(q[j] & 0xf) * d + m;
    out[j + 16] = as_float(q[j] >> 4) * d + m;
  }
}

// Fifth bits of elements j and j + 16.
int high_low(uint32_t bits, int j) { return static_cast<int>(bits >> j << 4 & 0x10); }
int high_high(uint32_t bits, int j) { return static_cast<int>(bits >> (j + 12) & 0x10); }

void decode_q5_0(const uint8_t* block, float* out) {
  float d = half_at(block);
  uint32_t high;
  std::memcpy(&high, block + 2, 4);
  const uint8_t* q = block + 6;
  for (int j = 0; j < 16; ++j) {
    out[j] = as_float(((q[j] & 0xf) | high_low(high, j)) - 16) * d;
    out[j + 16] = as_float(((q[j] >> 4) | high_high(high, j)) - 16) * d;
  }
}

void decode_q5_1(const uint8_t* block, float* out) {
  float d = half_at(block), m = half_at(block + 2);
  uint32_t high;
  std::memcpy(&high, block + 4, 4);
  const uint8_t* q = block + 8;
  for (int j = 0; j < 16; ++j) {
    out[j] = as_float((q[j] & 0xf) | high_low(high, j)) * d + m;
    out[j + 16] = as_float((q[j] >> 4) | high_high(high, j)) * d + m;
  }
}

void decode_q8_0(const uint8_t* block, float* out) {
  float d = half_at(block);
  for (int j = 0; j < 32; ++j) out[j] = as_float(static_cast<int8_t>(block[2 + j])) * d;
}

// Six-bit scale and minimum of sub-block j (of 32 elements) in the 12 packed bytes of Q4_K and Q5_K.
struct ScaleMin {
  int scale, minimum;
};
ScaleMin scale_min(const uint8_t* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 0xf) | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

void decode_q4_k(const uint8_t* block, float* out) {
  float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t* scales = block + 4;
  const uint8_t* q = block + 16;
  for (int pair = 0; pair < 4; ++pair, q += 32, out += 64) {
    ScaleMin low = scale_min(scales, 2 * pair), high = scale_min(scales, 2 * pair + 1);
    float d1 = d * as_float(low.scale), m1 = dmin * as_float(low.minimum);
    float d2 = d * as_float(high.scale), m2 = dmin * as_float(high.minimum);
    for (int l = 0; l < 32; ++l) {
      out[l] = d1 * as_float(q[l] & 0xf) - m1;
      out[l + 32] = d2 * as_float(q[l] >> 4) - m2;
    }
  }
}

void decode_q5_k(const uint8_t* block, float* out) {
  float d = half_at(block), dmin = half_at(block + 2);
  const uint8_t* scales = block + 4;
  const uint8_t* high_bits = block + 16;
  const uint8_t* q = block + 48;
  for (int pair = 0; pair < 4; ++pair, q += 32, out += 64) {
    ScaleMin low = scale_min(scales, 2 * pair), high = scale_min(scales, 2 * pair + 1);
    float d1 = d * as_float(low.scale), m1 = dmin * as_float(low.minimum);
    float d2 = d * as_float(high.scale), m2 = dmin * as_float(high.minimum);
    for (int l = 0; l < 32; ++l) {
      out[l] = d1 * as_float((q[l] & 0xf) + (high_bits[l] >> (2 * pair) & 1) * 16) - m1;
      out[l + 32] = d2 * as_float((q[l] >> 4) + (high_bits[l] >> (2 * pair + 1) & 1) * 16) - m2;
    }
  }
}

void decode_q6_k(const uint8_t* block, float* out) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const uint8_t* scales = block + 192;
  float d = half_at(block + 208);
  for (int half = 0; half < 2; ++half, low += 64, high += 32, scales += 8, out += 128) {
    for (int l = 0; l < 32; ++l) {
      for (int quarter = 0; quarter < 4; ++quarter) {
        int nibble = quarter < 2 ? low[l + 32 * quarter] & 0xf : low[l + 32 * (quarter - 2)] >> 4;
        int q = (nibble | (high[l] >> (2 * quarter) & 3) << 4) - 32;
        int scale = static_cast<int8_t>(scales[l / 16 + 2 * quarter]);
        out[l + 32 * quarter] = d * as_float(scale) * as_float(q);
      }
    }
  }
}

}  // namespace

int64_t block_elements(BlockType type) { return layout(type).elements; }
int64_t block_bytes(BlockType type) { return layout(type).bytes; }
std::string_view block_name(BlockType type) { return layout(type).name; }

void dequantize_blocks(BlockType type, const std::byte* blocks, float* out, int64_t count) {
  using Decode = void (*)(const uint8_t*, float*);
  constexpr Decode decoders[] = {decode_q4_0, decode_q4_1, decode_q5_0, decode_q5_1,
                                 decode_q8_0, decode_q4_k, decode_q5_k, decode_q6_k};
  Decode decode = decoders[static_cast<size_t>(type)];
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t done = 0; done < count; done += layout(type).elements, block += layout(type).bytes)
    decode(block, out + done);
}

}  // namespace bm
