// The weights of a model by name and exact value, whatever holds them: dense tensors of a checkpoint,
// GGUF blocks, AWQ and bitsandbytes modules, with the changes of a PEFT adapter on top.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/adapter.h"
#include "formats/checkpoint.h"
#include "model/config.h"
#include "ops/quantized_weights.h"
#include "tensor/tensor.h"

namespace bm {

struct WeightSpec {
  std::string name;  // "model.layers.0.mlp.up_proj.weight"
  Shape shape;
  std::string module;   // "model.layers.0.mlp.up_proj"
  bool linear = false;  // a linear's matrix: may be quantized, may have an adapter
};

// Every tensor a model of this configuration has, in module order: embedding, layers, norm, head (not
// when tied). Biases as attention_bias and mlp_bias say.
std::vector<WeightSpec> expected_weights(const ModelConfig& config);

class WeightSource {
 public:
  // Checks that every expected tensor is there with its shape. bad_input names the tensor and the cure:
  // missing, vocabulary larger than the embedding, transposed, adapter that does not fit.
  static Result<WeightSource> open(Checkpoint checkpoint, ModelConfig config, std::optional<Adapter> adapter);

  const ModelConfig& config() const { return config_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::optional<Adapter>& adapter() const { return adapter_; }

  // As stored when it is dense F32, F16 or BF16 and no adapter changes it; else the exact values as
  // float32 (GGUF blocks, quantized modules, F64, merged adapters).
  Result<TensorView> get(const WeightSpec& spec) const;
  // The codes of a weight that is quantized in a way the integer kernels hold; nothing for any other, and for
  // one that an adapter changes.
  Result<std::optional<QuantizedRows>> codes(const WeightSpec& spec) const;
  // Float64: adapters merged in float64, everything else the exact stored value.
  Result<std::vector<double>> f64(std::string_view name) const;

 private:
  Status check() const;
  Status check_shape(const WeightSpec& spec) const;
  Result<std::vector<float>> base_f32(const WeightSpec& spec) const;

  Checkpoint checkpoint_;
  ModelConfig config_;
  std::optional<Adapter> adapter_;
};

// The weights of a model folder, a .gguf file, or an adapter folder on its base (base_option, else the
// one it names).
struct OpenedModel {
  WeightSource source;
  std::string tokenizer_folder;  // the adapter's own when it has tokenizer files, else the model's
};
Result<OpenedModel> open_model(const std::string& path, const std::string& base_option = "");
bool has_tokenizer_files(const std::string& folder);

}  // namespace bm
