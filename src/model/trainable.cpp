// Training in float32. A layer keeps its input, rotated q, k, v, the heads' output, the residual stream
// after attention, and gate and up; norms and the gated product are computed again in the backward pass.
// Attention keeps one log-sum-exp a head and row instead of probabilities. Sums over rows are taken by
// ops/ in fixed orders, so gradients have the same bits for any number of threads.

#include "model/trainable.h"

#include <algorithm>
#include <cassert>

#include "model/weight_source.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rotary.h"

namespace bm {
namespace {

struct LinearParameters {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;
};

struct LayerParameters {
  LinearParameters q, k, v, o, gate, up, down;
  Parameter *input_norm = nullptr, *post_norm = nullptr;
};

using Floats = std::vector<float>;

struct LayerActivations {
  Floats input, middle;                // [M, hidden]
  Floats input_rms, post_rms;          // [M]
  Floats q, k, v, heads, log_sum_exp;  // [M, q_width], [M, kv_width] twice, [M, q_width], [M, heads]
  Floats gate, up;                     // [M, intermediate]
};

}  // namespace

struct TrainableModel::State {
  ModelConfig config;
  std::vector<Parameter> parameters;
  Parameter *embedding = nullptr, *final_norm = nullptr, *head = nullptr;
  std::vector<LayerParameters> layers;
  RotaryTable rotary;

  // Per batch; kept between calls.
  int64_t rows = 0, length = 0, tokens = 0;
  std::vector<LayerActivations> activations;
  Floats x, normed, product, final_rms;                     // forward
  Floats d_x, d_normed, d_heads, d_q, d_k, d_v, d_product;  // backward
  std::vector<int32_t> targets;

  void bind();
  Status prepare(const TrainingBatch& batch, bool keep);
  void forward(const TrainingBatch& batch, bool keep);
  void attention_part(const LayerParameters& p, LayerActivations& a);
  void mlp_part(const LayerParameters& p, LayerActivations& a);
  void attention_backward_part(const LayerParameters& p, LayerActivations& a);
  void mlp_backward_part(const LayerParameters& p, LayerActivations& a);
  Result<LossSum> run(const TrainingBatch& batch, double scale, bool gradient);

