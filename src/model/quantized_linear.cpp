#include "model/quantized_linear.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/threads.h"
#include "model/quantized_parts.h"
#include "tensor/awq_layout.h"
#include "tensor/block_codes.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm {

using namespace stored;

namespace {

Result<std::vector<float>> bias_of(const Checkpoint& checkpoint, std::string_view module, int64_t rows) {
  std::string name = name_of(module, ".bias");
  if (!checkpoint.contains(name)) return std::vector<float>{};
  BM_TRY(auto bias, checkpoint.get_f32(name));
  if (static_cast<int64_t>(bias.size()) != rows)
    return bad_input("it has " + std::to_string(bias.size()) + " values, expected " + std::to_string(rows))
        .in("tensor " + name);
  return bias;
}

// ---------------------------------------------------------------- AutoAWQ

Result<LinearF32> load_awq(const Checkpoint& checkpoint, std::string_view module, AwqLayout layout,
                           const Json& config) {
  BM_TRY(int64_t bits, config.get_int("bits", 4));
  if (bits != 4) return misfit(module, "AWQ with " + std::to_string(bits) + " bits; only 4 are read");
  BM_TRY(int64_t group, config.get_int("group_size", 128));
  BM_TRY(auto packed, read_awq(checkpoint, module, layout, group));
  LinearF32 linear;
  linear.rows = packed.rows;
  linear.columns = packed.columns;
  linear.weight = awq_dequantize(awq_unpack(packed));
  return linear;
}

// ---------------------------------------------------------------- bitsandbytes, 4-bit

Result<LinearF32> load_four_bit(const Checkpoint& checkpoint, std::string_view module, FourBitKind kind) {
  BM_TRY(auto state, quant_state_of(checkpoint, module, kind));
  int64_t count = state.rows * state.columns, blocks = four_bit_blocks(count, state.block);
  BM_TRY(auto packed, part_of(checkpoint, module, ".weight", DType::u8, {four_bit_bytes(count), 1}));
  BM_TRY(auto map, part_of(checkpoint, module, ".weight.quant_map", DType::f32, {16}));
  BM_TRY(auto absmax, absmax_of(checkpoint, module, state, blocks));
  auto map_values = values_of<float>(map);
  LinearF32 linear;
  linear.rows = state.rows;
  linear.columns = state.columns;
  linear.weight.resize(at(count));
  // Chunks of whole blocks; every block starts on a whole byte.
  int64_t chunk = state.block * 256;
  parallel_chunks(at(count), at(chunk), [&](size_t begin, size_t end) {
    four_bit_decode(std::span<const float, 16>(map_values.data(), 16), packed.view.as<uint8_t>() + begin / 2,
                    absmax.data() + begin / at(state.block), static_cast<int64_t>(end - begin), state.block,
                    state.dtype, linear.weight.data() + begin);
  });
  return linear;
}

// ---------------------------------------------------------------- bitsandbytes, int8

Result<LinearF32> load_int8(const Checkpoint& checkpoint, std::string_view module) {
  BM_TRY(auto shape, matrix_shape(checkpoint, module, ".weight"));
  auto [rows, columns] = shape;
  BM_TRY(auto codes, part_of(checkpoint, module, ".weight", DType::i8, {rows, columns}));
  BM_TRY(auto scb, part_of(checkpoint, module, ".SCB", DType::f32, {rows}));
  BM_CHECK_OK(check_int8_format(checkpoint, module));
  auto maxima = values_of<float>(scb);
  LinearF32 linear;
  linear.rows = rows;
  linear.columns = columns;
  linear.weight.resize(at(rows * columns));
  int8_decode_rows(codes.view.as<int8_t>(), maxima.data(), rows, columns, linear.weight.data());
  return linear;
}

// ---------------------------------------------------------------- compressed-tensors

float rounded_to(DType dtype, float value) {
  return dtype == DType::bf16 ? round_to_bf16(value) : dtype == DType::f16 ? round_to_f16_fast(value) : value;
}

Result<LinearF32> load_pack_quantized(const Checkpoint& checkpoint, std::string_view module) {
  BM_TRY(auto p, read_pack_quantized(checkpoint, module));
  LinearF32 linear;
  linear.rows = p.rows;
  linear.columns = p.columns;
  linear.weight.resize(at(p.rows * p.columns));
  int64_t groups = p.columns / p.group;
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t c = 0; c < p.columns; ++c) {
      int64_t g = c / p.group;
      float value = static_cast<float>(p.code(r, c) - p.zero(r, g)) * p.scales[at(r * groups + g)];
      linear.weight[at(r * p.columns + c)] = rounded_to(p.dtype, value);
    }
  return linear;
}

Result<LinearF32> load_int_quantized(const Checkpoint& checkpoint, std::string_view module) {
  BM_TRY(auto q, read_int_quantized(checkpoint, module));
  LinearF32 linear;
  linear.rows = q.rows;
  linear.columns = q.columns;
  linear.weight.resize(at(q.rows * q.columns));
  const auto* codes = q.codes.view.as<int8_t>();
  for (int64_t r = 0; r < q.rows; ++r)
    for (int64_t c = 0; c < q.columns; ++c)
      linear.weight[at(r * q.columns + c)] =
          rounded_to(q.dtype, static_cast<float>(codes[r * q.columns + c]) * q.scales[at(r)]);
  return linear;
}

// ---------------------------------------------------------------- GPTQ

