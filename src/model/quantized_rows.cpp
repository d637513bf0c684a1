// Quantized modules as codes and scales for the integer kernels.
#include <cmath>
#include <cstring>

#include "model/quantized_linear.h"
#include "model/quantized_parts.h"
#include "tensor/block_codes.h"

namespace bm {

using namespace stored;

namespace {

DecodeRounding rounding_to(DType dtype) {
  return dtype == DType::f16    ? DecodeRounding::f16
         : dtype == DType::bf16 ? DecodeRounding::bf16
                                : DecodeRounding::none;
}

Result<std::optional<QuantizedRows>> awq_rows(const Checkpoint& checkpoint, std::string_view module,
                                              AwqLayout layout, const Json& config) {
  BM_TRY(int64_t bits, config.get_int("bits", 4));
  if (bits != 4) return std::optional<QuantizedRows>();
  BM_TRY(int64_t group, config.get_int("group_size", 128));
  BM_TRY(auto packed, read_awq(checkpoint, module, layout, group));
  auto codes = std::make_shared<const AwqCodes>(awq_unpack(packed));
  QuantizedRows rows;
  rows.outputs = codes->rows;
  rows.form.inputs = codes->columns;
  rows.form.group = codes->group;
  rows.form.rounding = DecodeRounding::f16;
  rows.form.offsets = OffsetKind::zeros;
  const int64_t columns = codes->columns, groups = columns / codes->group;
  rows.codes = [codes, columns](int64_t row, uint8_t* out) {
    std::memcpy(out, codes->codes.data() + row * columns, at(columns));
  };
  rows.groups = [codes, groups](int64_t row, CodeGroup* out) {
    for (int64_t g = 0; g < groups; ++g) {
      const size_t i = at(row * groups + g);
      out[g] = {codes->scales[i], 0, 1, static_cast<int32_t>(codes->zeros[i])};
    }
  };
  return std::optional<QuantizedRows>(std::move(rows));
}

Result<std::optional<QuantizedRows>> four_bit_rows(const Checkpoint& checkpoint, std::string_view module,
                                                   FourBitKind kind) {
  BM_TRY(auto state, quant_state_of(checkpoint, module, kind));
  if (state.columns % state.block != 0) return std::optional<QuantizedRows>();  // blocks straddle rows
  const int64_t count = state.rows * state.columns, groups = state.columns / state.block;
  BM_TRY(auto packed, part_of(checkpoint, module, ".weight", DType::u8, {four_bit_bytes(count), 1}));
  BM_TRY(auto map, part_of(checkpoint, module, ".weight.quant_map", DType::f32, {16}));
  BM_TRY(auto maxima, absmax_of(checkpoint, module, state, four_bit_blocks(count, state.block)));
  auto absmax = std::make_shared<const std::vector<float>>(std::move(maxima));
  auto values = values_of<float>(map);
  QuantizedRows rows;
  rows.outputs = state.rows;
  rows.form.inputs = state.columns;
  rows.form.group = state.block;
  rows.form.rule = DecodeRule::lookup;
  rows.form.rounding = rounding_to(state.dtype);
  rows.form.half_scales = false;
  for (size_t i = 0; i < 16; ++i) {
    if (!(std::fabs(values[i]) <= 1.0f)) return std::optional<QuantizedRows>();  // no map of bitsandbytes
    rows.form.values[i] = values[i];
  }
  const auto* bytes = packed.view.as<uint8_t>();
  const int64_t columns = state.columns;
  rows.codes = [bytes, columns](int64_t row, uint8_t* out) {
    const uint8_t* in = bytes + row * columns / 2;  // blocks are even, so rows start on whole bytes
    for (int64_t i = 0; i < columns; i += 2) {
      out[i] = in[i / 2] >> 4;
      out[i + 1] = in[i / 2] & 15;
    }
  };
  rows.groups = [absmax, groups](int64_t row, CodeGroup* out) {
    for (int64_t g = 0; g < groups; ++g) out[g] = {(*absmax)[at(row * groups + g)], 0, 1, 0};
  };
  rows.keep = packed.view.keep;
  return std::optional<QuantizedRows>(std::move(rows));
}

Result<std::optional<QuantizedRows>> int8_rows(const Checkpoint& checkpoint, std::string_view module) {
  BM_TRY(auto shape, matrix_shape(checkpoint, module, ".weight"));
  auto [outputs, columns] = shape;
  BM_TRY(auto codes, part_of(checkpoint, module, ".weight", DType::i8, {outputs, columns}));
  BM_TRY(auto scb, part_of(checkpoint, module, ".SCB", DType::f32, {outputs}));
  BM_CHECK_OK(check_int8_format(checkpoint, module));
  auto maxima = std::make_shared<const std::vector<float>>(values_of<float>(scb));
  QuantizedRows rows;
  rows.outputs = outputs;
  rows.form.inputs = columns;
  rows.form.group = columns;
  rows.form.bits = 8;
  rows.form.wide = true;
  rows.form.rule = DecodeRule::product;
  rows.form.factor = 1.0f / 127.0f;
  rows.form.half_scales = false;
  const auto* bytes = codes.view.as<uint8_t>();
  const int64_t width = columns;
  rows.codes = [bytes, width](int64_t row, uint8_t* out) {
    for (int64_t i = 0; i < width; ++i) out[i] = bytes[row * width + i] ^ 0x80;
  };
  rows.groups = [maxima](int64_t row, CodeGroup* out) { *out = {(*maxima)[at(row)], 0, 1, 0}; };
  rows.keep = codes.view.keep;
  return std::optional<QuantizedRows>(std::move(rows));
}

Result<std::optional<QuantizedRows>> pack_quantized_rows(const Checkpoint& checkpoint,
                                                         std::string_view module) {
  BM_TRY(auto read, read_pack_quantized(checkpoint, module));
  // zero · scale must be exact.
  if (read.dtype == DType::f32 && !read.zeros.empty()) return std::optional<QuantizedRows>();
  auto p = std::make_shared<const PackQuantized>(std::move(read));
  QuantizedRows rows;
  rows.outputs = p->rows;
  rows.form.inputs = p->columns;
  rows.form.group = p->group;
  rows.form.rounding = rounding_to(p->dtype);
  rows.form.half_scales = p->dtype == DType::f16;
  rows.form.offsets = p->zeros.empty() ? OffsetKind::constant : OffsetKind::zeros;
  rows.form.zero = 8;
  rows.codes = [p](int64_t row, uint8_t* out) {
    for (int64_t i = 0; i < p->columns; ++i) out[i] = static_cast<uint8_t>(p->code(row, i));
  };
  rows.groups = [p](int64_t row, CodeGroup* out) {
    const int64_t groups = p->columns / p->group;
    for (int64_t g = 0; g < groups; ++g) out[g] = {p->scales[at(row * groups + g)], 0, 1, p->zero(row, g)};
  };
  return std::optional<QuantizedRows>(std::move(rows));
}

Result<std::optional<QuantizedRows>> int_quantized_rows(const Checkpoint& checkpoint,
                                                        std::string_view module) {
  BM_TRY(auto read, read_int_quantized(checkpoint, module));
  if (read.dtype == DType::f32) return std::optional<QuantizedRows>();  // 128 · scale must be exact
  auto q = std::make_shared<const IntQuantized>(std::move(read));
  QuantizedRows rows;
  rows.outputs = q->rows;
  rows.form.inputs = q->columns;
  rows.form.group = q->columns;
  rows.form.bits = 8;
  rows.form.wide = true;
  rows.form.rounding = rounding_to(q->dtype);
  rows.form.half_scales = q->dtype == DType::f16;
  rows.form.zero = 128;
  rows.codes = [q](int64_t row, uint8_t* out) {
    const uint8_t* codes = q->codes.view.as<uint8_t>() + row * q->columns;
    for (int64_t i = 0; i < q->columns; ++i) out[i] = codes[i] ^ 0x80;
  };
  rows.groups = [q](int64_t row, CodeGroup* out) { *out = {q->scales[at(row)], 0, 1, 0}; };
  rows.keep = q->codes.view.keep;
  return std::optional<QuantizedRows>(std::move(rows));
}

// Inputs in the order of their groups only: act-order files are decoded instead.
Result<std::optional<QuantizedRows>> gptq_rows(const Checkpoint& checkpoint, std::string_view module,
                                               const Json& config) {
  BM_TRY(auto read, read_gptq(checkpoint, module, config));
  const int64_t group = read.columns / read.groups;
  for (int64_t c = 0; c < read.columns; ++c)
    if (read.columns % read.groups != 0 || read.group_of[at(c)] != c / group)
      return std::optional<QuantizedRows>();
  if (read.bits != 4) return std::optional<QuantizedRows>();
  auto q = std::make_shared<const Gptq>(std::move(read));
  QuantizedRows rows;
  rows.outputs = q->rows;
  rows.form.inputs = q->columns;
  rows.form.group = group;
  rows.form.rounding = rounding_to(DType::f16);
  rows.form.offsets = OffsetKind::zeros;
  rows.codes = [q](int64_t row, uint8_t* out) {
    for (int64_t i = 0; i < q->columns; ++i) out[i] = static_cast<uint8_t>(q->code(row, i));
  };
  rows.groups = [q](int64_t row, CodeGroup* out) {
    for (int64_t g = 0; g < q->groups; ++g)
      out[g] = {q->scales[at(g * q->rows + row)], 0, 1, q->zero(row, g)};
  };
  return std::optional<QuantizedRows>(std::move(rows));
}

}  // namespace

Result<std::optional<QuantizedRows>> load_quantized_rows(const Checkpoint& checkpoint,
                                                         std::string_view module, const Json& config,
                                                         int64_t rows, int64_t columns) {
  BM_TRY(auto format, stored_quantization(checkpoint, module, config));
  auto load = [&]() -> Result<std::optional<QuantizedRows>> {
    switch (format) {
      case QuantizationFormat::awq_gemm:
        return awq_rows(checkpoint, module, AwqLayout::gemm, config);
      case QuantizationFormat::awq_gemv:
        return awq_rows(checkpoint, module, AwqLayout::gemv, config);
      case QuantizationFormat::awq_gemv_fast:
        return awq_rows(checkpoint, module, AwqLayout::gemv_fast, config);
      case QuantizationFormat::nf4:
        return four_bit_rows(checkpoint, module, FourBitKind::nf4);
      case QuantizationFormat::fp4:
        return four_bit_rows(checkpoint, module, FourBitKind::fp4);
      case QuantizationFormat::int8:
        return int8_rows(checkpoint, module);
      case QuantizationFormat::pack_quantized:
        return pack_quantized_rows(checkpoint, module);
      case QuantizationFormat::int_quantized:
        return int_quantized_rows(checkpoint, module);
      case QuantizationFormat::gptq:
        return gptq_rows(checkpoint, module, config);
      default:
        return std::optional<QuantizedRows>();
    }
  };
  BM_TRY(auto result, load());
  if (result) {
    BM_CHECK_OK(check_size(module, result->outputs, result->form.inputs, rows, columns));
  }
  return result;
}

QuantizedRows block_rows(const StoredTensor& stored, int64_t outputs, int64_t columns) {
  const BlockType type = *stored.blocks;
  const BlockCodes about = block_codes_of(type);
  QuantizedRows rows;
  rows.outputs = outputs;
  rows.form.inputs = columns;
  rows.form.group = about.group;
  rows.form.bits = about.bits;
  rows.form.wide = type == BlockType::q8_0;
  rows.form.offsets = about.offsets ? OffsetKind::halves : OffsetKind::constant;
  rows.form.zero = about.zero;
  rows.form.super = about.run;
  rows.form.signed_sub = type == BlockType::q6_k;
  const std::byte* data = stored.view.data;
  const int64_t row_bytes = columns / block_elements(type) * block_bytes(type);
  rows.codes = [=](int64_t row, uint8_t* out) {
    read_block_codes(type, data + row * row_bytes, columns, out);
  };
  rows.groups = [=](int64_t row, CodeGroup* out) {
    read_block_groups(type, data + row * row_bytes, columns, out);
  };
  rows.keep = stored.view.keep;
  return rows;
}

}  // namespace bm
