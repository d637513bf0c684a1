// Forward and backward in float32, for training: of every parameter, or of LoRA adapters on a frozen base.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace bm {

struct LoraOptions;
struct LoraPlan;
enum class BaseFormat : uint8_t;

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
  // Lengths of pieces that see only themselves and start at position 0 (documents of packed rows, or
  // examples of different lengths one behind the other); their sum is rows · length. Empty: every row is one.
  std::span<const int64_t> pieces = {};
  uint64_t dropout_key = 0;  // names this batch's dropout; 0 = none
};

struct LossSum {
  double sum = 0;  // over targets, natural log
  int64_t targets = 0;
};

// What the backward pass computes again instead of keeping. Elementwise passes always are; results are the
// same bits.
enum class Checkpointing : uint8_t {
  none,   // no matrix product is computed again
  cheap,  // gate and up of the MLP are: about half the memory for a sixth more products
  block,  // whole layers: only their inputs are kept, for a third more products
};
Result<Checkpointing> parse_checkpointing(std::string_view name);
std::string_view checkpointing_name(Checkpointing checkpointing);

// Bytes the activations of a batch take.
uint64_t training_activation_bytes(const ModelConfig& config, int64_t rows, int64_t length,
                                   Checkpointing checkpointing);

class TrainableModel {
 public:
  // Weights widened to float32, every one a parameter. An adapter folder's adapter is merged; base: its
  // base model, if not the one it names.
  static Result<std::unique_ptr<TrainableModel>> load(const std::string& path, const std::string& base = "");
  // The base frozen, in `format`; parameters are the adapter's: "<module>.lora_A.weight", ".lora_B.weight",
  // ".lora_magnitude_vector", and the whole modules that are saved with it. An adapter folder: its adapter is
  // trained further.
  static Result<std::unique_ptr<TrainableModel>> load_lora(const std::string& path, const std::string& base,
                                                           const LoraOptions& options, BaseFormat format);
  ~TrainableModel();

  const ModelConfig& config() const;
  std::vector<Parameter>& parameters();  // in checkpoint (module) order
  const std::vector<Parameter>& parameters() const;
  void zero_gradients();
  void set_checkpointing(Checkpointing checkpointing);

  // Adds d(scale · Σ token losses)/d(parameter) to the gradients. Deterministic for any thread count.
  // The first position of a piece is never a target. Memory: activations of the batch; the logits are
  // computed in chunks of rows and never held whole.
  Result<LossSum> forward_backward(const TrainingBatch& batch, double scale);
  // The loss alone, without dropout.
  Result<LossSum> evaluate(const TrainingBatch& batch);
  // Bytes of activations forward_backward holds for a batch.
  uint64_t activation_bytes(int64_t rows, int64_t length) const;
  uint64_t frozen_bytes() const;  // held by what is not trained

  // Where the numbers of the last forward_backward stopped being finite: "layer 3", "the gradient of
  // model.layers.3.mlp.up_proj.weight"; "" when they are.
  std::string first_non_finite() const;

  // Of load_lora, else nullptr; the folder of its base.
  const LoraPlan* lora() const;
  const std::string& base_path() const;
  // Identifies the base's weights, see base_fingerprint(); of load_lora.
  const std::string& base_fingerprint() const;

 private:
  TrainableModel();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bm
