// Linear layers in bfloat16 arithmetic: activations rounded once a call, products by pairs.
#include <algorithm>
#include <cassert>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "ops/linear.h"
#include "ops/product_plan.h"
#include "ops/scratch.h"

namespace bm {
namespace {

struct Rounded {
  const uint16_t* words;  // [rows][stride], a zero behind an odd row
  int64_t stride;
};

Rounded round_rows(const float* x, int64_t rows, int64_t k, int64_t x_stride) {
  // Half a cache line more than a multiple of one: rows do not fall into the same cache sets.
  const int64_t stride = (k + 31) / 32 * 32 + 32;
  auto* words = reinterpret_cast<uint16_t*>(scratch(ScratchSlot::g, rows * stride / 2));
  parallel_chunks(static_cast<size_t>(rows), 16, [&](size_t begin, size_t end) {
    for (auto r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
      kernels().pairs->round(k, x + r * x_stride, words + r * stride);
      if (k % 2) words[r * stride + k] = 0;
    }
  });
  return {words, stride};
}

}  // namespace

void linear_bf16(const float* x, int64_t rows, const PackedWeights& weight, float* y,
                 const LinearOptions& options) {
  assert(weight.dtype() == DType::bf16);
  const int64_t n = weight.outputs(), k = weight.inputs(), y_stride = options.y_stride ? options.y_stride : n;
  if (rows <= 0 || n == 0) return;
  const Rounded a = round_rows(x, rows, k, options.x_stride ? options.x_stride : k);
  const auto* panels = reinterpret_cast<const uint16_t*>(weight.data());
  const ProductPlan plan = ProductPlan::make(rows, n, *kernels().products, thread_count());
  // Few rows: the weights stream through, so each strip of them is read to its end before the next.
  const bool few = rows < 2 * kernels().products->tile_rows;
  parallel_for(plan.tasks(), [&](size_t task) {
    const ProductChunk here = plan.chunk(task);
    const int64_t end = here.column + here.columns, strip = few ? int64_t{2 * kLanes} : here.columns;
    for (int64_t column = here.column; column < end; column += strip) {
      PairArguments g;
      g.m = here.rows;
      g.n = std::min(strip, end - column);
      g.a_row = a.stride;
      g.b_panel = k * kLanes;
      g.c = y + here.row * y_stride + column;
      g.c_row = y_stride;
      for (int64_t begin = 0; begin < std::max<int64_t>(k, 1); begin += kSumBlock) {
        g.k = std::min(kSumBlock, k - begin);
        g.a = a.words + here.row * a.stride + begin;
        g.b = panels + (column / kLanes * k + begin) * kLanes;
        g.accumulate = options.accumulate || begin > 0;
        kernels().pairs->products(g);
      }
    }
    if (!options.bias) return;
    for (int64_t r = here.row; r < here.row + here.rows; ++r) {
      for (int64_t j = here.column; j < end; ++j) y[r * y_stride + j] += options.bias[j];
    }
  });
}

PackedWeights PackedWeights::rounded_to_bf16() const {
  if (dtype_ == DType::bf16) return *this;
  PackedWeights out;
  out.outputs_ = outputs_;
  out.inputs_ = inputs_;
  out.dtype_ = DType::bf16;
  const int64_t panel = inputs_ * kLanes, panels = (outputs_ + kLanes - 1) / kLanes;
  out.panels_ = Tensor(DType::bf16, {panels, inputs_, kLanes});
  parallel_for(static_cast<size_t>(panels), [&](size_t i) {
    const int64_t at = static_cast<int64_t>(i) * panel;
    uint16_t* to = out.panels_.as<uint16_t>() + at;
    if (dtype_ == DType::f32) {
      kernels().pairs->round(panel, panels_.as<float>() + at, to);
      return;
    }
    float* wide = scratch(ScratchSlot::a, kSumBlock * kLanes);
    for (int64_t begin = 0; begin < panel; begin += kSumBlock * kLanes) {
      const int64_t count = std::min<int64_t>(kSumBlock * kLanes, panel - begin);
      kernels().products->widen_f16(count, panels_.as<uint16_t>() + at + begin, wide);
      kernels().pairs->round(count, wide, to + begin);
    }
  });
  return out;
}

}  // namespace bm
