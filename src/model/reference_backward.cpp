#include <algorithm>
#include <cmath>

#include "model/reference_trace.h"

namespace bm {

using reference::Doubles;
using reference::LayerTrace;
using reference::Trace;

namespace {

class Backward {
 public:
  Backward(const ReferenceModel& model, ReferenceGradients& out)
      : model_(model), config_(model.config), out_(out) {
    for (const auto& [name, values] : model.weights) out_.gradients[name].resize(values.size());
  }

  void run(const Trace& trace, std::span<const int32_t> tokens, std::span<const int32_t> labels,
           double scale) {
    const size_t hidden = static_cast<size_t>(config_.hidden);
    Doubles dlogits = loss(trace, labels, scale);
    const std::string head = config_.tied_embeddings ? "model.embed_tokens" : "lm_head";
    Doubles dnorm = linear(head, trace.final_norm, config_.hidden, dlogits);
    Doubles dx = norm("model.norm.weight", trace.output, dnorm);
    for (size_t n = trace.layers.size(); n-- > 0;) dx = layer(static_cast<int64_t>(n), trace.layers[n], dx);
    Doubles& embedding = out_.gradients["model.embed_tokens.weight"];
    for (size_t t = 0; t < tokens.size(); ++t)
      for (size_t i = 0; i < hidden; ++i)
        embedding[static_cast<size_t>(tokens[t]) * hidden + i] += dx[t * hidden + i];
  }

 private:
  // Adds the losses; gives scale · (p - onehot) for every position that predicts a target, 0 elsewhere.
  Doubles loss(const Trace& trace, std::span<const int32_t> labels, double scale) {
    const size_t vocab = static_cast<size_t>(config_.vocab);
    Doubles d(trace.logits.size());
    for (size_t t = 0; t + 1 < labels.size(); ++t) {
      if (labels[t + 1] == -100) continue;
      const double* z = &trace.logits[t * vocab];
      const double largest = *std::max_element(z, z + vocab);
      double sum = 0;
      for (size_t v = 0; v < vocab; ++v) sum += std::exp(z[v] - largest);
      const size_t target = static_cast<size_t>(labels[t + 1]);
      out_.loss.sum += std::log(sum) + largest - z[target];
      ++out_.loss.targets;
      for (size_t v = 0; v < vocab; ++v) d[t * vocab + v] = scale * std::exp(z[v] - largest) / sum;
      d[t * vocab + target] -= scale;
    }
    return d;
  }

  // y = x Wᵀ + b: adds dyᵀ x to W's gradient and Σ dy to b's; gives dy W.
  Doubles linear(const std::string& module, const Doubles& x, int64_t width, const Doubles& dy) {
    const Doubles& weight = model_.weight(module + ".weight");
    Doubles& gradient = out_.gradients[module + ".weight"];
    const bool head = module == "lm_head" || module == "model.embed_tokens";
    Doubles* bias = !head && model_.find(module + ".bias") ? &out_.gradients[module + ".bias"] : nullptr;
    const size_t columns = static_cast<size_t>(width), rows = weight.size() / columns, n = x.size() / columns;
    Doubles dx(x.size());
    for (size_t t = 0; t < n; ++t)
      for (size_t o = 0; o < rows; ++o) {
        const double d = dy[t * rows + o];
        if (bias) (*bias)[o] += d;
        for (size_t i = 0; i < columns; ++i) {
          gradient[o * columns + i] += d * x[t * columns + i];
          dx[t * columns + i] += d * weight[o * columns + i];
        }
      }
    return dx;
  }

  // y = w ⊙ x r, r = (mean x² + ε)^-½: dx = r w dy - x r³/n Σ dy w x
  Doubles norm(const std::string& name, const Doubles& x, const Doubles& dy) {
    const Doubles& weight = model_.weight(name);
    Doubles& gradient = out_.gradients[name];
    const size_t width = weight.size();
    Doubles dx(x.size());
    for (size_t t = 0; t < x.size() / width; ++t) {
      double squares = 0, dot = 0;
      for (size_t i = 0; i < width; ++i) {
        squares += x[t * width + i] * x[t * width + i];
        dot += dy[t * width + i] * weight[i] * x[t * width + i];
      }
      const double r = 1 / std::sqrt(squares / static_cast<double>(width) + config_.rms_epsilon);
      for (size_t i = 0; i < width; ++i) {
        gradient[i] += dy[t * width + i] * x[t * width + i] * r;
        dx[t * width + i] = r * weight[i] * dy[t * width + i] -
                            x[t * width + i] * r * r * r / static_cast<double>(width) * dot;
      }
    }
    return dx;
  }