  AttentionShape attention_shape() const {
    return {config.heads, config.kv_heads, config.head_dim, config.sliding_window, 0};
  }
  float epsilon() const { return static_cast<float>(config.rms_epsilon); }
  int64_t outputs(const LinearParameters& p) const { return p.weight->shape[0]; }
  int64_t inputs(const LinearParameters& p) const { return p.weight->shape[1]; }
  void linear_into(const LinearParameters& p, const Floats& in, Floats& out);
  // d_in (= or +=) d_out · W; adds to the weight's and bias' gradients.
  void linear_backward(const LinearParameters& p, const Floats& in, const Floats& d_out, Floats& d_in,
                       bool accumulate);
};

namespace {

size_t size_of(int64_t count) { return static_cast<size_t>(count); }

}  // namespace

void TrainableModel::State::bind() {
  const auto find = [&](const std::string& name) -> Parameter* {
    for (Parameter& p : parameters)
      if (p.name == name) return &p;
    return nullptr;
  };
  const auto linear = [&](const std::string& module) {
    return LinearParameters{find(module + ".weight"), find(module + ".bias")};
  };
  embedding = find("model.embed_tokens.weight");
  final_norm = find("model.norm.weight");
  head = config.tied_embeddings ? embedding : find("lm_head.weight");
  for (int64_t n = 0; n < config.layers; ++n) {
    const std::string prefix = "model.layers." + std::to_string(n) + ".";
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    layers.push_back({linear(attention + "q_proj"), linear(attention + "k_proj"),
                      linear(attention + "v_proj"), linear(attention + "o_proj"), linear(mlp + "gate_proj"),
                      linear(mlp + "up_proj"), linear(mlp + "down_proj"),
                      find(prefix + "input_layernorm.weight"),
                      find(prefix + "post_attention_layernorm.weight")});
  }
}

Status TrainableModel::State::prepare(const TrainingBatch& batch, bool keep) {
  rows = batch.rows;
  length = batch.length;
  tokens = rows * length;
  if (rows < 1 || length < 1 || static_cast<int64_t>(batch.tokens.size()) != tokens ||
      static_cast<int64_t>(batch.labels.size()) != tokens)
    return bad_input("a training batch of " + std::to_string(rows) + " rows of " + std::to_string(length) +
                     " tokens has " + std::to_string(batch.tokens.size()) + " tokens and " +
                     std::to_string(batch.labels.size()) + " labels");
  targets.assign(size_of(tokens), -1);
  for (int64_t i = 0; i < tokens; ++i) {
    const int32_t token = batch.tokens[size_of(i)], label = batch.labels[size_of(i)];
    if (token < 0 || token >= config.vocab || (label != -100 && (label < 0 || label >= config.vocab)))
      return bad_input("token " + std::to_string(token) + " or label " + std::to_string(label) +
                       " is outside the vocabulary of " + std::to_string(config.vocab) + " tokens")
          .in("row " + std::to_string(i / length) + ", position " + std::to_string(i % length));
    if (i % length > 0 && label != -100) targets[size_of(i - 1)] = label;
  }
  if (rotary.positions() < length) rotary = RotaryTable(rope_inverse_frequencies(config), length);
  activations.resize(keep ? size_of(config.layers) : 1);
  for (LayerActivations& a : activations) {
    for (Floats* f : {&a.input, &a.middle}) f->resize(size_of(tokens * config.hidden));
    for (Floats* f : {&a.input_rms, &a.post_rms}) f->resize(size_of(tokens));
    for (Floats* f : {&a.q, &a.heads}) f->resize(size_of(tokens * config.q_width()));
    for (Floats* f : {&a.k, &a.v}) f->resize(size_of(tokens * config.kv_width()));
    a.log_sum_exp.resize(size_of(tokens * config.heads));
    for (Floats* f : {&a.gate, &a.up}) f->resize(size_of(tokens * config.intermediate));
  }
  for (Floats* f : {&x, &normed}) f->resize(size_of(tokens * config.hidden));
  final_rms.resize(size_of(tokens));
  product.resize(size_of(tokens * config.intermediate));
  if (!keep) return {};
  for (Floats* f : {&d_x, &d_normed}) f->resize(size_of(tokens * config.hidden));
  for (Floats* f : {&d_heads, &d_q}) f->resize(size_of(tokens * config.q_width()));
  for (Floats* f : {&d_k, &d_v}) f->resize(size_of(tokens * config.kv_width()));
  d_product.resize(size_of(tokens * config.intermediate));
  return {};
}

void TrainableModel::State::linear_into(const LinearParameters& p, const Floats& in, Floats& out) {
  linear_forward(in.data(), p.weight->value.data(), out.data(), tokens, outputs(p), inputs(p));
  if (!p.bias) return;
  for (int64_t t = 0; t < tokens; ++t)
    add_into(out.data() + t * outputs(p), p.bias->value.data(), outputs(p));
}

void TrainableModel::State::linear_backward(const LinearParameters& p, const Floats& in, const Floats& d_out,
                                            Floats& d_in, bool accumulate) {
  linear_backward_weight(d_out.data(), in.data(), p.weight->gradient.data(), tokens, outputs(p), inputs(p));
  if (p.bias) linear_backward_bias(d_out.data(), p.bias->gradient.data(), tokens, outputs(p));
  linear_backward_input(d_out.data(), p.weight->value.data(), d_in.data(), tokens, outputs(p), inputs(p),
                        accumulate);
}

void TrainableModel::State::attention_part(const LayerParameters& p, LayerActivations& a) {
  std::copy(x.begin(), x.end(), a.input.begin());
  rms_norm(x.data(), p.input_norm->value.data(), epsilon(), normed.data(), tokens, config.hidden,
           a.input_rms.data());
  linear_into(p.q, normed, a.q);
  linear_into(p.k, normed, a.k);
  linear_into(p.v, normed, a.v);
  for (int64_t row = 0; row < rows; ++row) {
    rotary_apply(rotary, a.q.data() + row * length * config.q_width(), length, config.heads, 0);
    rotary_apply(rotary, a.k.data() + row * length * config.kv_width(), length, config.kv_heads, 0);
  }
  attention_forward(attention_shape(), rows, length, a.q.data(), a.k.data(), a.v.data(), a.heads.data(),
                    a.log_sum_exp.data());
  linear_into(p.o, a.heads, normed);
  add_into(x.data(), normed.data(), tokens * config.hidden);
  std::copy(x.begin(), x.end(), a.middle.begin());
}

void TrainableModel::State::mlp_part(const LayerParameters& p, LayerActivations& a) {
  rms_norm(x.data(), p.post_norm->value.data(), epsilon(), normed.data(), tokens, config.hidden,
           a.post_rms.data());
  linear_into(p.gate, normed, a.gate);
  linear_into(p.up, normed, a.up);
  swiglu(a.gate.data(), a.up.data(), product.data(), tokens, config.intermediate);
  linear_into(p.down, product, normed);
  add_into(x.data(), normed.data(), tokens * config.hidden);
}

void TrainableModel::State::forward(const TrainingBatch& batch, bool keep) {
  const TensorView table{
      DType::f32, embedding->shape, reinterpret_cast<const std::byte*>(embedding->value.data()), {}};
  embedding_lookup(table, batch.tokens, x.data());
  for (size_t n = 0; n < layers.size(); ++n) {
    LayerActivations& a = activations[keep ? n : 0];
    attention_part(layers[n], a);
    mlp_part(layers[n], a);
  }
  rms_norm(x.data(), final_norm->value.data(), epsilon(), normed.data(), tokens, config.hidden,
           final_rms.data());
}

// d_x: gradient of the layer's output on entry, of the stream after attention on exit. gate and up are
// overwritten by their gradients.
void TrainableModel::State::mlp_backward_part(const LayerParameters& p, LayerActivations& a) {
  swiglu(a.gate.data(), a.up.data(), product.data(), tokens, config.intermediate);
  linear_backward(p.down, product, d_x, d_product, false);
  swiglu_backward(a.gate.data(), a.up.data(), d_product.data(), a.gate.data(), a.up.data(),
                  tokens * config.intermediate);
  rms_norm(a.middle.data(), p.post_norm->value.data(), epsilon(), normed.data(), tokens, config.hidden);
  linear_backward(p.gate, normed, a.gate, d_normed, false);
  linear_backward(p.up, normed, a.up, d_normed, true);
  rms_norm_backward(a.middle.data(), p.post_norm->value.data(), a.post_rms.data(), d_normed.data(),
                    d_x.data(), p.post_norm->gradient.data(), tokens, config.hidden, true);
}

void TrainableModel::State::attention_backward_part(const LayerParameters& p, LayerActivations& a) {
  linear_backward(p.o, a.heads, d_x, d_heads, false);
  attention_backward(attention_shape(), rows, length, a.q.data(), a.k.data(), a.v.data(), a.heads.data(),
                     a.log_sum_exp.data(), d_heads.data(), d_q.data(), d_k.data(), d_v.data());
  for (int64_t row = 0; row < rows; ++row) {
    rotary_backward(rotary, d_q.data() + row * length * config.q_width(), length, config.heads, 0);
    rotary_backward(rotary, d_k.data() + row * length * config.kv_width(), length, config.kv_heads, 0);
  }
  rms_norm(a.input.data(), p.input_norm->value.data(), epsilon(), normed.data(), tokens, config.hidden);
  linear_backward(p.q, normed, d_q, d_normed, false);
  linear_backward(p.k, normed, d_k, d_normed, true);
  linear_backward(p.v, normed, d_v, d_normed, true);
  rms_norm_backward(a.input.data(), p.input_norm->value.data(), a.input_rms.data(), d_normed.data(),
                    d_x.data(), p.input_norm->gradient.data(), tokens, config.hidden, true);
}

Result<LossSum> TrainableModel::State::run(const TrainingBatch& batch, double scale, bool gradient) {
  BM_CHECK_OK(prepare(batch, gradient));
  forward(batch, gradient);
  const HeadLoss loss =
      linear_cross_entropy(normed.data(), head->value.data(), targets, tokens, config.hidden, config.vocab,
                           static_cast<float>(scale), gradient ? d_normed.data() : nullptr,
                           gradient ? head->gradient.data() : nullptr);
  const LossSum result{loss.sum, loss.targets};
  if (!gradient) return result;
  rms_norm_backward(x.data(), final_norm->value.data(), final_rms.data(), d_normed.data(), d_x.data(),
                    final_norm->gradient.data(), tokens, config.hidden, false);
  for (size_t n = layers.size(); n-- > 0;) {
    mlp_backward_part(layers[n], activations[n]);
    attention_backward_part(layers[n], activations[n]);
  }
  embedding_backward(batch.tokens, d_x.data(), embedding->gradient.data(), config.vocab, config.hidden);
  return result;
}

TrainableModel::TrainableModel() : state_(std::make_unique<State>()) {}
TrainableModel::~TrainableModel() = default;

Result<std::unique_ptr<TrainableModel>> TrainableModel::load(const std::string& path,
                                                             const std::string& base) {
  BM_TRY(OpenedModel opened, open_model(path, base));
  std::unique_ptr<TrainableModel> model(new TrainableModel());
  State& state = *model->state_;
  state.config = opened.source.config();
  for (const WeightSpec& spec : expected_weights(state.config)) {
    BM_TRY(TensorView view, opened.source.get(spec));
    BM_TRY(auto values, to_f32(view));
    state.parameters.push_back(
        {spec.name, spec.shape, std::move(values), std::vector<float>(size_of(view.count()))});
  }
  state.bind();
  return model;
}

const ModelConfig& TrainableModel::config() const { return state_->config; }
std::vector<Parameter>& TrainableModel::parameters() { return state_->parameters; }
const std::vector<Parameter>& TrainableModel::parameters() const { return state_->parameters; }

void TrainableModel::zero_gradients() {
  for (Parameter& p : state_->parameters) std::fill(p.gradient.begin(), p.gradient.end(), 0.0f);
}

Result<LossSum> TrainableModel::forward_backward(const TrainingBatch& batch, double scale) {
  return state_->run(batch, scale, true);
}

Result<LossSum> TrainableModel::evaluate(const TrainingBatch& batch) { return state_->run(batch, 1, false); }

uint64_t TrainableModel::activation_bytes(int64_t rows, int64_t length) const {
  const ModelConfig& c = state_->config;
  const int64_t layer = 2 * c.hidden + 2 + 2 * c.q_width() + 2 * c.kv_width() + c.heads + 2 * c.intermediate;
  const int64_t shared = 4 * c.hidden + 1 + 2 * c.q_width() + 2 * c.kv_width() + 2 * c.intermediate;
  const int64_t logits = std::min<int64_t>(rows * length, 256) * c.vocab;
  return static_cast<uint64_t>(rows * length * (c.layers * layer + shared) + logits) * sizeof(float);
}

}  // namespace bm
