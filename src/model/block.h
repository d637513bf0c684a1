// Access to a model one decoder layer at a time, in float32, with weights the caller supplies: what a
// search over weights (AWQ) needs. Sequences are ragged: rows of all sequences stand one behind the
// other, `lengths` says where they end, positions start at 0 in each. Results for a sequence do not
// depend on the others or on the number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"

namespace bm {

class Model;

// y = x · weightᵀ + bias
struct LinearF32 {
  int64_t rows = 0, columns = 0;  // outputs, inputs
  std::vector<float> weight;      // [rows, columns]
  std::vector<float> bias;        // [rows], or empty
};

// Module names within a layer, as in a checkpoint: "self_attn.q_proj" … "mlp.down_proj".
inline constexpr std::array<std::string_view, 7> kLayerLinears = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

struct LayerWeightsF32 {
  std::vector<float> input_layernorm, post_attention_layernorm;  // [hidden]
  LinearF32 q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;

  // By the names of kLayerLinears; nullptr for another name.
  LinearF32* find(std::string_view module);
  const LinearF32* find(std::string_view module) const;
};

// The layer's weights as stored, widened to float32 (quantized ones decoded, adapters merged).
Result<LayerWeightsF32> layer_weights_f32(const Model& model, int64_t layer);

// Called with the input activations [rows, columns] of a linear before it runs. q, k and v share one
// input (the output of input_layernorm), gate and up another; each module is reported by its name.
using LinearInputHook =
    std::function<void(std::string_view module, const float* input, int64_t rows, int64_t columns)>;

// Rows of the embedding: out [tokens, hidden]. bad_input: id outside the vocabulary.
Status embed_tokens(const Model& model, std::span<const int32_t> tokens, float* out);

// y = weight ⊙ x / sqrt(mean(x²) + epsilon); x and y [rows, weight.size()], may be the same memory.
void rms_norm_rows(std::span<const float> weight, double epsilon, const float* x, int64_t rows, float* y);

// One linear: y [rows, linear.rows] from x [rows, linear.columns].
void run_linear(const LinearF32& linear, const float* x, int64_t rows, float* y);

// Everything of self_attn up to o_proj's input: out [rows, q_width] from the normed input [rows, hidden].
void run_attention_heads(const ModelConfig& config, const LayerWeightsF32& weights,
                         std::span<const int64_t> lengths, const float* normed, float* out);
// The whole self_attn module: out [rows, hidden] from the normed input [rows, hidden].
void run_attention(const ModelConfig& config, const LayerWeightsF32& weights,
                   std::span<const int64_t> lengths, const float* normed, float* out,
                   const LinearInputHook& hook = {});
// The whole mlp module: out [rows, hidden] from the normed input [rows, hidden].
void run_mlp(const ModelConfig& config, const LayerWeightsF32& weights, int64_t rows, const float* normed,
             float* out, const LinearInputHook& hook = {});
// The decoder layer with its norms and residuals: x [rows, hidden] in place.
void run_layer(const ModelConfig& config, const LayerWeightsF32& weights, std::span<const int64_t> lengths,
               float* x, const LinearInputHook& hook = {});

// Final norm and head: logits [rows, vocab] from the residual stream after the last layer [rows, hidden].
Status run_head(const Model& model, const float* x, int64_t rows, float* logits);

}  // namespace bm
