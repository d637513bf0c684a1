// The table of machine code: one per instruction set, all of them bit for bit equal (docs/kernels.md).
//
// Everything is written over vectors of 16 float lanes: one zmm, two ymm or an array of 16 floats. Sums
// inside a kernel have a fixed shape (a chain over k per output, or 16 lane sums and then a fixed tree), so
// that the width of the machine's registers does not show in the result.
#pragma once

#include <cstdint>

#include "kernels/integer.h"
#include "kernels/merge.h"

namespace bm {

inline constexpr int kLanes = 16;  // columns of a packed panel

// Sizes and strides are in elements. A block product computes
//   C[m][n] = (or +=) Σ_{i<k} A[m][i] · B[i][n], one chain of fused multiply-adds from zero in the order of
//   i, with A[r][i] = a[r * a_row + i * a_k], B[i][c] = b[(c / 16) * b_panel + i * b_k + c % 16], C[r][c] =
//   c[r * c_row + c].
// All 16 columns of the last panel are read, only n columns of C are touched.
struct BlockArguments {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_k = 1;
  const void* b = nullptr;  // float, or 16-bit words in the bf16/f16 forms
  int64_t b_k = kLanes, b_panel = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
};
using BlockProduct = void (*)(const BlockArguments&);

struct ProductKernels {
  int tile_rows, tile_columns;  // the register tile: chunks are best cut at multiples of it
  // A task's share of a product: its rows × 256 inputs stay in the second cache while the weights of
  // chunk_columns outputs pass.
  int chunk_rows, chunk_columns;
  bool narrow_in_tile;  // bf16 and f16 weights are best widened in registers, however many the rows
  BlockProduct f32, bf16, f16;
  // dst[k][16] = src[16][k]ᵀ for `rows` <= 16 rows at stride `stride`, missing rows as zeros.
  void (*pack_transposed)(int64_t rows, int64_t k, const float* src, int64_t stride, float* dst);
  void (*widen_bf16)(int64_t count, const uint16_t* in, float* out);
  void (*widen_f16)(int64_t count, const uint16_t* in, float* out);
};

// Products of bfloat16 by bfloat16 in the arithmetic of the instruction vdpbf16ps, whatever computes them:
//   C[m][n] = (or +=) Σ over pairs of i, from zero, the pairs in order; a pair adds its odd product, then its
//   even one, each with one rounding; numbers below the smallest normal one count as zero and become zero.
// A missing odd partner counts as 0 · 0. a[m][i] lies at a + m * a_row + i; B and C as in BlockArguments.
// Rows of `a` must be readable up to an even k, with zero in the odd place.
struct PairArguments {
  int64_t m = 0, n = 0, k = 0;
  const uint16_t* a = nullptr;
  int64_t a_row = 0;
  const uint16_t* b = nullptr;  // panels [k][16]
  int64_t b_panel = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  bool accumulate = false;
};

struct PairKernels {
  bool native;  // by the instruction itself; the others only reproduce its bits
  void (*products)(const PairArguments&);
  // To nearest even; numbers below the smallest normal one to zero.
  void (*round)(int64_t count, const float* in, uint16_t* out);
};

// One tile of online softmax. scores [rows][stride]; row r sees the columns [low[r], high[r]). In place:
// scores ← exp(scale·s − new maximum), 0 outside; maximum and sum are updated; rescale[r] = exp(old − new
// maximum). columns is a multiple of 16, at most 64.
struct SoftmaxTile {
  int64_t rows = 0, columns = 0, stride = 0;
  float* scores = nullptr;
  const int32_t* low = nullptr;
  const int32_t* high = nullptr;
  float scale = 1;
  float* maximum = nullptr;  // [rows], −inf at the start
  float* sum = nullptr;      // [rows], 0 at the start
  float* rescale = nullptr;  // [rows]
  float* scratch = nullptr;  // [rows]
};

// Backward of the same: scores ← P = exp(scale·s − log_sum_exp), 0 outside the visible columns;
// gradient ← P · (gradient − delta) · scale.
struct SoftmaxTileBackward {
  int64_t rows = 0, columns = 0, stride = 0;
  float* scores = nullptr;
  float* gradient = nullptr;
  const int32_t* low = nullptr;
  const int32_t* high = nullptr;
  float scale = 1;
  const float* log_sum_exp = nullptr;  // [rows]
  const float* delta = nullptr;        // [rows]
};

struct RowKernels {
  void (*exponential)(int64_t count, const float* x, float* out);
  void (*softmax_tile)(const SoftmaxTile&);
  void (*softmax_tile_backward)(const SoftmaxTileBackward&);
  float (*sum_of_squares)(int64_t count, const float* x);       // 16 lane chains, then the tree
  float (*dot)(int64_t count, const float* x, const float* y);  // the same
  float (*dot3)(int64_t count, const float* x, const float* y, const float* z);  // Σ (x·y rounded)·z
  float (*maximum)(int64_t count, const float* x);  // −inf for count 0; NaN is passed over
  double (*sum_exponentials)(int64_t count, const float* x, float maximum);  // Σ exp(x − maximum)
  // x ← exp(x − maximum) · factor
  void (*softmax_scaled)(int64_t count, float* x, float maximum, float factor);
  void (*swiglu)(int64_t count, const float* gate, const float* up, float* out);
  void (*swiglu_backward)(int64_t count, const float* gate, const float* up, const float* d_out,
                          float* d_gate, float* d_up);
  // y ← x · factor · weight, products rounded one after the other
  void (*scale_by_weight)(int64_t count, const float* x, float factor, const float* weight, float* y);
  // dx ← (or +=) inverse · (weight·dy − x·pull); dx may be dy
  void (*norm_gradient)(int64_t count, const float* dy, const float* weight, const float* x, float inverse,
                        float pull, float* dx, bool accumulate);
  void (*add)(int64_t count, const float* x, float* y);                      // y += x
  void (*add_scaled)(int64_t count, const float* x, float scale, float* y);  // y += (scale·x rounded)
  void (*scale)(int64_t count, float factor, float* y);                      // y *= factor
  // (first, second) ← (first·c − second·s, second·c + first·s), s = direction·sine, products rounded before
  // the sum
  void (*rotate)(int64_t half, const float* cosines, const float* sines, float direction, float* first,
                 float* second);
};

struct Kernels {
  const char* name;
  const ProductKernels* products;
  const RowKernels* rows;
  const IntegerKernels* integer;
  const MergeKernels* merge;
  const PairKernels* pairs;
};

// The chosen ones (isa.h).
const Kernels& kernels();

namespace scalar {
extern const ProductKernels products;
extern const PairKernels pairs;
extern const RowKernels rows;
}  // namespace scalar
namespace avx2 {
extern const ProductKernels products;
extern const PairKernels pairs;
extern const RowKernels rows;
}  // namespace avx2
namespace avx512 {
extern const ProductKernels products;
extern const PairKernels pairs;
extern const RowKernels rows;
}  // namespace avx512
namespace avx512bf16 {
extern const PairKernels pairs;
}  // namespace avx512bf16

}  // namespace bm
