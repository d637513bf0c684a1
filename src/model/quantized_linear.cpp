#include "model/quantized_linear.h"

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/threads.h"
#include "tensor/awq_layout.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm {
namespace {

constexpr std::string_view kQuantState = ".weight.quant_state.bitsandbytes__";

std::string name_of(std::string_view module, std::string_view part) {
  return std::string(module) + std::string(part);
}

size_t at(int64_t index) { return static_cast<size_t>(index); }

// A part of the module's storage, checked for dtype and shape (empty shape: any).
Result<StoredTensor> part_of(const Checkpoint& checkpoint, std::string_view module, std::string_view part,
                             DType dtype, const Shape& shape) {
  std::string name = name_of(module, part);
  BM_TRY(auto stored, checkpoint.get(name));
  if (stored.blocks || stored.view.dtype != dtype)
    return bad_input("its dtype is " + std::string(dtype_name(stored.view.dtype)) + ", expected " +
                         std::string(dtype_name(dtype)),
                     "write the quantized folder again")
        .in("tensor " + name)
        .in(stored.file);
  if (!shape.empty() && stored.shape != shape)
    return bad_input("its shape is " + shape_text(stored.shape) + ", expected " + shape_text(shape),
                     "check group size or block size in quantization_config")
        .in("tensor " + name)
        .in(stored.file);
  return stored;
}

// Values of a small tensor, copied because files align them to their element only by convention.
template <class T>
std::vector<T> values_of(const StoredTensor& stored) {
  std::vector<T> values(at(stored.view.count()));
  if (!values.empty()) std::memcpy(values.data(), stored.view.data, stored.view.bytes());
  return values;
}

Result<std::vector<float>> bias_of(const Checkpoint& checkpoint, std::string_view module, int64_t rows) {
  std::string name = name_of(module, ".bias");
  if (!checkpoint.contains(name)) return std::vector<float>{};
  BM_TRY(auto bias, checkpoint.get_f32(name));
  if (static_cast<int64_t>(bias.size()) != rows)
    return bad_input("it has " + std::to_string(bias.size()) + " values, expected " + std::to_string(rows))
        .in("tensor " + name);
  return bias;
}

Error misfit(std::string_view module, std::string what) {
  return bad_input(std::move(what), "the folder's config.json and its weights do not belong together")
      .in("module " + std::string(module));
}

Status check_size(std::string_view module, const LinearF32& linear, int64_t rows, int64_t columns) {
  if ((rows && linear.rows != rows) || (columns && linear.columns != columns))
    return misfit(module, "its stored size is [" + std::to_string(linear.rows) + ", " +
                              std::to_string(linear.columns) + "], the model needs [" + std::to_string(rows) +
                              ", " + std::to_string(columns) + "]");
  return {};
}

// ---------------------------------------------------------------- AutoAWQ

Result<std::pair<int64_t, int64_t>> matrix_shape(const Checkpoint& checkpoint, std::string_view module,
                                                 std::string_view part) {
  std::string name = name_of(module, part);
  BM_TRY(auto stored, checkpoint.get(name));
  if (stored.shape.size() != 2 || stored.shape[0] <= 0 || stored.shape[1] <= 0)
    return bad_input("its shape is " + shape_text(stored.shape) + ", expected a matrix")
        .in("tensor " + name)
        .in(stored.file);
  return std::pair{stored.shape[0], stored.shape[1]};
}

Result<AwqPacked> read_awq(const Checkpoint& checkpoint, std::string_view module, AwqLayout layout,
                           int64_t group) {
  AwqPacked p;
  p.layout = layout;
  BM_TRY(auto shape, matrix_shape(checkpoint, module, ".qweight"));
  auto [first, second] = shape;
  p.rows = layout == AwqLayout::gemm ? second * 8 : layout == AwqLayout::gemv ? first : first * 4;
  p.columns = layout == AwqLayout::gemm ? first : layout == AwqLayout::gemv ? second * 8 : second;
  p.group = group <= 0 ? p.columns : group;
  if (std::string why = awq_misfit(layout, p.rows, p.columns, p.group); !why.empty())
    return misfit(module,
                  "the AWQ layout " + std::string(awq_layout_name(layout)) + " cannot hold it: " + why);
  int64_t groups = p.columns / p.group, width = awq_zero_width(p.columns, p.group);
  if (layout == AwqLayout::gemv_fast) {
    BM_TRY(auto weight, part_of(checkpoint, module, ".qweight", DType::i16, {p.rows / 4, p.columns}));
    BM_TRY(auto zeros, part_of(checkpoint, module, ".qzeros", DType::f16, {width * 8, p.rows}));
    BM_TRY(auto scales, part_of(checkpoint, module, ".scales", DType::f16, {width * 8, p.rows}));
    p.qweight_fast = values_of<int16_t>(weight);
    p.qzeros_fast = values_of<uint16_t>(zeros);
    p.scales = values_of<uint16_t>(scales);
    return p;
  }
  bool gemm = layout == AwqLayout::gemm;
  BM_TRY(auto weight, part_of(checkpoint, module, ".qweight", DType::i32, {}));
  BM_TRY(auto zeros, part_of(checkpoint, module, ".qzeros", DType::i32,
                             gemm ? Shape{groups, p.rows / 8} : Shape{p.rows, width}));
  BM_TRY(auto scales, part_of(checkpoint, module, ".scales", DType::f16,
                              gemm ? Shape{groups, p.rows} : Shape{p.rows, width * 8}));
  p.qweight = values_of<int32_t>(weight);
  p.qzeros = values_of<int32_t>(zeros);
  p.scales = values_of<uint16_t>(scales);
  return p;
}

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

struct QuantState {
  FourBitKind kind = FourBitKind::nf4;
  int64_t block = 64, nested_block = kNestedBlock;
  DType dtype = DType::f16;
  int64_t rows = 0, columns = 0;
  bool nested = false;
  float nested_offset = 0;
};

Result<QuantState> parse_quant_state(std::string_view text, FourBitKind kind) {
  BM_TRY(auto json, parse_json(text));
  QuantState state;
  state.kind = kind;
  BM_TRY(std::string type, json.get_string("quant_type"));
  if (type != (kind == FourBitKind::nf4 ? "nf4" : "fp4")) return bad_input("quant_type is \"" + type + "\"");
  BM_TRY(state.block, json.get_int("blocksize"));
  if (!is_four_bit_block(state.block))
    return bad_input("blocksize " + std::to_string(state.block) + " is no power of two from 32 to 4096");
  BM_TRY(std::string dtype, json.get_string("dtype"));
  auto known = dtype_from_user(dtype);
  if (!known || (*known != DType::f32 && *known != DType::f16 && *known != DType::bf16))
    return bad_input("dtype \"" + dtype + "\" is none of float32, float16, bfloat16");
  state.dtype = *known;
  const Json& shape = json["shape"];
  if (!shape.is_array() || shape.size() != 2 || !shape[0].is_integer() || !shape[1].is_integer() ||
      shape[0].as_int() <= 0 || shape[1].as_int() <= 0 || shape[0].as_int() > (int64_t{1} << 31) ||
      shape[1].as_int() > (int64_t{1} << 31))
    return bad_input("\"shape\" is no pair of positive sizes");
  state.rows = shape[0].as_int();
  state.columns = shape[1].as_int();
  state.nested = json.contains("nested_blocksize");
  if (state.nested) {
    BM_TRY(state.nested_block, json.get_int("nested_blocksize"));
    BM_TRY(double offset, json.get_double("nested_offset"));
    state.nested_offset = static_cast<float>(offset);
    if (state.nested_block <= 0) return bad_input("nested_blocksize is not positive");
  }
  return state;
}

Result<QuantState> quant_state_of(const Checkpoint& checkpoint, std::string_view module, FourBitKind kind) {
  std::string name = name_of(module, kQuantState) + (kind == FourBitKind::nf4 ? "nf4" : "fp4");
  BM_TRY(auto stored, checkpoint.get(name));
  std::string_view text(reinterpret_cast<const char*>(stored.view.data), stored.view.bytes());
  return parse_quant_state(text, kind).in("tensor " + name).in(stored.file);
}

Result<std::vector<float>> absmax_of(const Checkpoint& checkpoint, std::string_view module,
                                     const QuantState& state, int64_t blocks) {
  if (!state.nested) {
    BM_TRY(auto absmax, part_of(checkpoint, module, ".weight.absmax", DType::f32, {blocks}));
    return values_of<float>(absmax);
  }
  int64_t nested_blocks = (blocks + state.nested_block - 1) / state.nested_block;
  BM_TRY(auto codes, part_of(checkpoint, module, ".weight.absmax", DType::u8, {blocks}));
  BM_TRY(auto maxima, part_of(checkpoint, module, ".weight.nested_absmax", DType::f32, {nested_blocks}));
  BM_TRY(auto map, part_of(checkpoint, module, ".weight.nested_quant_map", DType::f32, {256}));
  auto map_values = values_of<float>(map);
  return unnest_absmax(values_of<uint8_t>(codes), values_of<float>(maxima),
                       std::span<const float, 256>(map_values.data(), 256), state.nested_offset,
                       state.nested_block);
}

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
  std::string format = name_of(module, ".weight_format");
  if (checkpoint.contains(format)) {
    BM_TRY(auto stored, checkpoint.get(format));
    if (stored.view.dtype != DType::u8 || stored.view.count() != 1 || stored.view.as<uint8_t>()[0] != 0)
      return bad_input("the weight's layout is not row-major (weight_format 0)",
                       "save the model again with bitsandbytes 0.45 or later")
          .in("tensor " + format)
          .in(stored.file);
  }
  auto maxima = values_of<float>(scb);
  LinearF32 linear;
  linear.rows = rows;
  linear.columns = columns;
  linear.weight.resize(at(rows * columns));
  int8_decode_rows(codes.view.as<int8_t>(), maxima.data(), rows, columns, linear.weight.data());
  return linear;
}

