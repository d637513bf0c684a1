#include "quantization/awq_half.h"

#include <cmath>

#include "quantization/awq_math.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

}  // namespace

void rms_norm_half(std::span<const float> weight, double epsilon, const float* x, int64_t rows, float* y) {
  const std::vector<float> ones(weight.size(), 1.0f);
  rms_norm_rows(ones, epsilon, x, rows, y);
  for (int64_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < weight.size(); ++c) {
      float& value = y[at(r) * weight.size() + c];
      value = round_to_f16_fast(round_to_f16_fast(value) * weight[c]);
    }
}

void attention_half(const ModelConfig& config, const LayerWeightsF32& weights,
                    std::span<const int64_t> lengths, const float* normed, float* out,
                    std::vector<float>* heads) {
  int64_t rows = 0;
  for (int64_t length : lengths) rows += length;
  std::vector<float> mixed(at(rows * weights.o_proj.columns));
  run_attention_heads(config, weights, lengths, normed, mixed.data());
  round_values(DType::f16, mixed);
  run_linear(weights.o_proj, mixed.data(), rows, out);
  round_values(DType::f16, {out, at(rows * weights.o_proj.rows)});
  if (heads) *heads = std::move(mixed);
}

void mlp_half(const LayerWeightsF32& weights, int64_t rows, const float* normed, float* out,
              std::vector<float>* product) {
  std::vector<float> gate(at(rows * weights.gate_proj.rows)), up(gate.size());
  run_linear(weights.gate_proj, normed, rows, gate.data());
  run_linear(weights.up_proj, normed, rows, up.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    float g = round_to_f16_fast(gate[i]);
    float activated = round_to_f16_fast(g / (1.0f + std::exp(-g)));
    gate[i] = round_to_f16_fast(activated * round_to_f16_fast(up[i]));
  }
  run_linear(weights.down_proj, gate.data(), rows, out);
  round_values(DType::f16, {out, at(rows * weights.down_proj.rows)});
  if (product) *product = std::move(gate);
}

}  // namespace bm
