// Training in float32. A layer keeps its input, rotated q, k, v, the heads' output, the residual stream
// after attention, and gate and up, or less of it as the checkpointing says; norms and the gated product
// are computed again in the backward pass. Attention keeps one log-sum-exp a head and row instead of
// probabilities. Sums over rows are taken by ops/ in fixed orders, so gradients have the same bits for any
// number of threads and any checkpointing.
#include <algorithm>
#include <cassert>

#include "base/hash.h"
#include "model/trainable_state.h"
#include "ops/activation.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/norm.h"

namespace bm {
namespace {

size_t size_of(int64_t count) { return static_cast<size_t>(count); }

}  // namespace

Status TrainableModel::State::check_batch(const TrainingBatch& batch) {
  tokens = batch.rows * batch.length;
  if (batch.rows < 1 || batch.length < 1 || static_cast<int64_t>(batch.tokens.size()) != tokens ||
      static_cast<int64_t>(batch.labels.size()) != tokens)
    return bad_input("a training batch of " + std::to_string(batch.rows) + " rows of " +
                     std::to_string(batch.length) + " tokens has " + std::to_string(batch.tokens.size()) +
                     " tokens and " + std::to_string(batch.labels.size()) + " labels");
  pieces.assign(batch.pieces.begin(), batch.pieces.end());
  if (pieces.empty()) pieces.assign(size_of(batch.rows), batch.length);
  int64_t sum = 0;
  for (int64_t piece : pieces) {
    if (piece < 1) return bad_input("a piece of a training batch has " + std::to_string(piece) + " tokens");
    sum += piece;
  }
  if (sum != tokens)
    return bad_input("the pieces of a training batch have " + std::to_string(sum) + " tokens, it has " +
                     std::to_string(tokens));
  for (int64_t i = 0; i < tokens; ++i) {
    const int32_t token = batch.tokens[size_of(i)], label = batch.labels[size_of(i)];
    if (token < 0 || token >= config.vocab || (label != -100 && (label < 0 || label >= config.vocab)))
      return bad_input("token " + std::to_string(token) + " or label " + std::to_string(label) +
                       " is outside the vocabulary of " + std::to_string(config.vocab) + " tokens")
          .in("row " + std::to_string(i / batch.length) + ", position " + std::to_string(i % batch.length));
  }
  return {};
}

void TrainableModel::State::size_activations() {
  const auto resize = [&](std::initializer_list<Floats*> list, int64_t width) {
    for (Floats* f : list) f->resize(size_of(tokens * width));
  };
  if (keep) activations.resize(size_of(config.layers));
  for (size_t n = 0; n < size_of(config.layers); ++n) {  // what is shared is sized once and found so again
    LayerActivations& a = of(n);
    resize({&input_of(n), &a.middle}, config.hidden);
    resize({&a.input_rms, &a.post_rms}, 1);
    resize({&a.q, &a.heads}, config.q_width());
    resize({&a.k, &a.v}, config.kv_width());
    resize({&a.log_sum_exp}, config.heads);
    resize({&mlp_of(n).gate, &mlp_of(n).up}, config.intermediate);
  }
  resize({&x, &normed}, config.hidden);
  resize({&final_rms}, 1);
  resize({&product}, config.intermediate);
  if (!keep) return;
  resize({&d_x, &d_normed}, config.hidden);
  resize({&d_heads, &d_q}, config.q_width());
  resize({&d_k, &d_v}, config.kv_width());
  resize({&d_product}, config.intermediate);
}

Status TrainableModel::State::prepare(const TrainingBatch& batch, bool backward) {
  BM_CHECK_OK(check_batch(batch));
  keep = backward;
  dropout_key = backward ? batch.dropout_key : 0;
  targets.assign(size_of(tokens), -1);
  int64_t start = 0, longest = 0;
  for (int64_t piece : pieces) {
    for (int64_t i = start + 1; i < start + piece; ++i)
      if (batch.labels[size_of(i)] != -100) targets[size_of(i - 1)] = batch.labels[size_of(i)];
    start += piece;
    longest = std::max(longest, piece);
  }
  if (rotary.positions() < longest) rotary = RotaryTable(rope_inverse_frequencies(config), longest);
  size_activations();
  if (lora && lora->options.dora) for_each_linear([&](TrainableLinear& linear) { linear.refresh(scratch); });
  return {};
}

uint64_t TrainableModel::State::key_of(size_t layer) const {
  return dropout_key == 0 ? 0 : mix64(dropout_key + layer) | 1;
}

// Reads the layer's input from its place; x: the residual stream, which is that input on entry.
void TrainableModel::State::attention_part(size_t layer) {
  const TrainableLayer& p = layers[layer];
  LayerActivations& a = of(layer);
  const uint64_t key = key_of(layer);
  rms_norm(x.data(), p.input_norm.values(), epsilon(), normed.data(), tokens, config.hidden,
           a.input_rms.data());
  p.q.forward(normed.data(), a.q.data(), tokens, a.low.q, key, scratch);
  p.k.forward(normed.data(), a.k.data(), tokens, a.low.k, key, scratch);
  p.v.forward(normed.data(), a.v.data(), tokens, a.low.v, key, scratch);
  int64_t start = 0;
  for (int64_t piece : pieces) {
    rotary_apply(rotary, a.q.data() + start * config.q_width(), piece, config.heads, 0);
    rotary_apply(rotary, a.k.data() + start * config.kv_width(), piece, config.kv_heads, 0);
    start += piece;
  }
  attention_forward(attention_shape(), pieces, a.q.data(), a.k.data(), a.v.data(), a.heads.data(),
                    a.log_sum_exp.data());
  p.o.forward(a.heads.data(), normed.data(), tokens, a.low.o, key, scratch);
  add_into(x.data(), normed.data(), tokens * config.hidden);
  std::copy(x.begin(), x.end(), a.middle.begin());
}

void TrainableModel::State::gate_and_up(size_t layer) {
  const TrainableLayer& p = layers[layer];
  LayerActivations &a = of(layer), &mlp = mlp_of(layer);
  rms_norm(a.middle.data(), p.post_norm.values(), epsilon(), normed.data(), tokens, config.hidden,
           a.post_rms.data());
  p.gate.forward(normed.data(), mlp.gate.data(), tokens, mlp.low.gate, key_of(layer), scratch);
  p.up.forward(normed.data(), mlp.up.data(), tokens, mlp.low.up, key_of(layer), scratch);
}

void TrainableModel::State::mlp_part(size_t layer) {
  gate_and_up(layer);
  swiglu(mlp_of(layer).gate.data(), mlp_of(layer).up.data(), product.data(), tokens, config.intermediate);
  layers[layer].down.forward(product.data(), normed.data(), tokens, of(layer).low.down, key_of(layer),
                             scratch);
  add_into(x.data(), normed.data(), tokens * config.hidden);
}

// What mlp_part keeps of down's low-rank product, without the product itself.
void TrainableModel::State::low_rank_of_down(size_t layer) {
  const TrainableLinear& down = layers[layer].down;
  if (!down.low_rank) return;
  const LayerActivations& mlp = mlp_of(layer);
  swiglu(mlp.gate.data(), mlp.up.data(), product.data(), tokens, config.intermediate);
  down.low_rank_input(product.data(), tokens, of(layer).low.down, key_of(layer), scratch);
}

const float* TrainableModel::State::head_values() {
  if (head) return head->value.data();
  return frozen_head.values(frozen_head_values);
}

void TrainableModel::State::forward(const TrainingBatch& batch) {
  const float* table = embedding ? embedding->value.data() : nullptr;
  if (!table) table = config.tied_embeddings ? head_values() : frozen_embedding.values(scratch.weight);
  const TensorView view{
      DType::f32, {config.vocab, config.hidden}, reinterpret_cast<const std::byte*>(table), {}};
  embedding_lookup(view, batch.tokens, x.data());
  for (size_t n = 0; n < layers.size(); ++n) {
    std::copy(x.begin(), x.end(), input_of(n).begin());
    attention_part(n);
    mlp_part(n);
  }
  rms_norm(x.data(), final_norm.values(), epsilon(), normed.data(), tokens, config.hidden, final_rms.data());
}

// d_x: gradient of the layer's output on entry, of the stream after attention on exit. gate and up are
// overwritten by their gradients.
void TrainableModel::State::mlp_backward_part(size_t layer) {
  const TrainableLayer& p = layers[layer];
  LayerActivations &a = of(layer), &mlp = mlp_of(layer);
  const uint64_t key = key_of(layer);
  swiglu(mlp.gate.data(), mlp.up.data(), product.data(), tokens, config.intermediate);
  p.down.backward(product.data(), d_x.data(), d_product.data(), false, tokens, a.low.down, key, scratch);
  swiglu_backward(mlp.gate.data(), mlp.up.data(), d_product.data(), mlp.gate.data(), mlp.up.data(),
                  tokens * config.intermediate);
  rms_norm(a.middle.data(), p.post_norm.values(), epsilon(), normed.data(), tokens, config.hidden);
  p.gate.backward(normed.data(), mlp.gate.data(), d_normed.data(), false, tokens, mlp.low.gate, key, scratch);
  p.up.backward(normed.data(), mlp.up.data(), d_normed.data(), true, tokens, mlp.low.up, key, scratch);
  rms_norm_backward(a.middle.data(), p.post_norm.values(), a.post_rms.data(), d_normed.data(), d_x.data(),
                    p.post_norm.gradient(), tokens, config.hidden, true);
}

void TrainableModel::State::attention_backward_part(size_t layer) {
  const TrainableLayer& p = layers[layer];
  LayerActivations& a = of(layer);
  const uint64_t key = key_of(layer);
  p.o.backward(a.heads.data(), d_x.data(), d_heads.data(), false, tokens, a.low.o, key, scratch);
  attention_backward(attention_shape(), pieces, a.q.data(), a.k.data(), a.v.data(), a.heads.data(),
                     a.log_sum_exp.data(), d_heads.data(), d_q.data(), d_k.data(), d_v.data());
  int64_t start = 0;
  for (int64_t piece : pieces) {
    rotary_backward(rotary, d_q.data() + start * config.q_width(), piece, config.heads, 0);
    rotary_backward(rotary, d_k.data() + start * config.kv_width(), piece, config.kv_heads, 0);
    start += piece;
  }
  const Floats& input = input_of(layer);
  rms_norm(input.data(), p.input_norm.values(), epsilon(), normed.data(), tokens, config.hidden);
  p.q.backward(normed.data(), d_q.data(), d_normed.data(), false, tokens, a.low.q, key, scratch);
  p.k.backward(normed.data(), d_k.data(), d_normed.data(), true, tokens, a.low.k, key, scratch);
  p.v.backward(normed.data(), d_v.data(), d_normed.data(), true, tokens, a.low.v, key, scratch);
  rms_norm_backward(input.data(), p.input_norm.values(), a.input_rms.data(), d_normed.data(), d_x.data(),
                    p.input_norm.gradient(), tokens, config.hidden, true);
}

Result<LossSum> TrainableModel::State::run(const TrainingBatch& batch, double scale, bool gradient) {
  BM_CHECK_OK(prepare(batch, gradient));
  forward(batch);
  const HeadLoss loss = linear_cross_entropy(
      normed.data(), head_values(), targets, tokens, config.hidden, config.vocab, static_cast<float>(scale),
      gradient ? d_normed.data() : nullptr, gradient && head ? head->gradient.data() : nullptr);
  const LossSum result{loss.sum, loss.targets};
  if (!gradient) return result;
  rms_norm_backward(x.data(), final_norm.values(), final_rms.data(), d_normed.data(), d_x.data(),
                    final_norm.gradient(), tokens, config.hidden, false);
  for (size_t n = layers.size(); n-- > 0;) {
    if (checkpointing == Checkpointing::block) {
      std::copy(input_of(n).begin(), input_of(n).end(), x.begin());
      attention_part(n);
    }
    if (checkpointing != Checkpointing::none) gate_and_up(n);
    if (checkpointing == Checkpointing::block) low_rank_of_down(n);
    mlp_backward_part(n);
    attention_backward_part(n);
  }
  if (embedding)
    embedding_backward(batch.tokens, d_x.data(), embedding->gradient.data(), config.vocab, config.hidden);
  return result;
}

}  // namespace bm