// ---------------------------------------------------------------- compressed-tensors, pack-quantized

// Codes stored + 8, eight 4-bit values a word, along the fast dimension.
float packed_value(const int32_t* words, int64_t index) {
  auto word = static_cast<uint32_t>(words[index / 8]);
  return static_cast<float>((word >> (4 * (index % 8))) & 15u) - 8.0f;
}

Result<LinearF32> load_pack_quantized(const Checkpoint& checkpoint, std::string_view module) {
  BM_TRY(auto shape, part_of(checkpoint, module, ".weight_shape", DType::i64, {2}));
  auto sizes = values_of<int64_t>(shape);
  int64_t rows = sizes[0], columns = sizes[1];
  if (rows <= 0 || columns <= 0 || rows > (int64_t{1} << 31) || columns > (int64_t{1} << 31))
    return misfit(module, "weight_shape is [" + std::to_string(rows) + ", " + std::to_string(columns) + "]");
  int64_t words = (columns + 7) / 8;
  BM_TRY(auto packed, part_of(checkpoint, module, ".weight_packed", DType::i32, {rows, words}));
  BM_TRY(auto scale_shape, matrix_shape(checkpoint, module, ".weight_scale"));
  int64_t groups = scale_shape.second;
  if (scale_shape.first != rows || columns % groups != 0)
    return misfit(module, "weight_scale does not fit weight_shape");
  BM_TRY(auto scales, checkpoint.get_f32(name_of(module, ".weight_scale")));
  BM_TRY(auto stored_scale, checkpoint.get(name_of(module, ".weight_scale")));
  std::vector<int32_t> zeros;  // packed along the outputs: [⌈out/8⌉, groups]
  std::string zero_name = name_of(module, ".weight_zero_point");
  if (checkpoint.contains(zero_name)) {
    BM_TRY(auto stored,
           part_of(checkpoint, module, ".weight_zero_point", DType::i32, {(rows + 7) / 8, groups}));
    zeros = values_of<int32_t>(stored);
  }
  auto codes = values_of<int32_t>(packed);
  DType dtype = stored_scale.view.dtype;
  LinearF32 linear;
  linear.rows = rows;
  linear.columns = columns;
  linear.weight.resize(at(rows * columns));
  int64_t group = columns / groups;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      float zero = 0;
      if (!zeros.empty()) {
        auto word = static_cast<uint32_t>(zeros[at(r / 8 * groups + c / group)]);
        zero = static_cast<float>((word >> (4 * (r % 8))) & 15u) - 8.0f;
      }
      float value = (packed_value(codes.data() + r * words, c) - zero) * scales[at(r * groups + c / group)];
      linear.weight[at(r * columns + c)] = dtype == DType::bf16  ? round_to_bf16(value)
                                           : dtype == DType::f16 ? round_to_f16_fast(value)
                                                                 : value;
    }
  return linear;
}

