// bitsandbytes' int8 rows (LLM.int8): one float32 maximum a row, codes round(w · 127 / max).
// Source: bitsandbytes 0.50.2 backends/default/ops.py int8_vectorwise_quant, nn/modules.py Linear8bitLt;
// semantics.md 1.3 and part 0, item 30.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bm {

// Weights are rounded to float16 first, as Int8Params does; SCB[row] = max |w|.
// The factor is float32(1 / SCB) · 127 with two roundings (the CPU backend); a row of zeros gives zeros.
void int8_row_maxima(const float* weights, int64_t rows, int64_t columns, float* scb);
void int8_encode_rows(const float* weights, int64_t rows, int64_t columns, int8_t* codes);
// code · SCB · (1/127), float32, in this order of products.
void int8_decode_rows(const int8_t* codes, const float* scb, int64_t rows, int64_t columns, float* out);

// The quantized product of LLM.int8 for input rows in their own dtype, the plain twin of a fast kernel.
// Entries with |x| ≥ threshold are outliers: their columns are zeroed in the int8 product and added in
// the input's dtype from the dequantized weights. threshold 0 = no outliers.
struct Int8Input {
  std::vector<int8_t> codes;      // [rows, columns], outlier columns zeroed
  std::vector<float> row_maxima;  // [rows], over what is no outlier
  std::vector<int64_t> outliers;  // columns, ascending
};
// x: float16 values (already rounded), [rows, columns].
Int8Input int8_quantize_input(const float* x, int64_t rows, int64_t columns, float threshold);

}  // namespace bm
