// GGML blocks as plain integer codes with the scales of their groups: what integer kernels multiply.
// Source: as tensor/quantized_blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quantized_blocks.h"

namespace bm {

// Scale and offset of one group of codes. Where a format gives a scale to a run of groups and a small integer
// to each (k-quants), scale and offset are the run's and sub_scale, sub_offset the group's.
struct CodeGroup {
  float scale = 0, offset = 0;
  int32_t sub_scale = 1, sub_offset = 0;
};

// How a block type's values come out of its codes u:
//   Q4_0, Q5_0, Q8_0   (u − zero)·scale                       zero 8, 16, 128
//   Q4_1, Q5_1         u·scale + offset
//   Q4_K, Q5_K         u·scale·sub_scale − offset·sub_offset  runs of 8 groups
//   Q6_K               (u − 32)·scale·sub_scale               runs of 16 groups
struct BlockCodes {
  int bits;       // 4, or 8 for wider ones
  int64_t group;  // elements that share a scale
  int64_t run;    // groups that share a block's scale, 0 = each has its own
  bool offsets;
  int32_t zero;
};
BlockCodes block_codes_of(BlockType type);

// codes[count] and groups[count / group] of `count` elements (whole blocks).
void read_block_codes(BlockType type, const std::byte* blocks, int64_t count, uint8_t* codes);
void read_block_groups(BlockType type, const std::byte* blocks, int64_t count, CodeGroup* groups);

}  // namespace bm
