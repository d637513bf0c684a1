// What a TrainableModel holds. Internal to model/.
#pragma once

#include "model/lora.h"
#include "model/trainable.h"
#include "model/trainable_linear.h"
#include "ops/attention.h"
#include "ops/rotary.h"

namespace bm {

struct TrainableLayer {
  TrainableLinear q, k, v, o, gate, up, down;
  TrainableVector input_norm, post_norm;
};

struct LowRankActivations {
  Floats q, k, v, o, gate, up, down;  // s·drop(x)·Aᵀ, [tokens, rank]
};

struct LayerActivations {
  Floats input, middle;        // [tokens, hidden]: the residual stream before attention, before the MLP
  Floats input_rms, post_rms;  // [tokens]
  Floats q, k, v, heads,
      log_sum_exp;  // [., q_width], [., kv_width] twice, [., q_width], [., heads]; q and k rotated
  Floats gate, up;  // [tokens, intermediate]
  LowRankActivations low;
};

struct TrainableModel::State {
  ModelConfig config;
  Checkpointing checkpointing = Checkpointing::none;
  std::vector<Parameter> parameters;
  std::unique_ptr<LoraPlan> lora;
  std::string base_path, fingerprint;

  std::vector<TrainableLayer> layers;
  TrainableVector final_norm;
  Parameter *embedding = nullptr, *head = nullptr;  // when trained
  FrozenMatrix frozen_embedding, frozen_head;       // else; no frozen embedding when tied
  Floats frozen_head_values;                        // float32, while it is not the stored form
  uint64_t frozen_bytes = 0;
  RotaryTable rotary;

  // Per batch; memory is kept between calls.
  int64_t tokens = 0;
  uint64_t dropout_key = 0;
  bool keep = false;  // for a backward pass
  std::vector<int64_t> pieces;
  std::vector<LayerActivations> activations;                // one a layer when kept
  LayerActivations shared;                                  // what is not kept
  Floats x, normed, product, final_rms;                     // forward
  Floats d_x, d_normed, d_heads, d_q, d_k, d_v, d_product;  // backward
  std::vector<int32_t> targets;
  LinearScratch scratch;

  // ---- loading (trainable.cpp) ----
  Status load_all(const WeightSource& source);
  Status load_lora(const WeightSource& source, LoraPlan plan, BaseFormat format);
  Status bind(const WeightSource* frozen, BaseFormat format);
  Result<TrainableLinear> bind_linear(const std::string& module, const WeightSource* frozen,
                                      BaseFormat format);
  Result<TrainableVector> bind_vector(const std::string& name, const WeightSource* frozen);
  Status bind_ends(const WeightSource* frozen);
  void bind_low_rank(const std::string& module, TrainableLinear& linear);
  Parameter* find(const std::string& name);
  void for_each_linear(const std::function<void(TrainableLinear&)>& visit);

  // ---- passes (trainable_pass.cpp) ----
  Status prepare(const TrainingBatch& batch, bool backward);
  Status check_batch(const TrainingBatch& batch);
  void size_activations();
  // Where a layer's values live in this pass: its own memory, or the shared one.
  LayerActivations& of(size_t layer) {
    return keep && checkpointing != Checkpointing::block ? activations[layer] : shared;
  }
  Floats& input_of(size_t layer) { return keep ? activations[layer].input : shared.input; }
  LayerActivations& mlp_of(size_t layer) {
    return keep && checkpointing == Checkpointing::none ? activations[layer] : shared;
  }
  uint64_t key_of(size_t layer) const;
  void forward(const TrainingBatch& batch);
  void attention_part(size_t layer);
  void gate_and_up(size_t layer);
  void mlp_part(size_t layer);
  void low_rank_of_down(size_t layer);
  void attention_backward_part(size_t layer);
  void mlp_backward_part(size_t layer);
  Result<LossSum> run(const TrainingBatch& batch, double scale, bool gradient);
  const float* head_values();

  AttentionShape attention_shape() const {
    return {config.heads, config.kv_heads, config.head_dim, config.sliding_window, 0};
  }
  float epsilon() const { return static_cast<float>(config.rms_epsilon); }
};

}  // namespace bm
