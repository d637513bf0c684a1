// The obviously right twin of the model: plain loops in float64, one sequence at a time, no cache, no
// threads. Forward of everything, and the gradient of every parameter. The fast paths are tested
// against it; it is itself held to the float64 goldens (1e-11 in logits, 1e-10 in gradients).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/trainable.h"

namespace bm {

class Model;

struct ReferenceModel {
  ModelConfig config;
  // Names as in the checkpoint: "model.embed_tokens.weight" [vocab, hidden], … "lm_head.weight"; a tied
  // head has no entry, biases only where they exist.
  std::map<std::string, std::vector<double>, std::less<>> weights;

  // The model's weights widened to float64 (adapters merged in float64).
  static Result<ReferenceModel> load(const Model& model);

  const std::vector<double>& weight(std::string_view name) const;  // asserted to exist
  const std::vector<double>* find(std::string_view name) const;    // nullptr when absent
  const std::vector<double>& head() const;                         // [vocab, hidden]
};

// Reports activations of one sequence: "embedding", "layer_K.input_layernorm", ".q_before_rope",
// ".k_before_rope", ".v", ".q_after_rope", ".k_after_rope" [n, heads * head_dim],
// ".attention_probabilities" [heads, n, n], ".attention_heads" [n, heads * head_dim] (o_proj's input),
// ".attention_output", ".post_attention_layernorm", ".mlp_product" (down_proj's input), ".mlp_output",
// ".output" (the residual stream), "final_norm".
using ReferenceHook = std::function<void(std::string_view name, std::span<const double> values)>;

// Logits [n, vocab]. bad_input: token outside the vocabulary.
Result<std::vector<double>> reference_logits(const ReferenceModel& model, std::span<const int32_t> tokens,
                                             const ReferenceHook& hook = {});

struct ReferenceGradients {
  LossSum loss;
  std::map<std::string, std::vector<double>, std::less<>> gradients;  // of scale · Σ token losses
};

// As TrainableModel::forward_backward. Memory: all activations of one sequence.
Result<ReferenceGradients> reference_gradients(const ReferenceModel& model, const TrainingBatch& batch,
                                               double scale);

}  // namespace bm
