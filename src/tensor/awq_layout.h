// How AutoAWQ lays 4-bit codes, zeros and scales out in tensors. Source: AutoAWQ 0.2.9
// modules/linear/{gemm,gemv,gemv_fast}.py, utils/packing_utils.py; semantics.md 1.2.
//
//   GEMM      qweight i32 [in, out/8]   qzeros i32 [in/g, out/8]  scales f16 [in/g, out]
//             nibble i of word c = output 8c + P[i], P = 0 2 4 6 1 3 5 7 (values 0..7 pack to 0x75316420)
//   GEMV      qweight i32 [out, in/8]   qzeros i32 [out, zw]      scales f16 [out, 8·zw]
//             nibble i of word c = input 8c + i; zw = ⌈⌈(in/g)/8⌉/m⌉·m, m = 1 (g ≥ 128), 2 (64), 4 (32);
//             padding zero
//   GEMVFast  qweight i16 [out/4, in]   qzeros f16 [8·zw, out]    scales f16 [8·zw, out]
//             qzeros hold -(scale · zero); within 32 inputs a permutation, 4 rows interleaved in runs of 64
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/awq_groups.h"

namespace bm {

enum class AwqLayout : uint8_t { gemm, gemv, gemv_fast };
std::string_view awq_layout_name(AwqLayout layout);  // "gemm", as config.json's `version` says

// Why a linear of these sizes cannot be held; "" when it can.
std::string awq_misfit(AwqLayout layout, int64_t rows, int64_t columns, int64_t group);
// Group sizes among 32, 64, 128 (and the whole row, where the layout takes any) that the columns divide by.
std::vector<int64_t> awq_fitting_groups(AwqLayout layout, int64_t columns);

// Packed tensors of one linear; shapes as above.
struct AwqPacked {
  AwqLayout layout = AwqLayout::gemm;
  int64_t rows = 0, columns = 0, group = 0;  // out, in
  std::vector<int32_t> qweight;              // GEMM, GEMV
  std::vector<int32_t> qzeros;
  std::vector<int16_t> qweight_fast;  // GEMVFast
  std::vector<uint16_t> qzeros_fast;  // f16
  std::vector<uint16_t> scales;       // f16
};

// Shapes of the tensors without the values (zero_width: words of zeros a row, GEMV only).
int64_t awq_zero_width(int64_t columns, int64_t group);

// codes must be 4-bit with zeros and fit the layout (asserted: ask awq_misfit first).
AwqPacked awq_pack(const AwqCodes& codes, AwqLayout layout);
// The way back; scales become the stored float16 values. GEMVFast: zero = round(-qzeros / scale).
AwqCodes awq_unpack(const AwqPacked& packed);

// Scales and zeros only, for files written tensor by tensor (qweight stays empty).
AwqPacked awq_pack_parameters(const AwqCodes& codes, AwqLayout layout);

// ExLlama's form of a GEMM linear (GPTQ v1): qweight i32 [in/8, out] packed along inputs, qzeros of
// zero - 1. AutoAWQ adds the signed numbers up, so that a zero of 0 borrows from the next channel
// (borrow = true, what the peer's files hold); otherwise the nibbles are masked (15 stands for -1).
struct ExllamaPacked {
  std::vector<int32_t> qweight, qzeros;
};
ExllamaPacked awq_to_exllama(const AwqCodes& codes, bool borrow);

}  // namespace bm
