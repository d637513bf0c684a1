#include "model/random_model.h"

#include <cmath>

#include "base/hash.h"
#include "base/random.h"
#include "base/threads.h"
#include "formats/hf_folder.h"
#include "model/weight_source.h"

namespace bm {
namespace {

Result<TensorView> random_tensor(const WeightSpec& spec, DType dtype, uint64_t seed) {
  const bool matrix = spec.shape.size() == 2, bias = spec.name.ends_with(".bias");
  const double deviation = matrix ? 1 / std::sqrt(static_cast<double>(spec.shape[1])) : 0.1;
  const double mean = matrix || bias ? 0 : 1;
  Tensor values(DType::f32, spec.shape);
  const CounterRandom random(seed, hash64(spec.name));
  parallel_chunks(static_cast<size_t>(values.count()), 1 << 14, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      values.as<float>()[i] = static_cast<float>(mean + deviation * random.normal(i));
  });
  if (dtype == DType::f32) return values.view();
  BM_TRY(Tensor converted, convert(values.view(), dtype));
  return converted.view();
}

}  // namespace

Json random_model_config(const RandomModelShape& s, DType dtype) {
  Json json = Json::object(
      {{"architectures",
        Json::array({Json(s.model_type == "llama" ? "LlamaForCausalLM" : "MistralForCausalLM")})},
       {"bos_token_id", 1},
       {"eos_token_id", 2},
       {"head_dim", s.head_dim},
       {"hidden_act", "silu"},
       {"hidden_size", s.hidden},
       {"intermediate_size", s.intermediate},
       {"max_position_embeddings", s.max_positions},
       {"model_type", s.model_type},
       {"num_attention_heads", s.heads},
       {"num_hidden_layers", s.layers},
       {"num_key_value_heads", s.kv_heads},
       {"rms_norm_eps", 1e-5},
       {"rope_theta", 10000.0},
       {"tie_word_embeddings", s.tied_embeddings},
       {"torch_dtype", dtype_torch_name(dtype)},
       {"vocab_size", s.vocab}});
  if (s.model_type == "mistral")
    json.set("sliding_window", s.sliding_window ? Json(s.sliding_window) : Json());
  if (s.attention_bias) json.set("attention_bias", true);
  if (s.mlp_bias) json.set("mlp_bias", true);
  return json;
}

Status write_random_model(const std::string& folder, const RandomModelShape& shape, DType dtype,
                          uint64_t seed) {
  const Json json = random_model_config(shape, dtype);
  BM_TRY(ModelConfig config, parse_model_config(json));
  std::vector<OutputTensor> tensors;
  for (const WeightSpec& spec : expected_weights(config))
    tensors.push_back(
        {{spec.name, dtype, spec.shape}, [spec, dtype, seed] { return random_tensor(spec, dtype, seed); }});
  HfFolderOptions options;
  options.resume = false;
  return write_hf_folder(folder, json, tensors, options);
}

}  // namespace bm
