// A loaded model's weights in the layout the kernels read. Internal to model/, except for the source.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/weight_source.h"
#include "ops/quantized_linear.h"
#include "ops/rotary.h"

namespace bm {

struct ForwardWorkspace;  // forward.cpp

struct PackedLayer {
  std::vector<float> input_layernorm, post_attention_layernorm;  // [hidden]
  LinearWeights qkv, o, gate_up, down;                           // q, k, v one under the other; gate, up too
  std::vector<float> qkv_bias, o_bias, gate_up_bias, down_bias;  // empty when there are none
};

struct Model::Weights {
  Weights(WeightSource source_in, std::string path_in);
  ~Weights();

  WeightSource source;
  std::string path;
  std::shared_ptr<const Tokenizer> tokenizer;
  Arithmetic arithmetic = Arithmetic::exact;

  TensorView embedding;           // [vocab, hidden], as stored; no data when it is quantized or tied
  LinearWeights embedding_codes;  // [vocab, hidden], when it is quantized and not tied
  LinearWeights head;             // [vocab, hidden]
  std::vector<PackedLayer> layers;
  std::vector<float> final_norm;  // [hidden]
  uint64_t bytes = 0;             // of all of the above
  int64_t parameters = 0;

  // Rows of the embedding, widened: out [tokens, hidden]. Ids must be in range.
  void embed(std::span<const int32_t> tokens, float* out) const;
  // Angles of positions 0 … at least `positions` - 1; made once, grown when a longer sequence comes.
  std::shared_ptr<const RotaryTable> rotary(int64_t positions) const;
  // Scratch memory, kept between calls (a generated token must not cost an allocation).
  std::unique_ptr<ForwardWorkspace> take_workspace() const;
  void give_back(std::unique_ptr<ForwardWorkspace> workspace) const;

  Status load();  // fills everything from source

 private:
  Status load_layer(int64_t number, PackedLayer& layer);
  Status load_tables();
  const WeightSpec& spec_of(const std::string& name) const;
  Result<TensorView> read(const WeightSpec& spec);
  Result<std::vector<float>> read_vector(const std::string& name);
  Result<LinearWeights> pack(const std::string& prefix, const std::vector<std::string>& modules);
  Result<std::vector<float>> bias(const std::string& prefix, const std::vector<std::string>& modules,
                                  bool wanted);

  std::vector<WeightSpec> specs_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const RotaryTable> rotary_;
  mutable std::vector<std::unique_ptr<ForwardWorkspace>> workspaces_;
};

}  // namespace bm
