// Plain float32 products for training: both operands change every step, so blocks are packed on the way.
#include <algorithm>
#include <cstring>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "ops/linear.h"
#include "ops/product_plan.h"
#include "ops/scratch.h"

namespace bm {
namespace {

struct Product {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
  bool accumulate;
};

// Panels [columns/16][k][16] of op(B) for inputs [begin, begin + k) and the chunk's columns.
void pack_b(const Product& p, const ProductChunk& here, int64_t begin, int64_t k, float* out) {
  for (int64_t column = 0; column < here.columns; column += kLanes, out += k * kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, here.columns - column), j = here.column + column;
    if (p.transpose_b) {
      kernels().products->pack_transposed(count, k, p.b + j * p.ldb + begin, p.ldb, out);
      continue;
    }
    const float* row = p.b + begin * p.ldb + j;
    for (int64_t i = 0; i < k; ++i, row += p.ldb) {
      if (count == kLanes) {
        std::memcpy(out + i * kLanes, row, kLanes * sizeof(float));
      } else {
        for (int64_t c = 0; c < kLanes; ++c) out[i * kLanes + c] = c < count ? row[c] : 0.0f;
      }
    }
  }
}

// op(A) = Aᵀ: tiles [rows/tile][k][tile], so that a tile's elements lie together.
void pack_a(const Product& p, const ProductChunk& here, int64_t begin, int64_t k, int64_t tile, float* out) {
  for (int64_t row = 0; row < here.rows; row += tile) {
    const int64_t count = std::min(tile, here.rows - row);
    const float* in = p.a + begin * p.lda + here.row + row;
    for (int64_t i = 0; i < k; ++i, in += p.lda, out += tile) {
      for (int64_t r = 0; r < count; ++r) out[r] = in[r];
    }
  }
}

void product_task(const Product& p, const ProductPlan& plan, size_t task) {
  const ProductKernels& products = *kernels().products;
  const ProductChunk here = plan.chunk(task);
  const int64_t tile = products.tile_rows, panels = (here.columns + kLanes - 1) / kLanes;
  float* b_packed = scratch(ScratchSlot::b, panels * kLanes * kSumBlock);
  const bool copy_a = !p.transpose_a && p.lda % 512 == 0;
  float* a_packed = nullptr;
  if (p.transpose_a || copy_a) a_packed = scratch(ScratchSlot::a, (here.rows + tile) * (kSumBlock + kLanes));
  for (int64_t begin = 0; begin < p.k; begin += kSumBlock) {
    BlockArguments g;
    g.k = std::min(kSumBlock, p.k - begin);
    pack_b(p, here, begin, g.k, b_packed);
    g.n = here.columns;
    g.b = b_packed;
    g.b_panel = g.k * kLanes;
    g.c_row = p.ldc;
    g.c = p.c + here.row * p.ldc + here.column;
    g.accumulate = p.accumulate || begin > 0;
    if (p.transpose_a) {
      pack_a(p, here, begin, g.k, tile, a_packed);
      g.a_row = 1;
      g.a_k = tile;
      // Column strips of one panel outside, tiles inside: the panel stays in the first cache.
      for (int64_t panel = 0; panel < panels; panel += 2) {
        BlockArguments t = g;
        t.n = std::min<int64_t>(2 * kLanes, here.columns - panel * kLanes);
        t.b = b_packed + panel * g.b_panel;
        for (int64_t row = 0; row < here.rows; row += tile) {
          t.m = std::min(tile, here.rows - row);
          t.a = a_packed + row * g.k;
          t.c = g.c + row * p.ldc + panel * kLanes;
          products.f32(t);
        }
      }
      continue;
    }
    g.m = here.rows;
    g.a = p.a + here.row * p.lda + begin;
    g.a_row = p.lda;
    if (copy_a) {
      g.a_row = kSumBlock + kLanes;
      for (int64_t r = 0; r < here.rows; ++r) {
        std::memcpy(a_packed + r * g.a_row, g.a + r * p.lda, static_cast<size_t>(g.k) * sizeof(float));
      }
      g.a = a_packed;
    }
    products.f32(g);
  }
}

}  // namespace

void sgemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
           int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) {
    for (int64_t r = 0; r < m && !accumulate; ++r) std::fill_n(c + r * ldc, n, 0.0f);
    return;
  }
  const Product p{transpose_a == Transpose::yes,
                  transpose_b == Transpose::yes,
                  m,
                  n,
                  k,
                  a,
                  lda,
                  b,
                  ldb,
                  c,
                  ldc,
                  accumulate};
  const ProductPlan plan = ProductPlan::make(m, n, *kernels().products, thread_count());
  parallel_for(plan.tasks(), [&](size_t task) { product_task(p, plan, task); });
}

void linear_forward(const float* x, const float* w, float* y, int64_t m, int64_t n, int64_t k,
                    bool accumulate) {
  sgemm(Transpose::no, Transpose::yes, m, n, k, x, k, w, k, y, n, accumulate);
}

void linear_backward_input(const float* dy, const float* w, float* dx, int64_t m, int64_t n, int64_t k,
                           bool accumulate) {
  sgemm(Transpose::no, Transpose::no, m, k, n, dy, n, w, k, dx, k, accumulate);
}

void linear_backward_weight(const float* dy, const float* x, float* dw, int64_t m, int64_t n, int64_t k) {
  sgemm(Transpose::yes, Transpose::no, n, k, m, dy, n, x, k, dw, k, true);
}

void linear_backward_bias(const float* dy, float* db, int64_t m, int64_t n) {
  parallel_chunks(static_cast<size_t>(n), 256, [&](size_t begin, size_t end) {
    for (int64_t r = 0; r < m; ++r) {
      for (size_t j = begin; j < end; ++j) db[j] += dy[r * n + static_cast<int64_t>(j)];
    }
  });
}

}  // namespace bm
