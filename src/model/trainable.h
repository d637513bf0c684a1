// Forward and backward of every parameter in float32, for training.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace bm {

struct Parameter {
  std::string name;  // as in the checkpoint; a tied head has no entry of its own
  Shape shape;
  std::vector<float> value;
  std::vector<float> gradient;
};

struct TrainingBatch {
  std::span<const int32_t> tokens;  // [rows, length]
  std::span<const int32_t> labels;  // [rows, length], aligned with tokens (shifted inside); -100 = no target
  int64_t rows = 0, length = 0;
};

struct LossSum {
  double sum = 0;  // over targets, natural log
  int64_t targets = 0;
};

class TrainableModel {
 public:
  // Weights widened to float32. An adapter folder's adapter is merged; base: its base model, if not the
  // one it names.
  static Result<std::unique_ptr<TrainableModel>> load(const std::string& path, const std::string& base = "");
  ~TrainableModel();

  const ModelConfig& config() const;
  std::vector<Parameter>& parameters();  // in checkpoint (module) order
  const std::vector<Parameter>& parameters() const;
  void zero_gradients();

  // Adds d(scale · Σ token losses)/d(parameter) to the gradients. Deterministic for any thread count.
  // Position 0 of a row is never a target. Memory: activations of `rows` sequences; the logits are
  // computed in chunks of rows and never held whole.
  Result<LossSum> forward_backward(const TrainingBatch& batch, double scale);
  // The loss alone.
  Result<LossSum> evaluate(const TrainingBatch& batch);
  // Bytes of activations forward_backward holds for a batch.
  uint64_t activation_bytes(int64_t rows, int64_t length) const;

 private:
  TrainableModel();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bm
