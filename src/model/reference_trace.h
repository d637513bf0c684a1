// What the reference forward keeps for the reference backward; internal to model/.
#pragma once

#include "model/reference.h"

namespace bm::reference {

using Doubles = std::vector<double>;

struct LayerTrace {
  Doubles input, normed_1;    // [n, hidden]
  Doubles q, k, v;            // rotated; [n, q_width], [n, kv_width] twice
  Doubles probabilities;      // [heads, n, n]
  Doubles heads_output;       // [n, q_width]
  Doubles middle, normed_2;   // [n, hidden]
  Doubles gate, up, product;  // [n, intermediate]
};

struct Trace {
  std::vector<LayerTrace> layers;
  Doubles output, final_norm;  // [n, hidden]
  Doubles logits;              // [n, vocab]
};

std::string layer_prefix(int64_t layer);  // "model.layers.N."
void rotate(Doubles& x, const std::vector<double>& frequencies, size_t width, double direction);
size_t first_visible(const ModelConfig& config, size_t query);  // sliding window: W keys, itself included
Result<Trace> run(const ReferenceModel& model, std::span<const int32_t> tokens, const ReferenceHook& hook);

}  // namespace bm::reference