Result<LinearF32> load_gptq(const Checkpoint& checkpoint, std::string_view module, const Json& config) {
  BM_TRY(auto q, read_gptq(checkpoint, module, config));
  LinearF32 linear;
  linear.rows = q.rows;
  linear.columns = q.columns;
  linear.weight.resize(at(q.rows * q.columns));
  for (int64_t c = 0; c < q.columns; ++c) {
    int64_t g = q.group_of[at(c)];
    for (int64_t r = 0; r < q.rows; ++r)
      linear.weight[at(r * q.columns + c)] =
          round_to_f16_fast(static_cast<float>(q.code(r, c) - q.zero(r, g)) * q.scales[at(g * q.rows + r)]);
  }
  return linear;
}

}  // namespace

std::string_view quantization_format_name(QuantizationFormat format) {
  constexpr std::array<std::string_view, 10> names = {
      "none", "awq-gemm", "awq-gemv",       "awq-gemv-fast", "nf4",
      "fp4",  "int8",     "pack-quantized", "int-quantized", "gptq"};
  return names[static_cast<size_t>(format)];
}

bool is_quantized_module(const Checkpoint& checkpoint, std::string_view module) {
  for (std::string_view part : {".qweight", ".weight.absmax", ".SCB", ".weight_packed", ".weight_scale"})
    if (checkpoint.contains(name_of(module, part))) return true;
  return false;
}

bool is_quantization_tensor(std::string_view tensor) {
  for (std::string_view part :
       {".qweight", ".qzeros", ".scales", ".g_idx", ".weight.absmax", ".weight.quant_map",
        ".weight.nested_absmax", ".weight.nested_quant_map", ".SCB", ".weight_format", ".weight_packed",
        ".weight_scale", ".weight_zero_point", ".weight_shape"})
    if (ends_with(tensor, part)) return true;
  return tensor.find(kQuantState) != std::string_view::npos;
}

Status check_quantization_config(const Json& config) {
  if (config.is_null()) return {};
  BM_TRY(std::string method, config.get_string("quant_method", "bitsandbytes"));
  if (method == "awq") {
    BM_TRY(auto layout, awq_layout_of(config));
    static_cast<void>(layout);
    return {};
  }
  if (method == "bitsandbytes" || method == "compressed-tensors" || method == "gptq") return {};
  return bad_input(
             "quant_method \"" + method + "\" cannot be read",
             "readable are awq, gptq, bitsandbytes and compressed-tensors (pack-quantized, int-quantized); "
             "convert the folder first")
      .in("quantization_config")
      .in("config.json");
}

Result<QuantizationFormat> stored_quantization(const Checkpoint& checkpoint, std::string_view module,
                                               const Json& config) {
  if (checkpoint.contains(name_of(module, ".qweight"))) {
    BM_TRY(std::string method, config.get_string("quant_method", "awq"));
    if (method == "gptq") return QuantizationFormat::gptq;
    if (method != "awq")
      return misfit(module,
                    "it has a qweight, but quant_method is \"" + method + "\", which cannot be read so");
    BM_TRY(auto layout, awq_layout_of(config));
    return layout == AwqLayout::gemm   ? QuantizationFormat::awq_gemm
           : layout == AwqLayout::gemv ? QuantizationFormat::awq_gemv
                                       : QuantizationFormat::awq_gemv_fast;
  }
  if (checkpoint.contains(name_of(module, ".weight_packed"))) return QuantizationFormat::pack_quantized;
  if (checkpoint.contains(name_of(module, ".weight_scale"))) return QuantizationFormat::int_quantized;
  if (checkpoint.contains(name_of(module, ".SCB"))) return QuantizationFormat::int8;
  if (checkpoint.contains(name_of(module, ".weight.absmax"))) {
    if (checkpoint.contains(name_of(module, kQuantState) + "nf4")) return QuantizationFormat::nf4;
    if (checkpoint.contains(name_of(module, kQuantState) + "fp4")) return QuantizationFormat::fp4;
    return misfit(module, "it has weight.absmax but no weight.quant_state.bitsandbytes__nf4 or __fp4");
  }
  return QuantizationFormat::none;
}

Result<LinearF32> load_quantized_linear(const Checkpoint& checkpoint, std::string_view module,
                                        const Json& config, int64_t rows, int64_t columns) {
  BM_TRY(auto format, stored_quantization(checkpoint, module, config));
  auto load = [&]() -> Result<LinearF32> {
    switch (format) {
      case QuantizationFormat::awq_gemm:
        return load_awq(checkpoint, module, AwqLayout::gemm, config);
      case QuantizationFormat::awq_gemv:
        return load_awq(checkpoint, module, AwqLayout::gemv, config);
      case QuantizationFormat::awq_gemv_fast:
        return load_awq(checkpoint, module, AwqLayout::gemv_fast, config);
      case QuantizationFormat::nf4:
        return load_four_bit(checkpoint, module, FourBitKind::nf4);
      case QuantizationFormat::fp4:
        return load_four_bit(checkpoint, module, FourBitKind::fp4);
      case QuantizationFormat::int8:
        return load_int8(checkpoint, module);
      case QuantizationFormat::pack_quantized:
        return load_pack_quantized(checkpoint, module);
      case QuantizationFormat::int_quantized:
        return load_int_quantized(checkpoint, module);
      case QuantizationFormat::gptq:
        return load_gptq(checkpoint, module, config);
      default:
        return misfit(module, "it is not quantized in this folder");
    }
  };
  BM_TRY(auto linear, load());
  BM_CHECK_OK(check_size(module, linear.rows, linear.columns, rows, columns));
  BM_TRY(linear.bias, bias_of(checkpoint, module, linear.rows));
  return linear;
}

}  // namespace bm
