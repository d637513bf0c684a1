#include "tensor/int8_rows.h"

#include <algorithm>
#include <cmath>

#include "tensor/awq_groups.h"

namespace bm {
namespace {

// 127 / maximum as the CPU backend computes it.
float row_factor(float maximum) { return (1.0f / maximum) * 127.0f; }

int8_t int8_code(float value, float factor) {
  float code = std::nearbyint(value * factor);
  return std::isnan(code) ? int8_t{0} : static_cast<int8_t>(code);  // 0 · inf in a row of zeros
}

}  // namespace

void int8_row_maxima(const float* weights, int64_t rows, int64_t columns, float* scb) {
  for (int64_t r = 0; r < rows; ++r) {
    float top = 0;
    for (int64_t c = 0; c < columns; ++c) top = std::max(top, std::fabs(weights[r * columns + c]));
    scb[r] = round_to_f16_fast(top);  // rounding keeps the order, so the maximum of the rounded is this
  }
}

void int8_encode_rows(const float* weights, int64_t rows, int64_t columns, int8_t* codes) {
  for (int64_t r = 0; r < rows; ++r) {
    float scb = 0;
    int8_row_maxima(weights + r * columns, 1, columns, &scb);
    float factor = row_factor(scb);
    for (int64_t c = r * columns; c < (r + 1) * columns; ++c)
      codes[c] = int8_code(round_to_f16_fast(weights[c]), factor);
  }
}

void int8_decode_rows(const int8_t* codes, const float* scb, int64_t rows, int64_t columns, float* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r * columns; c < (r + 1) * columns; ++c)
      out[c] = static_cast<float>(codes[c]) * scb[r] * (1.0f / 127.0f);
}

Int8Input int8_quantize_input(const float* x, int64_t rows, int64_t columns, float threshold) {
  Int8Input out;
  out.codes.resize(static_cast<size_t>(rows * columns));
  out.row_maxima.assign(static_cast<size_t>(rows), 0.0f);
  std::vector<uint8_t> outlier(static_cast<size_t>(columns), 0);
  auto is_outlier = [&](float v) { return threshold > 0 && std::fabs(v) >= threshold; };
  for (int64_t r = 0; r < rows; ++r) {
    float top = 0;
    for (int64_t c = 0; c < columns; ++c) {
      float v = x[r * columns + c];
      if (is_outlier(v))
        outlier[static_cast<size_t>(c)] = 1;
      else
        top = std::max(top, std::fabs(v));
    }
    out.row_maxima[static_cast<size_t>(r)] = top;
  }
  for (int64_t c = 0; c < columns; ++c)
    if (outlier[static_cast<size_t>(c)]) out.outliers.push_back(c);
  for (int64_t r = 0; r < rows; ++r) {
    float factor = row_factor(out.row_maxima[static_cast<size_t>(r)]);
    for (int64_t c = 0; c < columns; ++c) {
      auto index = static_cast<size_t>(r * columns + c);
      out.codes[index] = outlier[static_cast<size_t>(c)] ? int8_t{0} : int8_code(x[index], factor);
    }
  }
  return out;
}

}  // namespace bm
