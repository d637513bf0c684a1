// Weights of a linear layer kept as the integer codes and group scales a file stores (AWQ, bitsandbytes,
// compressed-tensors, GGUF blocks, int8 rows), in the layout of the integer kernels: strips of 32 outputs
// side by side. A weight is
//   affine   code·S + B     S, B of its group; B = −zero·S, or stored
//   lookup   values[code]·S
//   product  (code − 128)·S·factor
// Exact arithmetic decodes them to the very floats the format's own reader gives; fast arithmetic multiplies
// the codes with activations rounded to 8 bits (kernels/integer.h).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/integer.h"
#include "tensor/block_codes.h"
#include "tensor/tensor.h"

namespace bm {

// Where the group's offset comes from.
enum class OffsetKind : uint8_t {
  constant,  // B = −zero·S, one zero for all
  zeros,     // B = −zero[g]·S[g], small integers
  halves,    // B[g], float16
};

// How the codes of a linear are to be read; the same for all its rows.
struct QuantizedForm {
  int64_t inputs = 0;
  int64_t group = 0;  // inputs that share a scale; the last group of a row may be short
  int bits = 4;       // 4, or 8 (also for 5- and 6-bit formats)
  bool wide = false;  // 8-bit codes above 127 occur
  DecodeRule rule = DecodeRule::affine;
  DecodeRounding rounding = DecodeRounding::none;  // of decoded weights
  bool half_scales = true;                         // stored scales are float16 values, else float32
  OffsetKind offsets = OffsetKind::constant;
  int32_t zero = 0;
  // k-quants: S = scale·sub_scale and, with OffsetKind::halves, B = −offset·sub_offset; scale and offset are
  // those of `super` groups together.
  int64_t super = 0;
  bool signed_sub = false;            // sub_scale is −128..127, else 0..255
  std::array<float, 16> values = {};  // lookup
  float factor = 1;                   // product

  bool operator==(const QuantizedForm&) const = default;
};

// The rows of a linear as a file holds them. With `super`, scale and offset are read from the first group of
// each run; with OffsetKind::zeros, sub_offset is the zero.
struct QuantizedRows {
  QuantizedForm form;
  int64_t outputs = 0;
  std::function<void(int64_t row, uint8_t* codes)> codes;      // [inputs]
  std::function<void(int64_t row, CodeGroup* groups)> groups;  // [⌈inputs/group⌉]
  std::shared_ptr<const void> keep;                            // what the functions read from
};

class QuantizedWeights {
 public:
  QuantizedWeights() = default;
  // Why these codes cannot be held in the kernels' layout; "" when they can.
  static std::string misfit(const QuantizedForm& form);
  // Rows of several linears of one form, one under the other. bad_input names the row of a scale or offset
  // that is not finite. Runs on all threads.
  static Result<QuantizedWeights> pack(std::span<const QuantizedRows> parts);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return form_.inputs; }
  const QuantizedForm& form() const { return form_; }
  uint64_t bytes() const;
  void read_row(int64_t n, float* out) const;  // decoded, [inputs]

  // ---- for ops/quantized_linear.cpp
  int64_t sum_group() const { return sum_group_; }  // inputs summed as integers before a scale is applied
  int64_t sum_groups() const { return sum_groups_; }
  CodeForm code_form() const;
  bool has_offsets() const { return form_.offsets != OffsetKind::constant; }
  int64_t strip_bytes() const;
  const uint8_t* strip(int64_t strip) const { return codes_.as<uint8_t>() + strip * strip_bytes(); }
  const uint8_t* table() const { return table_.data(); }
  // Scales and offsets [count][32] of the sum groups [first, first + count) of one strip; offset may be null.
  // fast: those of the integer kernels (the codes of a lookup are then table()'s), else of decoded weights.
  void expand(int64_t strip, int64_t first, int64_t count, bool fast, float* scale, float* offset) const;

 private:
  void allocate();
  Status fill_strip(std::span<const QuantizedRows> parts, int64_t strip);
  Status fill_groups(int64_t strip, int64_t lane, std::span<const CodeGroup> groups);
  void expand_groups(int64_t strip, int64_t first, int64_t count, float factor, float* scale,
                     float* offset) const;

  QuantizedForm form_;
  int64_t outputs_ = 0;
  int64_t groups_ = 0, sum_group_ = 0, sum_groups_ = 0;
  Tensor codes_;                        // [strips][sum_groups·sum_group][32] codes, 4 or 8 bits
  Tensor scales_, offsets_;             // [strips][groups or runs of super][32], F16 or F32
  Tensor sub_scales_, sub_offsets_;     // [strips][groups][32], U8
  std::array<uint8_t, 16> table_ = {};  // lookup: values·127 rounded, + 128
};

}  // namespace bm
