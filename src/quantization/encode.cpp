#include "quantization/encode.h"

#include <cstring>
#include <limits>

#include "base/json.h"
#include "base/threads.h"
#include "kernels/encode.h"
#include "tensor/int8_rows.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

OutputTensor output(std::string name, DType dtype, Shape shape, std::function<Result<TensorView>()> produce) {
  return {TensorSpec{std::move(name), dtype, std::move(shape)}, std::move(produce)};
}

// Owned bytes as a view that keeps them alive.
template <class T>
TensorView owned(DType dtype, Shape shape, std::vector<T> values) {
  auto holder = std::make_shared<std::vector<T>>(std::move(values));
  return {dtype, std::move(shape), reinterpret_cast<const std::byte*>(holder->data()), holder};
}

// Rows of a matrix in parallel, in chunks of about 64 thousand values.
template <class F>
void for_row_chunks(int64_t rows, int64_t columns, F&& function) {
  int64_t chunk = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, columns));
  parallel_chunks(at(rows), at(chunk), [&](size_t begin, size_t end) {
    function(static_cast<int64_t>(begin), static_cast<int64_t>(end));
  });
}

// Whole blocks by the kernel, a partial last one by the reference.
template <class Whole, class Rest>
void for_blocks(size_t count, int64_t block, Whole&& whole, Rest&& rest) {
  size_t even = count / at(block) * at(block);
  parallel_chunks(even, at(block * 256), [&](size_t begin, size_t end) {
    whole(begin, static_cast<int64_t>((end - begin) / at(block)));
  });
  if (even < count) rest(even, static_cast<int64_t>(count - even));
}

std::vector<float> maxima_of(const std::vector<float>& weight, int64_t block) {
  std::vector<float> absmax(at(four_bit_blocks(static_cast<int64_t>(weight.size()), block)));
  for_blocks(
      weight.size(), block,
      [&](size_t begin, int64_t blocks) {
        encode_kernels().four_bit(FourBitTables{}, EncodeSource::f32, weight.data() + begin, blocks, block,
                                  absmax.data() + begin / at(block), nullptr);
      },
      [&](size_t begin, int64_t count) {
        four_bit_absmax(weight.data() + begin, count, block, absmax.data() + begin / at(block));
      });
  return absmax;
}

FourBitTables tables_of(FourBitKind kind) {
  FourBitTables tables{};
  const FourBitRanks& ranks = four_bit_ranks(kind);
  std::copy(ranks.midpoints.begin(), ranks.midpoints.end(), tables.midpoints);
  tables.midpoints[15] = std::numeric_limits<float>::infinity();
  std::copy(ranks.codes.begin(), ranks.codes.end(), tables.codes);
  return tables;
}

std::vector<uint8_t> codes_of(const std::vector<float>& weight, FourBitKind kind, int64_t block) {
  std::vector<uint8_t> packed(at(four_bit_bytes(static_cast<int64_t>(weight.size()))));
  const FourBitTables tables = tables_of(kind);
  for_blocks(
      weight.size(), block,
      [&](size_t begin, int64_t blocks) {
        encode_kernels().four_bit(tables, EncodeSource::f32, weight.data() + begin, blocks, block, nullptr,
                                  packed.data() + begin / 2);
      },
      [&](size_t begin, int64_t count) {
        four_bit_encode(kind, weight.data() + begin, count, block, packed.data() + begin / 2);
      });
  return packed;
}

// Scales and zeros of all rows, and the codes if asked for, rows in parallel.
AwqCodes awq_codes(const std::vector<float>& weight, int64_t rows, int64_t columns,
                   const AwqGroupOptions& options, bool with_codes) {
  AwqCodes all;
  all.rows = rows;
  all.columns = columns;
  all.group = options.group;
  int64_t groups = columns / options.group;
  if (with_codes) all.codes.resize(weight.size());
  all.scales.resize(at(rows * groups));
  all.zeros.resize(at(rows * groups));
  for_row_chunks(rows, columns, [&](int64_t begin, int64_t end) {
    std::span<const float> part(weight.data() + begin * columns, at((end - begin) * columns));
    AwqCodes codes = with_codes ? awq_quantize(part, end - begin, columns, options)
                                : awq_quantize_parameters(part, end - begin, columns, options);
    std::copy(codes.codes.begin(), codes.codes.end(), all.codes.begin() + (with_codes ? begin * columns : 0));
    std::copy(codes.scales.begin(), codes.scales.end(), all.scales.begin() + begin * groups);
    std::copy(codes.zeros.begin(), codes.zeros.end(), all.zeros.begin() + begin * groups);
  });
  return all;
}

}  // namespace

