// GGML block formats: rows of K elements cut in blocks that hold scales and packed values.
// Source: ggml-common.h / semantics.md part 0, item 31.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace bm {

enum class BlockType : uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k };

int64_t block_elements(BlockType type);  // 32 or 256
int64_t block_bytes(BlockType type);
std::string_view block_name(BlockType type);  // "Q4_0"

// Decodes count elements (a multiple of block_elements) to float32.
void dequantize_blocks(BlockType type, const std::byte* blocks, float* out, int64_t count);

// Encodes count elements (a multiple of 32) in one of the formats of 32 elements, byte for byte as ggml's
// reference quantizers do. The K formats are searched for: kernels/encode.h.
void quantize_blocks(BlockType type, const float* values, int64_t count, std::byte* blocks);

}  // namespace bm
