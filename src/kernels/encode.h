// Kernels that encode weights: GGML's K-quants (a search per block) and bitsandbytes' 4-bit blocks. One table
// per instruction set, all with the same bits; encode_kernels() follows the choice of isa.h.
#pragma once

#include <cstdint>

namespace bm {

enum class EncodeSource : uint8_t { f32, bf16, f16 };

// Tables of a 16-value format: values ascend, codes[r] is the code of the r-th.
struct FourBitTables {
  float midpoints[16];  // between the r-th and the next; the last is infinity
  uint8_t codes[16];
};

struct EncodeKernels {
  // x: `blocks` · 256 values in a row. importance: a positive weight per value, or null for all alike. Each
  // writes whole GGML blocks (144, 176 and 210 bytes) of the smallest weighted squared error it finds.
  void (*q4_k)(int64_t blocks, const float* x, const float* importance, uint8_t* out);
  void (*q5_k)(int64_t blocks, const float* x, const float* importance, uint8_t* out);
  void (*q6_k)(int64_t blocks, const float* x, const float* importance, uint8_t* out);
  // Whole blocks of `block` values (a multiple of 32): absmax and packed nibbles, either may be null. A NaN
  // or an infinity in a block makes its absmax NaN or infinite, and its codes mean nothing.
  void (*four_bit)(const FourBitTables& tables, EncodeSource source, const void* x, int64_t blocks,
                   int64_t block, float* absmax, uint8_t* packed);
};

const EncodeKernels& encode_kernels();

namespace scalar {
extern const EncodeKernels encode;
}
namespace avx2 {
extern const EncodeKernels encode;
}
namespace avx512 {
extern const EncodeKernels encode;
}

}  // namespace bm