std::string quant_state_json(const FourBitOptions& options, int64_t rows, int64_t columns,
                             float nested_offset) {
  Json state = Json::object({{"quant_type", options.kind == FourBitKind::nf4 ? "nf4" : "fp4"},
                             {"blocksize", options.block},
                             {"dtype", dtype_torch_name(options.dtype)},
                             {"shape", Json::array({rows, columns})}});
  if (options.double_quant) {
    state.set("nested_blocksize", kNestedBlock);
    state.set("nested_dtype", "float32");
    state.set("nested_offset", static_cast<double>(nested_offset));
  }
  return state.dump_spaced();
}

Result<std::vector<OutputTensor>> four_bit_tensors(const QuantizeTarget& target,
                                                   const FourBitOptions& options, const WeightLoader& load) {
  const std::string name = target.spec.name;
  int64_t count = target.rows * target.columns, blocks = four_bit_blocks(count, options.block);
  Shape packed_shape = {four_bit_bytes(count), 1};
  std::vector<OutputTensor> tensors;
  auto kind = options.kind;
  auto block = options.block;
  tensors.push_back(output(name, DType::u8, packed_shape, [=]() -> Result<TensorView> {
    BM_TRY(auto weight, load());
    return owned(DType::u8, packed_shape, codes_of(weight, kind, block));
  }));
  float offset = 0;
  if (!options.double_quant) {
    tensors.push_back(output(name + ".absmax", DType::f32, {blocks}, [=]() -> Result<TensorView> {
      BM_TRY(auto weight, load());
      return owned(DType::f32, {blocks}, maxima_of(weight, block));
    }));
  } else {
    BM_TRY(auto first, load());
    offset = nest_absmax(maxima_of(first, block)).offset;
    int64_t nested_blocks = (blocks + kNestedBlock - 1) / kNestedBlock;
    tensors.push_back(output(name + ".absmax", DType::u8, {blocks}, [=]() -> Result<TensorView> {
      BM_TRY(auto weight, load());
      return owned(DType::u8, {blocks}, nest_absmax(maxima_of(weight, block)).codes);
    }));
    tensors.push_back(
        output(name + ".nested_absmax", DType::f32, {nested_blocks}, [=]() -> Result<TensorView> {
          BM_TRY(auto weight, load());
          return owned(DType::f32, {nested_blocks}, nest_absmax(maxima_of(weight, block)).absmax);
        }));
    tensors.push_back(output(name + ".nested_quant_map", DType::f32, {256}, []() -> Result<TensorView> {
      return owned(DType::f32, {256}, std::vector<float>(dynamic_map().begin(), dynamic_map().end()));
    }));
  }
  tensors.push_back(output(name + ".quant_map", DType::f32, {16}, [kind]() -> Result<TensorView> {
    return owned(DType::f32, {16}, std::vector<float>(four_bit_map(kind).begin(), four_bit_map(kind).end()));
  }));
  std::string state = quant_state_json(options, target.rows, target.columns, offset);
  Shape state_shape = {static_cast<int64_t>(state.size())};
  tensors.push_back(output(name + ".quant_state.bitsandbytes__" + (kind == FourBitKind::nf4 ? "nf4" : "fp4"),
                           DType::u8, state_shape, [=]() -> Result<TensorView> {
                             return owned(DType::u8, state_shape,
                                          std::vector<char>(state.begin(), state.end()));
                           }));
  return tensors;
}

std::vector<OutputTensor> int8_tensors(const QuantizeTarget& target, const WeightLoader& load) {
  int64_t rows = target.rows, columns = target.columns;
  std::vector<OutputTensor> tensors;
  tensors.push_back(output(target.spec.name, DType::i8, {rows, columns}, [=]() -> Result<TensorView> {
    BM_TRY(auto weight, load());
    std::vector<int8_t> codes(weight.size());
    for_row_chunks(rows, columns, [&](int64_t begin, int64_t end) {
      int8_encode_rows(weight.data() + begin * columns, end - begin, columns, codes.data() + begin * columns);
    });
    return owned(DType::i8, {rows, columns}, std::move(codes));
  }));
  tensors.push_back(output(target.spec.module + ".SCB", DType::f32, {rows}, [=]() -> Result<TensorView> {
    BM_TRY(auto weight, load());
    std::vector<float> scb(at(rows));
    for_row_chunks(rows, columns, [&](int64_t begin, int64_t end) {
      int8_row_maxima(weight.data() + begin * columns, end - begin, columns, scb.data() + begin);
    });
    return owned(DType::f32, {rows}, std::move(scb));
  }));
  tensors.push_back(output(target.spec.module + ".weight_format", DType::u8, {}, []() -> Result<TensorView> {
    return owned(DType::u8, {}, std::vector<uint8_t>{0});  // 0 = rows as they are
  }));
  return tensors;
}

