// Linear layers and plain float32 matrix products.
//
// Every output element is a sum over k in one fixed order: k is cut at multiples of kSumBlock; inside a
// block one chain of fused multiply-adds from zero, blocks added in order. So the bits do not depend on
// the number of rows, the place in the batch, the thread count or the instruction set.
//
// All matrices are row-major. Pointers need no alignment. Sizes of zero are allowed (nothing happens,
// k = 0 gives zeros).
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "tensor/tensor.h"

namespace bm {

inline constexpr int64_t kSumBlock = 256;

// The weight [N, K] of a linear layer (N outputs, K inputs) in the kernels' layout: panels of 16 outputs,
// [panel][k][16], the last one padded with zeros. Elements keep their stored width (float32, float16 or
// bfloat16); the narrow ones are widened exactly when used.
class PackedWeights {
 public:
  PackedWeights() = default;
  // bad_input unless [N, K] of F32, F16 or BF16. Runs on all threads.
  static Result<PackedWeights> pack(const TensorView& weight);
  // The same weights, each rounded to bfloat16 (to nearest even, numbers below the smallest normal one to
  // zero); a copy when they are bfloat16 already.
  PackedWeights rounded_to_bf16() const;
  // Rows of several weights with the same K and dtype, one under the other (q, k, v; gate, up).
  static Result<PackedWeights> pack_stacked(std::span<const TensorView> weights);

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  DType dtype() const { return dtype_; }
  uint64_t bytes() const { return panels_.bytes(); }
  bool empty() const { return panels_.empty(); }
  // Row n, widened: out[K]. Lets a tied embedding be read from the packed head.
  void read_row(int64_t n, float* out) const;
  const std::byte* data() const { return panels_.data(); }

 private:
  int64_t outputs_ = 0, inputs_ = 0;
  DType dtype_ = DType::f32;
  Tensor panels_;  // [ceil(N/16), K, 16]
};

struct LinearOptions {
  const float* bias = nullptr;  // [N], added after the sum
  bool accumulate = false;      // y += instead of y =  (the old y comes first in the order of the sum)
  int64_t x_stride = 0;         // elements from row to row of x; 0 = K
  int64_t y_stride = 0;         // elements from row to row of y; 0 = N
};

// y[M,N] = x[M,K] · Wᵀ (+ bias).
void linear(const float* x, int64_t rows, const PackedWeights& weight, float* y,
            const LinearOptions& options = {});

// The same product in bfloat16 arithmetic: x is rounded to bfloat16 and the products are summed as the
// instruction vdpbf16ps does, which takes half the time of linear() where the CPU is good at it (doctor
// measures) and is slow everywhere else. The weight must be bfloat16 (rounded_to_bf16). Another result than
// linear()'s, but the same bits for every batch, thread count and instruction set: per block of kSumBlock,
// from zero, the pairs of k in order, a pair adds its odd product and then its even one, each with one
// rounding; numbers below 2^-126 count as zero. Blocks are added in order.
void linear_bf16(const float* x, int64_t rows, const PackedWeights& weight, float* y,
                 const LinearOptions& options = {});

// ---- float32 weights that change (training); nothing is packed ahead ----

enum class Transpose : bool { no = false, yes = true };

// C[m,n] = (or +=) op(A)[m,k] · op(B)[k,n]; lda, ldb, ldc: elements from stored row to stored row.
// With Transpose::yes A is stored [k,m], B is stored [n,k].
void sgemm(Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
           int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate);

// y[M,N] = x[M,K] · W[N,K]ᵀ. The same bits as linear() with packed float32 weights.
void linear_forward(const float* x, const float* w, float* y, int64_t m, int64_t n, int64_t k,
                    bool accumulate = false);
// dx[M,K] (=, or +=) dy[M,N] · W[N,K].
void linear_backward_input(const float* dy, const float* w, float* dx, int64_t m, int64_t n, int64_t k,
                           bool accumulate = false);
// dW[N,K] += dy[M,N]ᵀ · x[M,K].
void linear_backward_weight(const float* dy, const float* x, float* dw, int64_t m, int64_t n, int64_t k);
// db[N] += Σ_m dy[m,N], rows in order.
void linear_backward_bias(const float* dy, float* db, int64_t m, int64_t n);

}  // namespace bm
