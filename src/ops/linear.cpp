#include "ops/linear.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "ops/product_plan.h"
#include "ops/scratch.h"

namespace bm {
namespace {

// panel[k][16] from `count` <= 16 rows; missing rows as zeros. 64 inputs at a time: the part of the panel
// being written stays in the first cache while the rows are read along.
template <class W>
void pack_panel_rows(const W* const* rows, int64_t count, int64_t k, W* panel) {
  for (int64_t begin = 0; begin < k; begin += 64) {
    const int64_t end = std::min(k, begin + 64);
    for (int64_t r = 0; r < kLanes; ++r) {
      for (int64_t i = begin; i < end; ++i) panel[i * kLanes + r] = r < count ? rows[r][i] : W{};
    }
  }
}

BlockProduct block_for(DType dtype) {
  const ProductKernels& products = *kernels().products;
  return dtype == DType::bf16 ? products.bf16 : dtype == DType::f16 ? products.f16 : products.f32;
}

struct LinearCall {
  const float* x;
  int64_t rows, x_stride;
  const PackedWeights& weight;
  float* y;
  int64_t y_stride;
  const float* bias;
  bool accumulate;

  size_t width() const { return dtype_bits(weight.dtype()) / 8; }
  // Weights of `panel` from input k on.
  const std::byte* panel(int64_t panel, int64_t k) const {
    return weight.data() + static_cast<size_t>((panel * weight.inputs() + k) * kLanes) * width();
  }
  void add_bias(int64_t row, int64_t rows_here, int64_t column, int64_t columns) const {
    if (!bias) return;
    for (int64_t r = row; r < row + rows_here; ++r) {
      float* out = y + r * y_stride;
      for (int64_t j = column; j < column + columns; ++j) out[j] += bias[j];
    }
  }
};

// Few rows: the weights are read once, straight from their panels, in strips of as many outputs as the
// register tile takes of so few rows.
void linear_few_rows(const LinearCall& call) {
  const int64_t n = call.weight.outputs(), k = call.weight.inputs();
  const BlockProduct block = block_for(call.weight.dtype());
  const int64_t strip = call.rows > 6 ? 32 : 64, chunk = 64 * std::max<int64_t>(1, 1024 / k);
  parallel_chunks(static_cast<size_t>(n), static_cast<size_t>(chunk), [&](size_t first, size_t last) {
    for (int64_t column = static_cast<int64_t>(first); column < static_cast<int64_t>(last); column += strip) {
      BlockArguments g;
      g.m = call.rows;
      g.n = std::min(strip, n - column);
      g.a_row = call.x_stride;
      g.b_panel = k * kLanes;
      g.c = call.y + column;
      g.c_row = call.y_stride;
      for (int64_t begin = 0; begin < k; begin += kSumBlock) {
        g.k = std::min(kSumBlock, k - begin);
        g.a = call.x + begin;
        g.b = call.panel(column / kLanes, begin);
        g.accumulate = call.accumulate || begin > 0;
        block(g);
      }
      call.add_bias(0, call.rows, column, g.n);
    }
  });
}

// One task: a chunk of rows × a chunk of columns. Narrow weights are widened in the tile or once per panel
// block into scratch, as the kernels like it.
void linear_task(const LinearCall& call, const ProductPlan& plan, size_t task) {
  const int64_t n = call.weight.outputs(), k = call.weight.inputs();
  const ProductChunk here = plan.chunk(task);
  const ProductKernels& products = *kernels().products;
  const bool widen = call.width() == 2 && !products.narrow_in_tile;
  const bool copy_x = call.x_stride % 512 == 0;  // rows that fall into the same cache sets
  float* x_copy = copy_x ? scratch(ScratchSlot::a, here.rows * (kSumBlock + kLanes)) : nullptr;
  float* wide = widen ? scratch(ScratchSlot::b, kSumBlock * kLanes) : nullptr;
  for (int64_t begin = 0; begin < k; begin += kSumBlock) {
    BlockArguments g;
    g.m = here.rows;
    g.k = std::min(kSumBlock, k - begin);
    g.a = call.x + here.row * call.x_stride + begin;
    g.a_row = call.x_stride;
    if (copy_x) {
      g.a_row = kSumBlock + kLanes;
      for (int64_t r = 0; r < here.rows; ++r) {
        std::memcpy(x_copy + r * g.a_row, g.a + r * call.x_stride, static_cast<size_t>(g.k) * sizeof(float));
      }
      g.a = x_copy;
    }
    g.c_row = call.y_stride;
    g.accumulate = call.accumulate || begin > 0;
    g.b_panel = k * kLanes;
    if (!widen) {
      g.n = std::min(n - here.column, here.columns);
      g.b = call.panel(here.column / kLanes, begin);
      g.c = call.y + here.row * call.y_stride + here.column;
      block_for(call.weight.dtype())(g);
      continue;
    }
    for (int64_t column = here.column; column < here.column + here.columns; column += kLanes) {
      const auto* words = reinterpret_cast<const uint16_t*>(call.panel(column / kLanes, begin));
      (call.weight.dtype() == DType::bf16 ? products.widen_bf16 : products.widen_f16)(g.k * kLanes, words,
                                                                                      wide);
      g.n = std::min<int64_t>(kLanes, n - column);
      g.b = wide;
      g.c = call.y + here.row * call.y_stride + column;
      products.f32(g);
    }
  }
  call.add_bias(here.row, here.rows, here.column, here.columns);
}

}  // namespace

Result<PackedWeights> PackedWeights::pack(const TensorView& weight) { return pack_stacked({&weight, 1}); }

Result<PackedWeights> PackedWeights::pack_stacked(std::span<const TensorView> weights) {
  if (weights.empty()) return bad_input("no weights to pack");
  PackedWeights packed;
  packed.dtype_ = weights[0].dtype;
  std::vector<const std::byte*> rows;
  for (const TensorView& weight : weights) {
    if (weight.shape.size() != 2 || weight.shape[0] < 0 || weight.shape[1] < 0) {
      return bad_input("a linear layer's weight must have two dimensions, this one is " +
                       shape_text(weight.shape));
    }
    if (weight.dtype != DType::f32 && weight.dtype != DType::f16 && weight.dtype != DType::bf16) {
      return bad_input("a linear layer's weight must be F32, F16 or BF16, this one is " +
                           std::string(dtype_name(weight.dtype)),
                       "Convert the checkpoint to one of these.");
    }
    if (weight.dtype != packed.dtype_ || weight.shape[1] != weights[0].shape[1]) {
      return bad_input("stacked weights differ in dtype or inputs: " + shape_text(weights[0].shape) + " " +
                       std::string(dtype_name(packed.dtype_)) + " and " + shape_text(weight.shape) + " " +
                       std::string(dtype_name(weight.dtype)));
    }
    size_t row_bytes = static_cast<size_t>(weight.shape[1]) * dtype_bits(weight.dtype) / 8;
    for (int64_t r = 0; r < weight.shape[0]; ++r)
      rows.push_back(weight.data + static_cast<size_t>(r) * row_bytes);
  }
  packed.outputs_ = static_cast<int64_t>(rows.size());
  packed.inputs_ = weights[0].shape[1];
  const int64_t k = packed.inputs_, panels = (packed.outputs_ + kLanes - 1) / kLanes;
  packed.panels_ = Tensor(packed.dtype_, {panels, k, kLanes});
  auto pack_all = [&]<class W>(W*) {
    parallel_for(static_cast<size_t>(panels), [&](size_t panel) {
      W* out = packed.panels_.as<W>() + static_cast<int64_t>(panel) * k * kLanes;
      int64_t first = static_cast<int64_t>(panel) * kLanes;
      int64_t count = std::min<int64_t>(kLanes, packed.outputs_ - first);
      pack_panel_rows(reinterpret_cast<const W* const*>(rows.data() + first), count, k, out);
    });
  };
  if (packed.dtype_ == DType::f32) {
    pack_all(static_cast<uint32_t*>(nullptr));
  } else {
    pack_all(static_cast<uint16_t*>(nullptr));
  }
  return packed;
}

void PackedWeights::read_row(int64_t n, float* out) const {
  assert(n >= 0 && n < outputs_);
  const int64_t base = n / kLanes * inputs_ * kLanes + n % kLanes;
  for (int64_t i = 0; i < inputs_; ++i) {
    const int64_t at = base + i * kLanes;
    out[i] = dtype_ == DType::f32    ? panels_.as<float>()[at]
             : dtype_ == DType::bf16 ? bf16_to_f32(panels_.as<uint16_t>()[at])
                                     : f16_to_f32(panels_.as<uint16_t>()[at]);
  }
}

void linear(const float* x, int64_t rows, const PackedWeights& weight, float* y,
            const LinearOptions& options) {
  const int64_t n = weight.outputs(), k = weight.inputs();
  if (rows <= 0 || n == 0) return;
  LinearCall call{x,
                  rows,
                  options.x_stride ? options.x_stride : k,
                  weight,
                  y,
                  options.y_stride ? options.y_stride : n,
                  options.bias,
                  options.accumulate};
  if (k == 0) {
    for (int64_t r = 0; r < rows && !options.accumulate; ++r) std::fill_n(y + r * call.y_stride, n, 0.0f);
    call.add_bias(0, rows, 0, n);
    return;
  }
  if (rows < 2 * kernels().products->tile_rows) {
    linear_few_rows(call);
    return;
  }
  const ProductPlan plan = ProductPlan::make(rows, n, *kernels().products, thread_count());
  parallel_for(plan.tasks(), [&](size_t task) { linear_task(call, plan, task); });
}

}  // namespace bm
