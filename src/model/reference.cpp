#include "model/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/model.h"
#include "model/reference_trace.h"
#include "model/weights.h"

namespace bm {

using reference::Doubles;
using reference::LayerTrace;
using reference::Trace;

namespace reference {

std::string layer_prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

Doubles rms_norm(const Doubles& x, const Doubles& weight, double epsilon) {
  const size_t width = weight.size();
  Doubles y(x.size());
  for (size_t t = 0; t < x.size() / width; ++t) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += x[t * width + i] * x[t * width + i];
    const double r = 1 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (size_t i = 0; i < width; ++i) y[t * width + i] = x[t * width + i] * r * weight[i];
  }
  return y;
}

Doubles linear(const Doubles& x, const Doubles& weight, const Doubles* bias, size_t columns) {
  const size_t rows = weight.size() / columns, n = x.size() / columns;
  Doubles y(n * rows);
  for (size_t t = 0; t < n; ++t)
    for (size_t o = 0; o < rows; ++o) {
      double sum = 0;
      for (size_t i = 0; i < columns; ++i) sum += x[t * columns + i] * weight[o * columns + i];
      y[t * rows + o] = bias ? sum + (*bias)[o] : sum;
    }
  return y;
}

// x [n, heads * d] in place; direction -1 rotates back (the transpose, for gradients).
void rotate(Doubles& x, const std::vector<double>& frequencies, size_t width, double direction) {
  const size_t half = frequencies.size();
  for (size_t t = 0; t < x.size() / width; ++t)
    for (size_t head = 0; head < width / (2 * half); ++head)
      for (size_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(t) * frequencies[i];
        const double c = std::cos(angle), s = direction * std::sin(angle);
        double& first = x[t * width + head * 2 * half + i];
        double& second = x[t * width + head * 2 * half + half + i];
        const double a = first, b = second;
        first = a * c - b * s;
        second = b * c + a * s;
      }
}

size_t first_visible(const ModelConfig& config, size_t query) {
  const size_t window = static_cast<size_t>(config.sliding_window);
  return window > 0 && query + 1 > window ? query + 1 - window : 0;
}

// Fills probabilities [heads, n, n] and heads_output [n, q_width].
void attend(const ModelConfig& config, LayerTrace& layer) {
  const size_t d = static_cast<size_t>(config.head_dim), heads = static_cast<size_t>(config.heads);
  const size_t group = heads / static_cast<size_t>(config.kv_heads);
  const size_t q_width = heads * d, kv_width = q_width / group, n = layer.q.size() / q_width;
  layer.probabilities.assign(heads * n * n, 0);
  layer.heads_output.assign(n * q_width, 0);
  for (size_t h = 0; h < heads; ++h)
    for (size_t t = 0; t < n; ++t) {
      double* p = &layer.probabilities[(h * n + t) * n];
      const size_t first = first_visible(config, t);
      double largest = -INFINITY, sum = 0;
      for (size_t s = first; s <= t; ++s) {
        double dot = 0;
        for (size_t i = 0; i < d; ++i)
          dot += layer.q[t * q_width + h * d + i] * layer.k[s * kv_width + h / group * d + i];
        p[s] = dot / std::sqrt(static_cast<double>(d));
        largest = std::max(largest, p[s]);
      }
      for (size_t s = first; s <= t; ++s) sum += p[s] = std::exp(p[s] - largest);
      for (size_t s = first; s <= t; ++s) {
        p[s] /= sum;
        for (size_t i = 0; i < d; ++i)
          layer.heads_output[t * q_width + h * d + i] += p[s] * layer.v[s * kv_width + h / group * d + i];
      }
    }
}

void run_attention(const ReferenceModel& model, int64_t number, LayerTrace& layer,
                   const ReferenceHook& report) {
  const std::string prefix = layer_prefix(number);
  const size_t hidden = static_cast<size_t>(model.config.hidden);
  const auto project = [&](const char* name) {
    const std::string module = prefix + "self_attn." + name;
    return linear(layer.normed_1, model.weight(module + ".weight"), model.find(module + ".bias"), hidden);
  };
  const std::vector<double> frequencies = rope_inverse_frequencies(model.config);
  layer.normed_1 =
      rms_norm(layer.input, model.weight(prefix + "input_layernorm.weight"), model.config.rms_epsilon);
  report(".input_layernorm", layer.normed_1);
  layer.q = project("q_proj");
  layer.k = project("k_proj");
  layer.v = project("v_proj");
  report(".q_before_rope", layer.q);
  report(".k_before_rope", layer.k);
  report(".v", layer.v);
  rotate(layer.q, frequencies, static_cast<size_t>(model.config.q_width()), 1);
  rotate(layer.k, frequencies, static_cast<size_t>(model.config.kv_width()), 1);
  report(".q_after_rope", layer.q);
  report(".k_after_rope", layer.k);
  attend(model.config, layer);
  report(".attention_probabilities", layer.probabilities);
  report(".attention_heads", layer.heads_output);
  const std::string o = prefix + "self_attn.o_proj";
  const Doubles output = linear(layer.heads_output, model.weight(o + ".weight"), model.find(o + ".bias"),
                                static_cast<size_t>(model.config.q_width()));
  report(".attention_output", output);
  layer.middle = layer.input;
  for (size_t i = 0; i < output.size(); ++i) layer.middle[i] += output[i];
}

Doubles run_mlp(const ReferenceModel& model, int64_t number, LayerTrace& layer, const ReferenceHook& report) {
  const std::string prefix = layer_prefix(number), mlp = prefix + "mlp.";
  const size_t hidden = static_cast<size_t>(model.config.hidden);
  layer.normed_2 = rms_norm(layer.middle, model.weight(prefix + "post_attention_layernorm.weight"),
                            model.config.rms_epsilon);
  report(".post_attention_layernorm", layer.normed_2);
  layer.gate = linear(layer.normed_2, model.weight(mlp + "gate_proj.weight"),
                      model.find(mlp + "gate_proj.bias"), hidden);
  layer.up =
      linear(layer.normed_2, model.weight(mlp + "up_proj.weight"), model.find(mlp + "up_proj.bias"), hidden);
  layer.product.resize(layer.gate.size());
  for (size_t i = 0; i < layer.gate.size(); ++i)
    layer.product[i] = layer.gate[i] / (1 + std::exp(-layer.gate[i])) * layer.up[i];
  report(".mlp_product", layer.product);
  const Doubles output =
      linear(layer.product, model.weight(mlp + "down_proj.weight"), model.find(mlp + "down_proj.bias"),
             static_cast<size_t>(model.config.intermediate));
  report(".mlp_output", output);
  Doubles x = layer.middle;
  for (size_t i = 0; i < output.size(); ++i) x[i] += output[i];
  report(".output", x);
  return x;
}

Result<Trace> run(const ReferenceModel& model, std::span<const int32_t> tokens, const ReferenceHook& hook) {
  const ModelConfig& config = model.config;
  const size_t hidden = static_cast<size_t>(config.hidden);
  const Doubles& embedding = model.weight("model.embed_tokens.weight");
  Trace trace;
  Doubles x;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || tokens[t] >= config.vocab)
      return bad_input("token " + std::to_string(tokens[t]) + " is outside the vocabulary of " +
                       std::to_string(config.vocab) + " tokens")
          .in("position " + std::to_string(t));
    const double* row = &embedding[static_cast<size_t>(tokens[t]) * hidden];
    x.insert(x.end(), row, row + hidden);
  }
  if (hook) hook("embedding", x);
  for (int64_t number = 0; number < config.layers; ++number) {
    const ReferenceHook report = [&](std::string_view name, std::span<const double> values) {
      if (hook) hook("layer_" + std::to_string(number) + std::string(name), values);
    };
    LayerTrace& layer = trace.layers.emplace_back();
    layer.input = std::move(x);
    run_attention(model, number, layer, report);
    x = run_mlp(model, number, layer, report);
  }
  trace.output = std::move(x);
  trace.final_norm = rms_norm(trace.output, model.weight("model.norm.weight"), config.rms_epsilon);
  if (hook) hook("final_norm", trace.final_norm);
  trace.logits = linear(trace.final_norm, model.head(), nullptr, hidden);
  return trace;
}

}  // namespace reference

Result<ReferenceModel> ReferenceModel::load(const Model& model) {
  ReferenceModel result{model.config(), {}};
  for (const WeightSpec& spec : expected_weights(model.config())) {
    BM_TRY(auto values, model.weights().source.f64(spec.name));
    result.weights.emplace(spec.name, std::move(values));
  }
  return result;
}

const std::vector<double>* ReferenceModel::find(std::string_view name) const {
  const auto it = weights.find(name);
  return it == weights.end() ? nullptr : &it->second;
}

const std::vector<double>& ReferenceModel::weight(std::string_view name) const {
  const auto* found = find(name);
  assert(found);
  return *found;
}

const std::vector<double>& ReferenceModel::head() const {
  return weight(config.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
}

Result<std::vector<double>> reference_logits(const ReferenceModel& model, std::span<const int32_t> tokens,
                                             const ReferenceHook& hook) {
  BM_TRY(Trace trace, reference::run(model, tokens, hook));
  return std::move(trace.logits);
}

Result<std::vector<double>> reference_forward(const Model& model, std::span<const int32_t> tokens) {
  BM_TRY(ReferenceModel twin, ReferenceModel::load(model));
  return reference_logits(twin, tokens);
}

}  // namespace bm
