#include "model/block.h"

#include <cassert>
#include <string>

#include "model/model.h"
#include "model/weights.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rotary.h"

namespace bm {
namespace {

template <class Weights>
auto find_linear(Weights& w, std::string_view module) -> decltype(&w.q_proj) {
  decltype(&w.q_proj) all[] = {&w.q_proj,    &w.k_proj,  &w.v_proj,   &w.o_proj,
                               &w.gate_proj, &w.up_proj, &w.down_proj};
  for (size_t i = 0; i < kLayerLinears.size(); ++i)
    if (kLayerLinears[i] == module) return all[i];
  return nullptr;
}

int64_t sum_of(std::span<const int64_t> lengths) {
  int64_t rows = 0;
  for (int64_t length : lengths) rows += length;
  return rows;
}

Result<std::vector<float>> read(const Model& model, const WeightSpec& spec) {
  BM_TRY(TensorView view, model.weights().source.get(spec));
  return to_f32(view);
}

}  // namespace

LinearF32* LayerWeightsF32::find(std::string_view module) { return find_linear(*this, module); }
const LinearF32* LayerWeightsF32::find(std::string_view module) const { return find_linear(*this, module); }

Result<LayerWeightsF32> layer_weights_f32(const Model& model, int64_t layer) {
  if (layer < 0 || layer >= model.config().layers)
    return bad_input("there is no layer " + std::to_string(layer));
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  LayerWeightsF32 result;
  for (const WeightSpec& spec : expected_weights(model.config())) {
    if (!spec.name.starts_with(prefix)) continue;
    BM_TRY(auto values, read(model, spec));
    LinearF32* linear = result.find(spec.module.substr(prefix.size()));
    if (linear && spec.linear) {
      linear->rows = spec.shape[0];
      linear->columns = spec.shape[1];
      linear->weight = std::move(values);
    } else if (linear) {
      linear->bias = std::move(values);
    } else if (spec.module == prefix + "input_layernorm") {
      result.input_layernorm = std::move(values);
    } else {
      result.post_attention_layernorm = std::move(values);
    }
  }
  return result;
}

Status embed_tokens(const Model& model, std::span<const int32_t> tokens, float* out) {
  for (int32_t token : tokens)
    if (token < 0 || token >= model.config().vocab)
      return bad_input("token " + std::to_string(token) + " is outside the vocabulary of " +
                       std::to_string(model.config().vocab) + " tokens");
  model.weights().embed(tokens, out);
  return {};
}

void rms_norm_rows(std::span<const float> weight, double epsilon, const float* x, int64_t rows, float* y) {
  rms_norm(x, weight.data(), static_cast<float>(epsilon), y, rows, static_cast<int64_t>(weight.size()));
}

void run_linear(const LinearF32& linear, const float* x, int64_t rows, float* y) {
  linear_forward(x, linear.weight.data(), y, rows, linear.rows, linear.columns);
  if (linear.bias.empty()) return;
  for (int64_t t = 0; t < rows; ++t) add_into(y + t * linear.rows, linear.bias.data(), linear.rows);
}

void run_attention_heads(const ModelConfig& config, const LayerWeightsF32& weights,
                         std::span<const int64_t> lengths, const float* normed, float* out) {
  const int64_t rows = sum_of(lengths), q_width = config.q_width(), kv_width = config.kv_width();
  std::vector<float> q(static_cast<size_t>(rows * q_width)), k(static_cast<size_t>(rows * kv_width)),
      v(k.size());
  run_linear(weights.q_proj, normed, rows, q.data());
  run_linear(weights.k_proj, normed, rows, k.data());
  run_linear(weights.v_proj, normed, rows, v.data());
  int64_t longest = 1;
  for (int64_t length : lengths) longest = std::max(longest, length);
  const RotaryTable table(rope_inverse_frequencies(config), longest);
  std::vector<AttentionSequence> sequences;
  int64_t first = 0;
  for (int64_t length : lengths) {
    rotary_apply(table, q.data() + first * q_width, length, config.heads, 0);
    rotary_apply(table, k.data() + first * kv_width, length, config.kv_heads, 0);
    AttentionSequence s;
    s.q = q.data() + first * q_width;
    s.keys = k.data() + first * kv_width;
    s.values = v.data() + first * kv_width;
    s.out = out + first * q_width;
    s.queries = length;
    sequences.push_back(s);
    first += length;
  }
  attention({config.heads, config.kv_heads, config.head_dim, config.sliding_window, 0}, sequences);
}

void run_attention(const ModelConfig& config, const LayerWeightsF32& weights,
                   std::span<const int64_t> lengths, const float* normed, float* out,
                   const LinearInputHook& hook) {
  const int64_t rows = sum_of(lengths);
  std::vector<float> heads(static_cast<size_t>(rows * config.q_width()));
  if (hook)
    for (size_t i = 0; i < 3; ++i) hook(kLayerLinears[i], normed, rows, config.hidden);
  run_attention_heads(config, weights, lengths, normed, heads.data());
  if (hook) hook("self_attn.o_proj", heads.data(), rows, config.q_width());
  run_linear(weights.o_proj, heads.data(), rows, out);
}

void run_mlp(const ModelConfig& config, const LayerWeightsF32& weights, int64_t rows, const float* normed,
             float* out, const LinearInputHook& hook) {
  std::vector<float> gate(static_cast<size_t>(rows * config.intermediate)), up(gate.size());
  if (hook) {
    hook("mlp.gate_proj", normed, rows, config.hidden);
    hook("mlp.up_proj", normed, rows, config.hidden);
  }
  run_linear(weights.gate_proj, normed, rows, gate.data());
  run_linear(weights.up_proj, normed, rows, up.data());
  swiglu(gate.data(), up.data(), gate.data(), rows, config.intermediate);
  if (hook) hook("mlp.down_proj", gate.data(), rows, config.intermediate);
  run_linear(weights.down_proj, gate.data(), rows, out);
}

void run_layer(const ModelConfig& config, const LayerWeightsF32& weights, std::span<const int64_t> lengths,
               float* x, const LinearInputHook& hook) {
  const int64_t rows = sum_of(lengths), count = rows * config.hidden;
  std::vector<float> normed(static_cast<size_t>(count)), out(normed.size());
  rms_norm_rows(weights.input_layernorm, config.rms_epsilon, x, rows, normed.data());
  run_attention(config, weights, lengths, normed.data(), out.data(), hook);
  add_into(x, out.data(), count);
  rms_norm_rows(weights.post_attention_layernorm, config.rms_epsilon, x, rows, normed.data());
  run_mlp(config, weights, rows, normed.data(), out.data(), hook);
  add_into(x, out.data(), count);
}

Status run_head(const Model& model, const float* x, int64_t rows, float* logits) {
  const Model::Weights& weights = model.weights();
  std::vector<float> normed(static_cast<size_t>(rows * model.config().hidden));
  rms_norm_rows(weights.final_norm, model.config().rms_epsilon, x, rows, normed.data());
  linear(normed.data(), rows, weights.head, logits);
  return {};
}

}  // namespace bm
