#include "ops/quantized_weights.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {
namespace {

// The largest power of two that divides the group, at most 128: blocks of activations share a scale, and
// every one of them divides kSumBlock.
int64_t sum_group_of(const QuantizedForm& form) {
  if (form.group >= form.inputs) return 128;  // one scale a row: the last block may be short
  int64_t size = 128;
  while (size > 1 && form.group % size != 0) size /= 2;
  return size;
}

int64_t groups_of(const QuantizedForm& form) { return (form.inputs + form.group - 1) / form.group; }

// Scales come from float16 values, so most need no rounding.
uint16_t stored_half(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t exponent = bits >> 23 & 255u;
  if (exponent - 113u >= 30u || (bits & 0x1fffu) != 0) return f32_to_f16(value);
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | (exponent - 112u) << 10 | (bits >> 13 & 0x3ffu));
}

void store_scale(Tensor& tensor, int64_t at, float value) {
  if (tensor.dtype() == DType::f32) {
    tensor.as<float>()[at] = value;
  } else {
    tensor.as<uint16_t>()[at] = stored_half(value);
  }
}

// Code `i` of lane `lane` in a strip (kernels/integer.h).
uint8_t code_at(const uint8_t* strip, int bits, int64_t lane, int64_t i) {
  if (bits == 8) return strip[i / 4 * 128 + lane * 4 + i % 4];
  const uint8_t byte = strip[i / 8 * 128 + lane * 4 + i % 4];
  return i % 8 < 4 ? byte & 15 : byte >> 4;
}

// One row of codes into its lane, four bytes at a time; count is a multiple of 8.
void place_codes(const uint8_t* codes, int64_t count, int bits, int64_t lane, uint8_t* strip) {
  uint8_t* out = strip + lane * 4;
  if (bits == 8) {
    for (int64_t i = 0; i < count; i += 4, out += 128) std::memcpy(out, codes + i, 4);
    return;
  }
  for (int64_t i = 0; i < count; i += 8, out += 128) {
    uint32_t low, high;
    std::memcpy(&low, codes + i, 4);
    std::memcpy(&high, codes + i + 4, 4);
    low |= high << 4;
    std::memcpy(out, &low, 4);
  }
}

}  // namespace

std::string QuantizedWeights::misfit(const QuantizedForm& form) {
  if (form.inputs <= 0 || form.group <= 0) return "it has no inputs";
  if (form.bits != 4 && form.bits != 8) return std::to_string(form.bits) + "-bit codes";
  if (sum_group_of(form) < 8) return "groups of " + std::to_string(form.group) + " inputs";
  if (form.super > 0 && sum_group_of(form) != form.group) return "super-blocks over cut groups";
  return "";
}

CodeForm QuantizedWeights::code_form() const {
  if (form_.bits == 8) return CodeForm::bytes;
  return form_.rule == DecodeRule::lookup ? CodeForm::lookup : CodeForm::nibbles;
}

int64_t QuantizedWeights::strip_bytes() const {
  return sum_groups_ * sum_group_ * kIntegerColumns * form_.bits / 8;
}

uint64_t QuantizedWeights::bytes() const {
  return codes_.bytes() + scales_.bytes() + offsets_.bytes() + sub_scales_.bytes() + sub_offsets_.bytes();
}

void QuantizedWeights::allocate() {
  const int64_t strips = (outputs_ + kIntegerColumns - 1) / kIntegerColumns;
  groups_ = groups_of(form_);
  sum_group_ = sum_group_of(form_);
  sum_groups_ = (form_.inputs + sum_group_ - 1) / sum_group_;
  codes_ = Tensor(DType::u8, {strips, strip_bytes()});  // filled strip by strip
  const int64_t runs = form_.super > 0 ? (groups_ + form_.super - 1) / form_.super : groups_;
  scales_ = Tensor::zeroed(form_.half_scales ? DType::f16 : DType::f32, {strips, runs, kIntegerColumns});
  if (form_.offsets == OffsetKind::halves)
    offsets_ = Tensor::zeroed(DType::f16, {strips, runs, kIntegerColumns});
  if (form_.super > 0) sub_scales_ = Tensor::zeroed(DType::u8, {strips, groups_, kIntegerColumns});
  if (form_.offsets == OffsetKind::zeros || (form_.super > 0 && form_.offsets == OffsetKind::halves))
    sub_offsets_ = Tensor::zeroed(DType::u8, {strips, groups_, kIntegerColumns});
  for (size_t i = 0; i < 16; ++i) {
    const float value = std::clamp(form_.values[i], -1.0f, 1.0f);
    table_[i] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(value * 127.0f)) + 128);
  }
}

Status QuantizedWeights::fill_groups(int64_t strip, int64_t lane, std::span<const CodeGroup> groups) {
  const int64_t run = std::max<int64_t>(form_.super, 1), runs = (groups_ + run - 1) / run;
  for (int64_t g = 0; g < groups_; ++g) {
    const CodeGroup& group = groups[static_cast<size_t>(g)];
    if (!std::isfinite(group.scale) || !std::isfinite(group.offset))
      return bad_input("the scale of group " + std::to_string(g) + " is NaN or infinite",
                       "The weights are damaged.");
    const int64_t at = (strip * groups_ + g) * kIntegerColumns + lane;
    if (!sub_scales_.empty()) sub_scales_.as<uint8_t>()[at] = static_cast<uint8_t>(group.sub_scale);
    if (!sub_offsets_.empty()) sub_offsets_.as<uint8_t>()[at] = static_cast<uint8_t>(group.sub_offset);
    if (g % run != 0) continue;
    const int64_t run_at = (strip * runs + g / run) * kIntegerColumns + lane;
    store_scale(scales_, run_at, group.scale);
    if (!offsets_.empty()) store_scale(offsets_, run_at, group.offset);
  }
  return {};
}

