#include "tensor/block_codes.h"

#include <bit>
#include <cstring>

#include "tensor/dtype.h"

namespace bm {
namespace {

float half_at(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  const uint32_t exponent = bits >> 10 & 31u;
  if (exponent - 1u >= 30u) return f16_to_f32(bits);  // zero, subnormal, infinity, NaN
  return std::bit_cast<float>(uint32_t{bits} >> 15 << 31 | (exponent + 112u) << 23 | (bits & 0x3ffu) << 13);
}

// The low halves of `count` bytes (a multiple of 8), and the high ones.
void split_nibbles(const uint8_t* q, int count, uint8_t* low, uint8_t* high) {
  constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0fu;
  for (int j = 0; j < count; j += 8) {
    uint64_t eight;
    std::memcpy(&eight, q + j, 8);
    const uint64_t first = eight & kLow, second = eight >> 4 & kLow;
    std::memcpy(low + j, &first, 8);
    std::memcpy(high + j, &second, 8);
  }
}

// 32 elements in 16 bytes: low halves are the first 16.
void read_nibbles(const uint8_t* q, uint8_t* codes) { split_nibbles(q, 16, codes, codes + 16); }

void add_fifth_bits(const uint8_t* bytes, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, bytes, 4);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>(codes[j] | (bits >> j & 1) << 4);
}

// 256 elements in 128 bytes, 64 at a time: low halves of 32 bytes, then their high halves.
void read_k_nibbles(const uint8_t* q, uint8_t* codes) {
  for (int pair = 0; pair < 4; ++pair, q += 32, codes += 64) split_nibbles(q, 32, codes, codes + 32);
}

void read_q6_k(const uint8_t* block, uint8_t* codes) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  for (int half = 0; half < 2; ++half, low += 64, high += 32, codes += 128) {
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<uint8_t>((low[l] & 15) | (high[l] & 3) << 4);
      codes[l + 32] = static_cast<uint8_t>((low[l + 32] & 15) | (high[l] >> 2 & 3) << 4);
      codes[l + 64] = static_cast<uint8_t>(low[l] >> 4 | (high[l] >> 4 & 3) << 4);
      codes[l + 96] = static_cast<uint8_t>(low[l + 32] >> 4 | (high[l] >> 6 & 3) << 4);
    }
  }
}

void read_codes(BlockType type, const uint8_t* block, uint8_t* codes) {
  switch (type) {
    case BlockType::q4_0:
      return read_nibbles(block + 2, codes);
    case BlockType::q4_1:
      return read_nibbles(block + 4, codes);
    case BlockType::q5_0:
      read_nibbles(block + 6, codes);
      return add_fifth_bits(block + 2, codes);
    case BlockType::q5_1:
      read_nibbles(block + 8, codes);
      return add_fifth_bits(block + 4, codes);
    case BlockType::q8_0:
      for (int j = 0; j < 32; j += 8) {
        uint64_t eight;
        std::memcpy(&eight, block + 2 + j, 8);
        eight ^= 0x8080808080808080u;
        std::memcpy(codes + j, &eight, 8);
      }
      return;
    case BlockType::q4_k:
      return read_k_nibbles(block + 16, codes);
    case BlockType::q5_k:
      read_k_nibbles(block + 48, codes);
      for (int e = 0; e < 256; ++e)
        codes[e] = static_cast<uint8_t>(codes[e] | (block[16 + e % 32] >> (e / 32) & 1) << 4);
      return;
    case BlockType::q6_k:
      return read_q6_k(block, codes);
  }
}

// Six-bit scales and minima of the 8 groups of Q4_K and Q5_K in 12 bytes.
void read_k_groups(const uint8_t* block, CodeGroup* groups) {
  const uint8_t* packed = block + 4;
  for (int j = 0; j < 8; ++j) {
    groups[j].scale = half_at(block);
    groups[j].offset = half_at(block + 2);
    groups[j].sub_scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
    groups[j].sub_offset = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | packed[j] >> 6 << 4;
  }
}

void read_groups(BlockType type, const uint8_t* block, CodeGroup* groups) {
  switch (type) {
    case BlockType::q4_0:
    case BlockType::q5_0:
    case BlockType::q8_0:
      groups[0] = {half_at(block), 0, 1, 0};
      return;
    case BlockType::q4_1:
    case BlockType::q5_1:
      groups[0] = {half_at(block), half_at(block + 2), 1, 0};
      return;
    case BlockType::q4_k:
    case BlockType::q5_k:
      return read_k_groups(block, groups);
    case BlockType::q6_k:
      for (int j = 0; j < 16; ++j)
        groups[j] = {half_at(block + 208), 0, static_cast<int8_t>(block[192 + j]), 0};
      return;
  }
}

}  // namespace

BlockCodes block_codes_of(BlockType type) {
  switch (type) {
    case BlockType::q4_0:
      return {4, 32, 0, false, 8};
    case BlockType::q4_1:
      return {4, 32, 0, true, 0};
    case BlockType::q5_0:
      return {8, 32, 0, false, 16};
    case BlockType::q5_1:
      return {8, 32, 0, true, 0};
    case BlockType::q8_0:
      return {8, 32, 0, false, 128};
    case BlockType::q4_k:
      return {4, 32, 8, true, 0};
    case BlockType::q5_k:
      return {8, 32, 8, true, 0};
    case BlockType::q6_k:
      break;
  }
  return {8, 16, 16, false, 32};
}

void read_block_codes(BlockType type, const std::byte* blocks, int64_t count, uint8_t* codes) {
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  const int64_t elements = block_elements(type), bytes = block_bytes(type);
  for (int64_t done = 0; done < count; done += elements, block += bytes)
    read_codes(type, block, codes + done);
}

void read_block_groups(BlockType type, const std::byte* blocks, int64_t count, CodeGroup* groups) {
  const auto* block = reinterpret_cast<const uint8_t*>(blocks);
  const int64_t each = block_elements(type) / block_codes_of(type).group;
  for (int64_t done = 0; done < count;
       done += block_elements(type), block += block_bytes(type), groups += each)
    read_groups(type, block, groups);
}

}  // namespace bm