std::vector<OutputTensor> compressed_tensors(const QuantizeTarget& target, const CompressedGroups& options,
                                             const WeightLoader& load) {
  const int64_t rows = target.rows, columns = target.columns, groups = columns / options.group;
  const std::string& module = target.spec.module;
  auto encode = [=](std::vector<float>& scales, std::vector<int8_t>* codes) -> Status {
    BM_TRY(auto weight, load());
    scales.resize(at(rows * groups));
    if (codes) codes->resize(weight.size());
    for_row_chunks(rows, columns, [&](int64_t begin, int64_t end) {
      const float* w = weight.data() + begin * columns;
      compressed_scales(w, end - begin, columns, options, scales.data() + begin * groups);
      if (codes)
        compressed_codes(w, end - begin, columns, options, scales.data() + begin * groups,
                         codes->data() + begin * columns);
    });
    return {};
  };
  std::vector<OutputTensor> tensors;
  tensors.push_back(
      output(module + ".weight_scale", options.dtype, {rows, groups}, [=]() -> Result<TensorView> {
        std::vector<float> scales;
        BM_CHECK_OK(encode(scales, nullptr));
        TensorView view = owned(DType::f32, {rows, groups}, std::move(scales));
        BM_TRY(auto converted, convert(view, options.dtype));
        return converted.view();
      }));
  if (options.bits == 8) {
    tensors.push_back(output(module + ".weight", DType::i8, {rows, columns}, [=]() -> Result<TensorView> {
      std::vector<float> scales;
      std::vector<int8_t> codes;
      BM_CHECK_OK(encode(scales, &codes));
      return owned(DType::i8, {rows, columns}, std::move(codes));
    }));
    return tensors;
  }
  Shape packed = {rows, (columns + 7) / 8};
  tensors.push_back(output(module + ".weight_packed", DType::i32, packed, [=]() -> Result<TensorView> {
    std::vector<float> scales;
    std::vector<int8_t> codes;
    BM_CHECK_OK(encode(scales, &codes));
    std::vector<int32_t> words(at(element_count(packed)));
    compressed_pack(codes.data(), rows, columns, words.data());
    return owned(DType::i32, packed, std::move(words));
  }));
  tensors.push_back(output(module + ".weight_shape", DType::i64, {2}, [=]() -> Result<TensorView> {
    return owned(DType::i64, {2}, std::vector<int64_t>{rows, columns});
  }));
  return tensors;
}

std::vector<OutputTensor> awq_tensors(const QuantizeTarget& target, AwqLayout layout,
                                      const AwqGroupOptions& options, const WeightLoader& load) {
  int64_t rows = target.rows, columns = target.columns, groups = columns / options.group;
  int64_t width = awq_zero_width(columns, options.group);
  bool gemm = layout == AwqLayout::gemm, fast = layout == AwqLayout::gemv_fast;
  Shape weight_shape = gemm   ? Shape{columns, rows / 8}
                       : fast ? Shape{rows / 4, columns}
                              : Shape{rows, columns / 8};
  Shape scale_shape = gemm ? Shape{groups, rows} : fast ? Shape{width * 8, rows} : Shape{rows, width * 8};
  Shape zero_shape = gemm ? Shape{groups, rows / 8} : fast ? scale_shape : Shape{rows, width};
  DType weight_dtype = fast ? DType::i16 : DType::i32, zero_dtype = fast ? DType::f16 : DType::i32;
  auto parameters = [=]() -> Result<AwqPacked> {
    BM_TRY(auto weight, load());
    return awq_pack_parameters(awq_codes(weight, rows, columns, options, false), layout);
  };
  std::vector<OutputTensor> tensors;
  tensors.push_back(
      output(target.spec.module + ".qweight", weight_dtype, weight_shape, [=]() -> Result<TensorView> {
        BM_TRY(auto weight, load());
        AwqPacked packed = awq_pack(awq_codes(weight, rows, columns, options, true), layout);
        if (fast) return owned(weight_dtype, weight_shape, std::move(packed.qweight_fast));
        return owned(weight_dtype, weight_shape, std::move(packed.qweight));
      }));
  tensors.push_back(
      output(target.spec.module + ".qzeros", zero_dtype, zero_shape, [=]() -> Result<TensorView> {
        BM_TRY(auto packed, parameters());
        if (fast) return owned(zero_dtype, zero_shape, std::move(packed.qzeros_fast));
        return owned(zero_dtype, zero_shape, std::move(packed.qzeros));
      }));
  tensors.push_back(
      output(target.spec.module + ".scales", DType::f16, scale_shape, [=]() -> Result<TensorView> {
        BM_TRY(auto packed, parameters());
        return owned(DType::f16, scale_shape, std::move(packed.scales));
      }));
  return tensors;
}

}  // namespace bm
