// Kernels of merging: element-wise passes over differences, sums in double, selection by magnitude, random
// masks. Keys are the bits of |x|, which order as the magnitudes do.
#pragma once

#include <cstdint>

namespace bm {

// out = base + lambda · (consensus of) Σ weight·d, all in double and rounded once.
struct CombineArguments {
  int64_t count = 0;
  int vectors = 0;
  const float* const* d = nullptr;  // [vectors][count]
  const double* weights = nullptr;  // [vectors]
  bool consensus = false;           // only what has the sign of the sum counts
  bool normalize = false;           // divided by the weights that count, or by all_weights
  double all_weights = 1, lambda = 1;
  const float* base = nullptr;
  float* out = nullptr;  // may be base
};

struct MergeKernels {
  void (*narrow_bf16)(int64_t count, const float* in, uint16_t* out);  // to nearest even; NaN stays NaN
  void (*round_bf16)(int64_t count, float* x);
  // sums[0..2] = Σx², Σy², Σxy: 16 lane chains of double, then the tree (docs/kernels.md)
  void (*moments)(int64_t count, const float* x, const float* y, double* sums);
  double (*absolute_sum)(int64_t count, const float* x);                                       // the same
  void (*blend)(int64_t count, float a, const float* x, float b, const float* y, float* out);  // a·x + b·y
  void (*accumulate)(int64_t count, double weight, const float* x,
                     float* sum);                                               // in double, rounded to float
  void (*subtract)(int64_t count, const float* x, const float* y, float* out);  // x - y
  void (*multiply)(int64_t count, float factor, float* x);
  // Elements whose key is in [low, high), with their positions, in order; the number found. The arrays hold
  // count + 1 values. below: how many keys are < low.
  int64_t (*collect)(int64_t count, const float* x, uint32_t low, uint32_t high, uint32_t* keys,
                     uint32_t* positions, int64_t* below);
  void (*keep_from)(int64_t count, uint32_t key, float* x);           // zero where the key is smaller
  void (*keep_bits)(int64_t count, const uint64_t* words, float* x);  // zero where bit i is not set
  // Bit i of word n decides element e = 64·(first + n) + i: set where (word e mod 4 of Philox4x32-10 of
  // counter e / 4) >> 8 is below threshold.
  void (*random_bits)(uint64_t seed, uint64_t purpose, uint64_t first, int64_t words, uint32_t threshold,
                      uint64_t* out);
  void (*combine)(const CombineArguments&);
};

namespace scalar {
extern const MergeKernels merge;
}  // namespace scalar
namespace avx2 {
extern const MergeKernels merge;
}  // namespace avx2
namespace avx512 {
extern const MergeKernels merge;
}  // namespace avx512

}  // namespace bm