  Doubles layer(int64_t number, const LayerTrace& trace, const Doubles& dout) {
    const std::string prefix = reference::layer_prefix(number);
    Doubles dproduct = linear(prefix + "mlp.down_proj", trace.product, config_.intermediate, dout);
    Doubles dgate(dproduct.size()), dup(dproduct.size());
    for (size_t i = 0; i < dproduct.size(); ++i) {
      const double g = trace.gate[i], s = 1 / (1 + std::exp(-g));
      dup[i] = dproduct[i] * g * s;
      dgate[i] = dproduct[i] * trace.up[i] * s * (1 + g * (1 - s));
    }
    Doubles dnormed = linear(prefix + "mlp.gate_proj", trace.normed_2, config_.hidden, dgate);
    add(dnormed, linear(prefix + "mlp.up_proj", trace.normed_2, config_.hidden, dup));
    Doubles dmiddle = norm(prefix + "post_attention_layernorm.weight", trace.middle, dnormed);
    add(dmiddle, dout);
    Doubles dheads = linear(prefix + "self_attn.o_proj", trace.heads_output, config_.q_width(), dmiddle);
    Doubles dinput = norm(prefix + "input_layernorm.weight", trace.input, attention(prefix, trace, dheads));
    add(dinput, dmiddle);
    return dinput;
  }

  // From the gradient of the heads' outputs to that of the normed input.
  Doubles attention(const std::string& prefix, const LayerTrace& trace, const Doubles& dheads) {
    const size_t d = static_cast<size_t>(config_.head_dim), heads = static_cast<size_t>(config_.heads);
    const size_t group = heads / static_cast<size_t>(config_.kv_heads);
    const size_t q_width = heads * d, kv_width = q_width / group, n = trace.q.size() / q_width;
    Doubles dq(trace.q.size()), dk(trace.k.size()), dv(trace.v.size()), dp(n);
    for (size_t h = 0; h < heads; ++h)
      for (size_t t = 0; t < n; ++t) {
        const double* p = &trace.probabilities[(h * n + t) * n];
        const double* dy = &dheads[t * q_width + h * d];
        const size_t first = reference::first_visible(config_, t), kv = h / group * d;
        double mean = 0;
        for (size_t s = first; s <= t; ++s) {
          dp[s] = 0;
          for (size_t i = 0; i < d; ++i) {
            dp[s] += dy[i] * trace.v[s * kv_width + kv + i];
            dv[s * kv_width + kv + i] += p[s] * dy[i];
          }
          mean += p[s] * dp[s];
        }
        for (size_t s = first; s <= t; ++s) {
          const double ds = p[s] * (dp[s] - mean) / std::sqrt(static_cast<double>(d));
          for (size_t i = 0; i < d; ++i) {
            dq[t * q_width + h * d + i] += ds * trace.k[s * kv_width + kv + i];
            dk[s * kv_width + kv + i] += ds * trace.q[t * q_width + h * d + i];
          }
        }
      }
    const std::vector<double> frequencies = rope_inverse_frequencies(config_);
    reference::rotate(dq, frequencies, q_width, -1);
    reference::rotate(dk, frequencies, kv_width, -1);
    Doubles dnormed = linear(prefix + "self_attn.q_proj", trace.normed_1, config_.hidden, dq);
    add(dnormed, linear(prefix + "self_attn.k_proj", trace.normed_1, config_.hidden, dk));
    add(dnormed, linear(prefix + "self_attn.v_proj", trace.normed_1, config_.hidden, dv));
    return dnormed;
  }

  static void add(Doubles& to, const Doubles& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }

  const ReferenceModel& model_;
  const ModelConfig& config_;
  ReferenceGradients& out_;
};

}  // namespace

Result<ReferenceGradients> reference_gradients(const ReferenceModel& model, const TrainingBatch& batch,
                                               double scale) {
  for (int32_t label : batch.labels)
    if (label != -100 && (label < 0 || label >= model.config.vocab))
      return bad_input("label " + std::to_string(label) + " is outside the vocabulary of " +
                       std::to_string(model.config.vocab) + " tokens");
  ReferenceGradients result;
  Backward backward(model, result);
  for (int64_t row = 0; row < batch.rows; ++row) {
    const size_t begin = static_cast<size_t>(row * batch.length), length = static_cast<size_t>(batch.length);
    const auto tokens = batch.tokens.subspan(begin, length), labels = batch.labels.subspan(begin, length);
    BM_TRY(Trace trace, reference::run(model, tokens, {}));
    backward.run(trace, tokens, labels, scale);
  }
  return result;
}

}  // namespace bm
