#include "tensor/nf4_blocks.h"

#include <algorithm>
#include <cmath>

#include "tensor/awq_groups.h"

namespace bm {
namespace {

constexpr std::array<float, 16> kNf4 = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};
constexpr std::array<float, 16> kFp4 = {0.0f / 12.0f,  0.0625f / 12.0f,  8.0f / 12.0f,  12.0f / 12.0f,
                                        4.0f / 12.0f,  6.0f / 12.0f,     2.0f / 12.0f,  3.0f / 12.0f,
                                        0.0f / 12.0f,  -0.0625f / 12.0f, -8.0f / 12.0f, -12.0f / 12.0f,
                                        -4.0f / 12.0f, -6.0f / 12.0f,    -2.0f / 12.0f, -3.0f / 12.0f};
constexpr float kLeastAbsmax = 1e-38f;

// Values in ascending order with the code each stands for. FP4's two zeros are neighbours, +0 (code 0)
// first: hence 0 < y ≤ 1/384 gets code 8, as bitsandbytes' CPU backend gives.
using SortedMap = FourBitRanks;

SortedMap sort_map(const std::array<float, 16>& map) {
  SortedMap sorted{};
  for (uint8_t i = 0; i < 16; ++i) sorted.codes[i] = i;
  std::stable_sort(sorted.codes.begin(), sorted.codes.end(),
                   [&](uint8_t a, uint8_t b) { return map[a] < map[b]; });
  for (size_t i = 0; i < 15; ++i)
    sorted.midpoints[i] = (map[sorted.codes[i]] + map[sorted.codes[i + 1]]) / 2.0f;
  return sorted;
}

const SortedMap& sorted_map(FourBitKind kind) {
  static const SortedMap nf4 = sort_map(kNf4), fp4 = sort_map(kFp4);
  return kind == FourBitKind::nf4 ? nf4 : fp4;
}

float largest_magnitude(const float* values, int64_t count) {
  float top = 0;
  for (int64_t i = 0; i < count; ++i) {
    float magnitude = std::fabs(values[i]);
    top = magnitude > top ? magnitude : top;
  }
  return top;
}

// Ranks of y among the midpoints: how many of them lie strictly below.
void rank_values(const SortedMap& map, const float* y, int64_t count, int32_t* rank) {
  for (int64_t i = 0; i < count; ++i) rank[i] = 0;
  for (float midpoint : map.midpoints)
    for (int64_t i = 0; i < count; ++i) rank[i] += y[i] > midpoint ? 1 : 0;
}

float round_to(DType dtype, float value) {
  if (dtype == DType::bf16) return round_to_bf16(value);
  if (dtype == DType::f16) return round_to_f16_fast(value);
  return value;
}

template <class Round>
void decode(std::span<const float, 16> map, const uint8_t* packed, const float* absmax, int64_t count,
            int64_t block, float* out, Round round) {
  for (int64_t begin = 0, b = 0; begin < count; begin += block, ++b) {
    int64_t end = std::min(count, begin + block);
    float scale = absmax[b];
    for (int64_t i = begin; i < end; ++i) {
      uint8_t byte = packed[i / 2];
      out[i] = round(map[i % 2 == 0 ? byte >> 4 : byte & 15] * scale);
    }
  }
}

std::array<float, 256> make_dynamic_map() {
  std::array<float, 256> map{};
  size_t used = 0;
  map[used++] = 0.0f;
  map[used++] = 1.0f;
  for (int i = 0; i < 7; ++i) {
    // torch.linspace(0.1, 1, n) in float32: one rounding per value, from both ends.
    int n = (1 << i) + 1;
    double step = static_cast<double>((1.0f - 0.1f) / static_cast<float>(n - 1));
    auto boundary = [&](int k) {
      return k < n / 2 ? static_cast<float>(static_cast<double>(0.1f) + step * k)
                       : static_cast<float>(1.0 - step * (n - 1 - k));
    };
    auto decade = static_cast<float>(std::pow(10.0, i - 6));
    for (int k = 0; k + 1 < n; ++k) {
      float value = decade * ((boundary(k) + boundary(k + 1)) / 2.0f);
      map[used++] = value;
      map[used++] = -value;
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

// Nearest code of the dynamic map for 65,536 values of [-1, 1].
const std::vector<uint8_t>& dynamic_codes() {
  static const std::vector<uint8_t> table = [] {
    const std::array<float, 256>& map = dynamic_map();
    std::vector<uint8_t> codes(65536);
    size_t code = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      float value = static_cast<float>(i) / 32767.5f - 1.0f;
      while (code < 255 && value > (map[code] + map[code + 1]) / 2.0f) ++code;
      codes[i] = static_cast<uint8_t>(code);
    }
    return codes;
  }();
  return table;
}

}  // namespace

const std::array<float, 16>& four_bit_map(FourBitKind kind) { return kind == FourBitKind::nf4 ? kNf4 : kFp4; }

const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> map = make_dynamic_map();
  return map;
}

const FourBitRanks& four_bit_ranks(FourBitKind kind) { return sorted_map(kind); }

bool is_four_bit_block(int64_t block) { return block >= 32 && block <= 4096 && (block & (block - 1)) == 0; }

void four_bit_absmax(const float* values, int64_t count, int64_t block, float* absmax) {
  for (int64_t begin = 0, b = 0; begin < count; begin += block, ++b) {
    bool partial = count - begin < block;
    float top = largest_magnitude(values + begin, std::min(block, count - begin));
    absmax[b] = partial ? std::max(top, kLeastAbsmax) : top;
  }
}

void four_bit_encode(FourBitKind kind, const float* values, int64_t count, int64_t block, uint8_t* packed) {
  const SortedMap& map = sorted_map(kind);
  // Runs of 64 keep the scratch in cache; blocks are at least 32 and even, so runs start on whole bytes.
  constexpr int64_t kRun = 64;
  std::array<float, kRun> y;
  std::array<int32_t, kRun> rank;
  for (int64_t begin = 0; begin < count; begin += block) {
    int64_t length = std::min(block, count - begin);
    float top = std::max(largest_magnitude(values + begin, length), kLeastAbsmax);
    bool partial = length < block;
    float inverse = 1.0f / top;
    for (int64_t start = begin; start < begin + length; start += kRun) {
      int64_t run = std::min(kRun, begin + length - start);
      for (int64_t i = 0; i < run; ++i) {
        float scaled = partial ? values[start + i] / top : values[start + i] * inverse;
        y[static_cast<size_t>(i)] = std::clamp(scaled, -1.0f, 1.0f);
      }
      int64_t padded = run + run % 2;
      if (padded != run) y[static_cast<size_t>(run)] = 0.0f;
      rank_values(map, y.data(), padded, rank.data());
      for (int64_t i = 0; i < padded; i += 2) {
        auto even = static_cast<size_t>(rank[static_cast<size_t>(i)]);
        auto odd = static_cast<size_t>(rank[static_cast<size_t>(i + 1)]);
        packed[(start + i) / 2] = static_cast<uint8_t>(map.codes[even] << 4 | map.codes[odd]);
      }
    }
  }
}

void four_bit_decode(FourBitKind kind, const uint8_t* packed, const float* absmax, int64_t count,
                     int64_t block, DType dtype, float* out) {
  four_bit_decode(std::span<const float, 16>(four_bit_map(kind)), packed, absmax, count, block, dtype, out);
}

void four_bit_decode(std::span<const float, 16> map, const uint8_t* packed, const float* absmax,
                     int64_t count, int64_t block, DType dtype, float* out) {
  decode(map, packed, absmax, count, block, out, [dtype](float v) { return round_to(dtype, v); });
}

NestedAbsmax nest_absmax(std::span<const float> absmax) {
  double sum = 0;
  for (float value : absmax) sum += static_cast<double>(value);
  double mean = absmax.empty() ? 0.0 : sum / static_cast<double>(absmax.size());
  return nest_absmax(absmax, static_cast<float>(mean));
}

NestedAbsmax nest_absmax(std::span<const float> absmax, float offset) {
  const std::vector<uint8_t>& table = dynamic_codes();
  NestedAbsmax nested;
  nested.offset = offset;
  nested.codes.resize(absmax.size());
  for (size_t begin = 0; begin < absmax.size(); begin += kNestedBlock) {
    size_t end = std::min(absmax.size(), begin + kNestedBlock);
    float top = 0;
    for (size_t i = begin; i < end; ++i) top = std::max(top, std::fabs(absmax[i] - offset));
    nested.absmax.push_back(top);
    // All maxima equal: every difference is 0, and so is its code.
    float inverse = top > 0 ? 1.0f / top : 0.0f;
    for (size_t i = begin; i < end; ++i) {
      float y = std::clamp((absmax[i] - offset) * inverse, -1.0f, 1.0f);
      auto index = static_cast<size_t>(std::floor((y + 1.0f) * 32767.5f + 0.5f));
      nested.codes[i] = table[std::min<size_t>(index, 65535)];
    }
  }
  return nested;
}

std::vector<float> unnest_absmax(std::span<const uint8_t> codes, std::span<const float> nested_absmax,
                                 std::span<const float, 256> map, float offset, int64_t nested_block) {
  std::vector<float> absmax(codes.size());
  for (size_t i = 0; i < codes.size(); ++i)
    absmax[i] = map[codes[i]] * nested_absmax[i / static_cast<size_t>(nested_block)] + offset;
  return absmax;
}

}  // namespace bm
