#include "model/frozen_matrix.h"

#include <algorithm>
#include <cassert>
#include <memory>

#include "base/threads.h"
#include "model/quantized_linear.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm {
namespace {

constexpr int64_t kBlock = 64;            // values per maximum, bitsandbytes' default
constexpr int64_t kChunk = kBlock * 512;  // values of one task

struct FourBitCodes {
  FourBitKind kind;
  DType dtype;
  int64_t count;
  std::vector<uint8_t> packed;
  std::vector<float> absmax;
};

std::function<void(float*)> four_bit(FourBitKind kind, DType dtype, const std::vector<float>& values,
                                     uint64_t& bytes) {
  auto codes = std::make_shared<FourBitCodes>();
  codes->kind = kind;
  codes->dtype = dtype;
  codes->count = static_cast<int64_t>(values.size());
  codes->packed.resize(static_cast<size_t>(four_bit_bytes(codes->count)));
  codes->absmax.resize(static_cast<size_t>(four_bit_blocks(codes->count, kBlock)));
  const auto chunk = static_cast<size_t>(kChunk);
  parallel_chunks(values.size(), chunk, [&](size_t begin, size_t end) {
    const auto n = static_cast<int64_t>(end - begin);
    four_bit_absmax(values.data() + begin, n, kBlock, codes->absmax.data() + begin / kBlock);
    four_bit_encode(kind, values.data() + begin, n, kBlock, codes->packed.data() + begin / 2);
  });
  bytes = codes->packed.size() + codes->absmax.size() * sizeof(float);
  return [codes, chunk](float* out) {
    parallel_chunks(static_cast<size_t>(codes->count), chunk, [&](size_t begin, size_t end) {
      four_bit_decode(codes->kind, codes->packed.data() + begin / 2, codes->absmax.data() + begin / kBlock,
                      static_cast<int64_t>(end - begin), kBlock, codes->dtype, out + begin);
    });
  };
}

struct RowCodes {
  std::vector<int8_t> codes;
  std::vector<float> maxima;
};

std::function<void(float*)> int8_rows(const std::vector<float>& values, int64_t rows, int64_t columns,
                                      uint64_t& bytes) {
  auto held = std::make_shared<RowCodes>();
  held->codes.resize(values.size());
  held->maxima.resize(static_cast<size_t>(rows));
  int8_row_maxima(values.data(), rows, columns, held->maxima.data());
  int8_encode_rows(values.data(), rows, columns, held->codes.data());
  bytes = held->codes.size() + held->maxima.size() * sizeof(float);
  return [held, rows, columns](float* out) {
    parallel_chunks(static_cast<size_t>(rows), 32, [&](size_t begin, size_t end) {
      const int64_t at = static_cast<int64_t>(begin) * columns;
      int8_decode_rows(held->codes.data() + at, held->maxima.data() + begin,
                       static_cast<int64_t>(end - begin), columns, out + at);
    });
  };
}

// The dtype the matrix is stored in, which 4-bit decoding rounds to; bf16 when it is no plain float.
DType stored_dtype(const TensorView& view, bool exact) {
  return exact && (view.dtype == DType::f32 || view.dtype == DType::f16) ? view.dtype : DType::bf16;
}

}  // namespace

Result<FrozenMatrix> FrozenMatrix::load(const WeightSource& source, const WeightSpec& spec,
                                        BaseFormat format) {
  FrozenMatrix matrix;
  matrix.rows_ = spec.shape[0];
  matrix.columns_ = spec.shape[1];
  const Checkpoint& checkpoint = source.checkpoint();
  const bool quantized = spec.linear && is_quantized_module(checkpoint, spec.module);
  if (quantized && format == BaseFormat::stored) {
    // Checked once here; later calls decode the same mapped bytes and cannot fail.
    BM_TRY(LinearF32 linear, load_quantized_linear(checkpoint, spec.module, source.config().quantization,
                                                   matrix.rows_, matrix.columns_));
    matrix.bytes_ = static_cast<uint64_t>(linear.weight.size());
    matrix.decode_ = [checkpoint, module = spec.module, config = source.config().quantization,
                      rows = matrix.rows_, columns = matrix.columns_](float* out) {
      auto again = load_quantized_linear(checkpoint, module, config, rows, columns);
      assert(again.ok());
      if (again.ok()) std::copy(again->weight.begin(), again->weight.end(), out);
    };
    return matrix;
  }
  BM_TRY(TensorView view, source.get(spec));
  if (format == BaseFormat::stored) {
    matrix.dense_ = view;
    matrix.bytes_ = view.bytes();
    return matrix;
  }
  BM_TRY(auto values, to_f32(view));
  if (format == BaseFormat::int8) {
    matrix.decode_ = int8_rows(values, matrix.rows_, matrix.columns_, matrix.bytes_);
  } else {
    const FourBitKind kind = format == BaseFormat::nf4 ? FourBitKind::nf4 : FourBitKind::fp4;
    const bool plain = checkpoint.contains(spec.name) && !quantized;
    matrix.decode_ = four_bit(kind, stored_dtype(view, plain), values, matrix.bytes_);
  }
  return matrix;
}

const float* FrozenMatrix::values(std::vector<float>& scratch) const {
  if (dense_.data && dense_.dtype == DType::f32) return dense_.as<float>();
  const auto count = static_cast<size_t>(rows_ * columns_);
  if (scratch.size() < count) scratch.resize(count);
  if (decode_) {
    decode_(scratch.data());
    return scratch.data();
  }
  const size_t width = dtype_bits(dense_.dtype) / 8;
  parallel_chunks(count, size_t{1} << 16, [&](size_t begin, size_t end) {
    const Status status = convert_elements(dense_.data + begin * width, dense_.dtype,
                                           reinterpret_cast<std::byte*>(scratch.data() + begin), DType::f32,
                                           static_cast<int64_t>(end - begin));
    assert(status.ok());
    (void)status;
  });
  return scratch.data();
}

}  // namespace bm
