#include "model/quantized_parts.h"

#include "base/file.h"

namespace bm::stored {

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

Error misfit(std::string_view module, std::string what) {
  return bad_input(std::move(what), "the folder's config.json and its weights do not belong together")
      .in("module " + std::string(module));
}

Status check_size(std::string_view module, int64_t stored_rows, int64_t stored_columns, int64_t rows,
                  int64_t columns) {
  if ((rows && stored_rows != rows) || (columns && stored_columns != columns))
    return misfit(module, "its stored size is [" + std::to_string(stored_rows) + ", " +
                              std::to_string(stored_columns) + "], the model needs [" + std::to_string(rows) +
                              ", " + std::to_string(columns) + "]");
  return {};
}

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

namespace {

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

}  // namespace

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

Status check_int8_format(const Checkpoint& checkpoint, std::string_view module) {
  std::string format = name_of(module, ".weight_format");
  if (checkpoint.contains(format)) {
    BM_TRY(auto stored, checkpoint.get(format));
    if (stored.view.dtype != DType::u8 || stored.view.count() != 1 || stored.view.as<uint8_t>()[0] != 0)
      return bad_input("the weight's layout is not row-major (weight_format 0)",
                       "save the model again with bitsandbytes 0.45 or later")
          .in("tensor " + format)
          .in(stored.file);
  }
  return {};
}

Result<PackQuantized> read_pack_quantized(const Checkpoint& checkpoint, std::string_view module) {
  PackQuantized p;
  BM_TRY(auto shape, part_of(checkpoint, module, ".weight_shape", DType::i64, {2}));
  auto sizes = values_of<int64_t>(shape);
  p.rows = sizes[0];
  p.columns = sizes[1];
  if (p.rows <= 0 || p.columns <= 0 || p.rows > (int64_t{1} << 31) || p.columns > (int64_t{1} << 31))
    return misfit(module,
                  "weight_shape is [" + std::to_string(p.rows) + ", " + std::to_string(p.columns) + "]");
  int64_t words = (p.columns + 7) / 8;
  BM_TRY(auto packed, part_of(checkpoint, module, ".weight_packed", DType::i32, {p.rows, words}));
  BM_TRY(auto scale_shape, matrix_shape(checkpoint, module, ".weight_scale"));
  int64_t groups = scale_shape.second;
  if (scale_shape.first != p.rows || p.columns % groups != 0)
    return misfit(module, "weight_scale does not fit weight_shape");
  p.group = p.columns / groups;
  BM_TRY(p.scales, checkpoint.get_f32(name_of(module, ".weight_scale")));
  BM_TRY(auto stored_scale, checkpoint.get(name_of(module, ".weight_scale")));
  p.dtype = stored_scale.view.dtype;
  std::string zero_name = name_of(module, ".weight_zero_point");
  if (checkpoint.contains(zero_name)) {
    BM_TRY(auto stored,
           part_of(checkpoint, module, ".weight_zero_point", DType::i32, {(p.rows + 7) / 8, groups}));
    p.zeros = values_of<int32_t>(stored);
  }
  p.codes = values_of<int32_t>(packed);
  return p;
}

Result<IntQuantized> read_int_quantized(const Checkpoint& checkpoint, std::string_view module) {
  IntQuantized q;
  BM_TRY(auto shape, matrix_shape(checkpoint, module, ".weight"));
  q.rows = shape.first;
  q.columns = shape.second;
  BM_TRY(q.codes, part_of(checkpoint, module, ".weight", DType::i8, {q.rows, q.columns}));
  std::string scale_name = name_of(module, ".weight_scale");
  BM_TRY(auto scale, checkpoint.get(scale_name));
  if (scale.view.count() != q.rows)
    return bad_input("its shape is " + shape_text(scale.shape) + ", expected [" + std::to_string(q.rows) +
                         ", 1]: one scale a row",
                     "other strategies of int-quantized weights are not read")
        .in("tensor " + scale_name)
        .in(scale.file);
  if (checkpoint.contains(name_of(module, ".weight_zero_point")))
    return misfit(module, "it has zero points; only symmetric int8 weights are read");
  q.dtype = scale.view.dtype;
  BM_TRY(q.scales, checkpoint.get_f32(scale_name));
  return q;
}

namespace {

Result<std::vector<int32_t>> gptq_groups(const Checkpoint& checkpoint, std::string_view module, const Gptq& q,
                                         int64_t group) {
  std::vector<int32_t> groups(at(q.columns));
  std::string name = name_of(module, ".g_idx");
  if (checkpoint.contains(name)) {
    BM_TRY(auto stored, part_of(checkpoint, module, ".g_idx", DType::i32, {q.columns}));
    groups = values_of<int32_t>(stored);
  } else {
    for (size_t i = 0; i < groups.size(); ++i)
      groups[i] = static_cast<int32_t>(static_cast<int64_t>(i) / group);
  }
  for (int32_t g : groups)
    if (g < 0 || g >= q.groups)
      return bad_input("it names group " + std::to_string(g) + " of " + std::to_string(q.groups))
          .in("tensor " + name);
  return groups;
}

}  // namespace

Result<Gptq> read_gptq(const Checkpoint& checkpoint, std::string_view module, const Json& config) {
  Gptq q;
  BM_TRY(int64_t bits, config.get_int("bits", 4));
  if (bits != 2 && bits != 4 && bits != 8)
    return misfit(module, "GPTQ with " + std::to_string(bits) + " bits; 2, 4 and 8 are read");
  q.bits = static_cast<int>(bits);
  BM_TRY(int64_t group, config.get_int("group_size", 128));
  BM_TRY(std::string version, config.get_string("checkpoint_format", "gptq"));
  q.stores_minus_one = version != "gptq_v2";
  BM_TRY(auto shape, matrix_shape(checkpoint, module, ".qweight"));
  int64_t per = 32 / bits;
  q.columns = shape.first * per;
  q.rows = shape.second;
  if (group <= 0) group = q.columns;
  q.groups = (q.columns + group - 1) / group;
  if (q.rows % per != 0)
    return misfit(module, std::to_string(q.rows) + " outputs do not fill whole words of zeros");
  BM_TRY(auto codes, part_of(checkpoint, module, ".qweight", DType::i32, {}));
  BM_TRY(auto zeros, part_of(checkpoint, module, ".qzeros", DType::i32, {q.groups, q.rows / per}));
  BM_TRY(auto scales, part_of(checkpoint, module, ".scales", DType::f16, {q.groups, q.rows}));
  q.codes = values_of<int32_t>(codes);
  q.zeros = values_of<int32_t>(zeros);
  BM_TRY(q.scales, to_f32(scales.view));
  BM_TRY(q.group_of, gptq_groups(checkpoint, module, q, group));
  return q;
}

}  // namespace bm::stored