Status QuantizedWeights::fill_strip(std::span<const QuantizedRows> parts, int64_t strip) {
  const int64_t inputs = sum_groups_ * sum_group_;
  std::vector<uint8_t> codes(static_cast<size_t>(inputs));
  std::vector<CodeGroup> groups(static_cast<size_t>(groups_));
  uint8_t* out = codes_.as<uint8_t>() + strip * strip_bytes();
  if (outputs_ - strip * kIntegerColumns < kIntegerColumns)
    std::memset(out, 0, static_cast<size_t>(strip_bytes()));
  for (int64_t lane = 0; lane < kIntegerColumns && strip * kIntegerColumns + lane < outputs_; ++lane) {
    int64_t row = strip * kIntegerColumns + lane;
    size_t part = 0;
    while (row >= parts[part].outputs) row -= parts[part++].outputs;
    parts[part].codes(row, codes.data());
    place_codes(codes.data(), inputs, form_.bits, lane, out);
    parts[part].groups(row, groups.data());
    BM_CHECK_OK(fill_groups(strip, lane, groups).in("row " + std::to_string(row)));
  }
  return {};
}

Result<QuantizedWeights> QuantizedWeights::pack(std::span<const QuantizedRows> parts) {
  QuantizedWeights packed;
  if (parts.empty()) return bad_input("no weights to pack");
  packed.form_ = parts[0].form;
  for (const QuantizedRows& part : parts) {
    assert(part.form == packed.form_);
    packed.outputs_ += part.outputs;
  }
  if (std::string why = misfit(packed.form_); !why.empty())
    return bad_input("the quantized weight cannot be held: " + why);
  packed.allocate();
  std::mutex mutex;
  Status first;
  parallel_for(static_cast<size_t>((packed.outputs_ + kIntegerColumns - 1) / kIntegerColumns),
               [&](size_t strip) {
                 Status status = packed.fill_strip(parts, static_cast<int64_t>(strip));
                 if (status.ok()) return;
                 std::lock_guard lock(mutex);
                 if (first.ok()) first = std::move(status);
               });
  if (!first.ok()) return std::move(first).error();
  return packed;
}

// Groups [first, first + count) of the file, [count][kIntegerColumns].
void QuantizedWeights::expand_groups(int64_t strip, int64_t first, int64_t count, float factor, float* scale,
                                     float* offset) const {
  const int64_t run = std::max<int64_t>(form_.super, 1), runs = (groups_ + run - 1) / run;
  const int64_t at = (strip * groups_ + first) * kIntegerColumns;
  const int64_t run_at = (strip * runs + first / run) * kIntegerColumns;
  ScaleExpand e;
  e.count = count;
  e.run = run;
  e.first = first % run;
  e.half = form_.half_scales;
  e.scale = scales_.data() + static_cast<size_t>(run_at) * (e.half ? 2 : 4);
  e.sub_scale = sub_scales_.empty() ? nullptr : sub_scales_.as<uint8_t>() + at;
  e.sub_signed = form_.signed_sub;
  e.offset = offsets_.empty() ? nullptr : offsets_.as<uint16_t>() + run_at;
  e.sub_offset = sub_offsets_.empty() ? nullptr : sub_offsets_.as<uint8_t>() + at;
  e.zero = static_cast<float>(form_.zero);
  e.factor = factor;
  e.scale_out = scale;
  e.offset_out = offset;
  kernels().integer->expand(e);
}

void QuantizedWeights::expand(int64_t strip, int64_t first, int64_t count, bool fast, float* scale,
                              float* offset) const {
  float factor = 1;
  if (fast && form_.rule == DecodeRule::lookup) factor = 1.0f / 127.0f;
  if (fast && form_.rule == DecodeRule::product) factor = form_.factor;
  const int64_t cuts = form_.group >= form_.inputs ? sum_groups_ : form_.group / sum_group_;
  if (cuts == 1) return expand_groups(strip, first, count, factor, scale, offset);
  for (int64_t s = 0; s < count; ++s) {
    float* to = scale + s * kIntegerColumns;
    float* offset_to = offset ? offset + s * kIntegerColumns : nullptr;
    if (s == 0 || (first + s) % cuts == 0) {
      expand_groups(strip, (first + s) / cuts, 1, factor, to, offset_to);
    } else {
      std::copy_n(to - kIntegerColumns, kIntegerColumns, to);
      if (offset) std::copy_n(offset_to - kIntegerColumns, kIntegerColumns, offset_to);
    }
  }
}

void QuantizedWeights::read_row(int64_t n, float* out) const {
  assert(n >= 0 && n < outputs_);
  const int64_t strip = n / kIntegerColumns, lane = n % kIntegerColumns;
  const uint8_t* codes = this->strip(strip);
  for (int64_t g = 0; g < groups_; ++g) {
    float scales[kIntegerColumns], offsets[kIntegerColumns];
    expand_groups(strip, g, 1, 1.0f, scales, offsets);
    const float scale = scales[lane], offset = offsets[lane];
    for (int64_t i = g * form_.group; i < std::min((g + 1) * form_.group, form_.inputs); ++i) {
      const uint8_t code = code_at(codes, form_.bits, lane, i);
      float value = form_.rule == DecodeRule::affine ? std::fma(static_cast<float>(code), scale, offset)
                    : form_.rule == DecodeRule::lookup
                        ? form_.values[code] * scale
                        : static_cast<float>(code - 128) * scale * form_.factor;
      if (form_.rounding == DecodeRounding::f16) value = round_to_f16(value);
      if (form_.rounding == DecodeRounding::bf16) value = round_to_bf16(value);
      out[i] = value;
    }
  }
}

}  // namespace bm
