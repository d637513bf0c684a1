// The stored parts of quantized modules, read and checked. Internal to model/.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "tensor/awq_layout.h"
#include "tensor/nf4_blocks.h"

namespace bm::stored {

inline constexpr std::string_view kQuantState = ".weight.quant_state.bitsandbytes__";

inline std::string name_of(std::string_view module, std::string_view part) {
  return std::string(module) + std::string(part);
}

inline size_t at(int64_t index) { return static_cast<size_t>(index); }

// A part of the module's storage, checked for dtype and shape (empty shape: any).
Result<StoredTensor> part_of(const Checkpoint& checkpoint, std::string_view module, std::string_view part,
                             DType dtype, const Shape& shape);
// Values of a small tensor, copied because files align them to their element only by convention.
template <class T>
std::vector<T> values_of(const StoredTensor& stored) {
  std::vector<T> values(at(stored.view.count()));
  if (!values.empty()) std::memcpy(values.data(), stored.view.data, stored.view.bytes());
  return values;
}

Error misfit(std::string_view module, std::string what);
Status check_size(std::string_view module, int64_t stored_rows, int64_t stored_columns, int64_t rows,
                  int64_t columns);
Result<std::pair<int64_t, int64_t>> matrix_shape(const Checkpoint& checkpoint, std::string_view module,
                                                 std::string_view part);

Result<AwqLayout> awq_layout_of(const Json& config);
Result<AwqPacked> read_awq(const Checkpoint& checkpoint, std::string_view module, AwqLayout layout,
                           int64_t group);

struct QuantState {
  FourBitKind kind = FourBitKind::nf4;
  int64_t block = 64, nested_block = kNestedBlock;
  DType dtype = DType::f16;
  int64_t rows = 0, columns = 0;
  bool nested = false;
  float nested_offset = 0;
};

Result<QuantState> quant_state_of(const Checkpoint& checkpoint, std::string_view module, FourBitKind kind);
// Block maxima, unnested: [blocks].
Result<std::vector<float>> absmax_of(const Checkpoint& checkpoint, std::string_view module,
                                     const QuantState& state, int64_t blocks);

// bad_input unless the codes lie row by row.
Status check_int8_format(const Checkpoint& checkpoint, std::string_view module);

// Codes stored + 8, eight 4-bit values a word, along the fast dimension.
struct PackQuantized {
  int64_t rows = 0, columns = 0, group = 0;
  DType dtype = DType::f16;    // of the scales, to which values are rounded
  std::vector<float> scales;   // [rows, columns/group]
  std::vector<int32_t> codes;  // [rows, ⌈columns/8⌉]
  std::vector<int32_t> zeros;  // packed along the outputs: [⌈rows/8⌉, columns/group]; empty: 8 everywhere

  int code(int64_t row, int64_t column) const {
    auto word = static_cast<uint32_t>(codes[at(row * ((columns + 7) / 8) + column / 8)]);
    return static_cast<int>(word >> (4 * (column % 8)) & 15u);
  }
  int zero(int64_t row, int64_t g) const {
    if (zeros.empty()) return 8;
    auto word = static_cast<uint32_t>(zeros[at(row / 8 * (columns / group) + g)]);
    return static_cast<int>(word >> (4 * (row % 8)) & 15u);
  }
};

Result<PackQuantized> read_pack_quantized(const Checkpoint& checkpoint, std::string_view module);

// compressed-tensors int-quantized: int8 codes with one scale a row.
struct IntQuantized {
  int64_t rows = 0, columns = 0;
  DType dtype = DType::f16;   // of the scales, to which values are rounded
  std::vector<float> scales;  // [rows]
  StoredTensor codes;         // int8 [rows, columns]
};
Result<IntQuantized> read_int_quantized(const Checkpoint& checkpoint, std::string_view module);

// GPTQ: qweight i32 [in·bits/32, out] packed along the inputs, qzeros i32 [groups, out·bits/32] along the
// outputs, scales f16 [groups, out], g_idx i32 [in]: the group of each input. Source: AutoGPTQ 0.7
// nn_modules/qlinear. Version 1 of the format stores zero − 1 (15 stands for −1), version 2 the zero.
struct Gptq {
  int64_t rows = 0, columns = 0, groups = 0;
  int bits = 4;
  bool stores_minus_one = true;
  std::vector<int32_t> codes, zeros, group_of;  // group_of [columns]
  std::vector<float> scales;                    // [groups, rows]

  int code(int64_t row, int64_t column) const {
    int64_t per = 32 / bits;
    auto word = static_cast<uint32_t>(codes[at(column / per * rows + row)]);
    return static_cast<int>(word >> (bits * (column % per)) & ((1u << bits) - 1u));
  }
  int zero(int64_t row, int64_t g) const {
    int64_t per = 32 / bits;
    auto word = static_cast<uint32_t>(zeros[at(g * (rows / per) + row / per)]);
    uint32_t stored = word >> (bits * (row % per)) & ((1u << bits) - 1u);
    return static_cast<int>(stores_minus_one ? (stored + 1u) & ((1u << bits) - 1u) : stored);
  }
};
Result<Gptq> read_gptq(const Checkpoint& checkpoint, std::string_view module, const Json& config);

}  // namespace bm::stored
