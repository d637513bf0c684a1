// Products of 8-bit activations with 4- and 8-bit weights: one table of machine code per instruction set,
// all of them bit for bit equal (docs/kernels.md).
//
// The inputs of a linear layer are cut in groups. Within a group everything is an integer:
//   t = Σ_i u[i]·a[i] − zero·Σ_i a[i]       u unsigned weight codes, a signed activation codes (−127..127)
// which is exact in 32 bits and as a float. Over the groups one chain of float operations, in their order:
//   y = fma(t·S, s, y)      and, where weights have an offset B,   y = fma(B, s·Σa, y)
// with S, B the group's weight scale and offset and s its activation scale; t·S and s·Σa are rounded. So the
// bits depend neither on the tile nor on the thread count nor on the instruction set.
#pragma once

#include <cstdint>

namespace bm {

inline constexpr int kIntegerRows = 6;      // rows of an activation tile
inline constexpr int kIntegerColumns = 32;  // outputs of a strip: two panels of 16

// Weight codes of 16 outputs × `inputs`. bytes: [inputs/4][16][4], one byte a code. nibbles:
// [inputs/8][16][4] bytes, the low halves are inputs 0..3 of the eight, the high halves inputs 4..7. lookup:
// nibbles that index a table of 16 bytes.
enum class CodeForm : uint8_t { bytes, nibbles, lookup };

// kIntegerRows rows of activations and what a weight's groups need of them.
struct IntegerTile {
  int8_t* codes = nullptr;   // [inputs/4][kIntegerRows][4]
  float* scale = nullptr;    // [groups][kIntegerRows]: s
  int32_t* start = nullptr;  // the same: what Σ u·a starts from, −zero·Σ a
  float* offset = nullptr;   // the same: s·Σ a
};

// One strip of outputs for all rows.
struct IntegerStrip {
  int64_t rows = 0;
  int64_t groups = 0, group = 0;  // group: inputs, a multiple of 8
  // Activations, tiles of kIntegerRows rows (IntegerTile); strides from tile to tile in elements.
  const int8_t* a = nullptr;
  const float* a_scale = nullptr;
  const int32_t* a_start = nullptr;
  const float* a_offset = nullptr;
  int64_t a_tile = 0, a_scale_tile = 0;
  // Weights.
  CodeForm form = CodeForm::bytes;
  bool wide = true;  // codes may exceed 127
  const uint8_t* table = nullptr;
  const uint8_t* w = nullptr;
  const float* scale = nullptr;   // [groups][kIntegerColumns]
  const float* offset = nullptr;  // the same, or none
  float* y = nullptr;             // [rows][y_row]
  int64_t y_row = 0, columns = 0;
  bool accumulate = false;  // y continues (it holds the groups before these)
};

// Weights of half a strip as a float32 panel [inputs][16], for exact arithmetic.
enum class DecodeRule : uint8_t {
  affine,   // fma(u, S, B)
  lookup,   // values[u] · S
  product,  // ((u − 128) · S) · factor, two roundings
};
enum class DecodeRounding : uint8_t { none, f16, bf16 };
struct IntegerDecode {
  int64_t groups = 0, group = 0;
  CodeForm form = CodeForm::bytes;
  DecodeRule rule = DecodeRule::affine;
  DecodeRounding rounding = DecodeRounding::none;
  const uint8_t* w = nullptr;     // the strip's; its second half is 64 bytes further
  const float* scale = nullptr;   // [groups][kIntegerColumns]; the second half's are 16 floats further
  const float* offset = nullptr;  // the same; affine only
  const float* values = nullptr;  // [16], lookup only
  float factor = 1;               // product only
  float* out = nullptr;           // [groups·group][16]
};

// Scales and offsets of `count` groups of a strip as floats, from what a format stores:
//   S = scale·sub_scale·factor
//   B = −scale·sub_scale·zero, or −scale·sub_offset, or offset, or −offset·sub_offset
struct ScaleExpand {
  int64_t count = 0;
  int64_t run = 1, first = 0;   // groups that share scale and offset; place of the first in its run
  const void* scale = nullptr;  // [runs][kIntegerColumns], float16 or float32
  bool half = true;
  const uint8_t* sub_scale = nullptr;  // [count][kIntegerColumns], or none
  bool sub_signed = false;
  const uint16_t* offset = nullptr;     // float16, [runs][kIntegerColumns], or none
  const uint8_t* sub_offset = nullptr;  // [count][kIntegerColumns], or none
  float zero = 0;
  float factor = 1;
  float* scale_out = nullptr;   // [count][kIntegerColumns]
  float* offset_out = nullptr;  // the same, or none
};

struct IntegerKernels {
  void (*product)(const IntegerStrip&);
  void (*decode)(const IntegerDecode&);
  void (*expand)(const ScaleExpand&);
  // Nibbles or table codes of a strip → bytes, inputs a multiple of 8.
  void (*unpack)(CodeForm form, int64_t inputs, const uint8_t* table, const uint8_t* w, uint8_t* out);
  // One tile: rows <= kIntegerRows of x (elements from row to row: stride), `inputs` of them, of which the
  // last group may be short; missing rows and inputs become zeros. Per row and group: s = max|x| / 127,
  // a = x · (127 / max|x|) rounded to nearest even; a group with NaN or infinity gets s = NaN. For weights
  // with this zero (0 where they have offsets) whose codes are wide or not.
  void (*quantize)(int64_t rows, int64_t inputs, int64_t group, const float* x, int64_t stride, int32_t zero,
                   bool wide, const IntegerTile& tile);
};

namespace scalar {
extern const IntegerKernels integer;
}
namespace avx2 {
extern const IntegerKernels integer;
}
namespace avx512 {
extern const IntegerKernels integer;
}
namespace avx512vnni {
extern const IntegerKernels integer;
}

}  // namespace bm