Result<AwqLayout> awq_layout_of(const Json& config) {
  BM_TRY(std::string version, config.get_string("version", "gemm"));
  for (char& c : version) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (version == "gemm") return AwqLayout::gemm;
  if (version == "gemv") return AwqLayout::gemv;
  if (version == "gemv_fast") return AwqLayout::gemv_fast;
  return bad_input("AWQ version \"" + version + "\" is none of gemm, gemv, gemv_fast")
      .in("quantization_config")
      .in("config.json");
}

}  // namespace

std::string_view quantization_format_name(QuantizationFormat format) {
  constexpr std::array<std::string_view, 8> names = {"none", "awq-gemm", "awq-gemv", "awq-gemv-fast",
                                                     "nf4",  "fp4",      "int8",     "pack-quantized"};
  return names[static_cast<size_t>(format)];
}

bool is_quantized_module(const Checkpoint& checkpoint, std::string_view module) {
  for (std::string_view part : {".qweight", ".weight.absmax", ".SCB", ".weight_packed"})
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
  if (method == "bitsandbytes" || method == "compressed-tensors") return {};
  return bad_input("quant_method \"" + method + "\" cannot be read",
                   "readable are awq, bitsandbytes and compressed-tensors (pack-quantized); convert the "
                   "folder first")
      .in("quantization_config")
      .in("config.json");
}

Result<QuantizationFormat> stored_quantization(const Checkpoint& checkpoint, std::string_view module,
                                               const Json& config) {
  if (checkpoint.contains(name_of(module, ".qweight"))) {
    BM_TRY(std::string method, config.get_string("quant_method", "awq"));
    if (method != "awq")
      return misfit(module,
                    "it has a qweight, but quant_method is \"" + method + "\", which cannot be read so");
    BM_TRY(auto layout, awq_layout_of(config));
    return layout == AwqLayout::gemm   ? QuantizationFormat::awq_gemm
           : layout == AwqLayout::gemv ? QuantizationFormat::awq_gemv
                                       : QuantizationFormat::awq_gemv_fast;
  }
  if (checkpoint.contains(name_of(module, ".weight_packed"))) return QuantizationFormat::pack_quantized;
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
      default:
        return misfit(module, "it is not quantized in this folder");
    }
  };
  BM_TRY(auto linear, load());
  BM_CHECK_OK(check_size(module, linear, rows, columns));
  BM_TRY(linear.bias, bias_of(checkpoint, module, linear.rows));
  return linear;
}

}  // namespace bm
