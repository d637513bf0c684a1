// A small random model in a folder, for tests of the quantize stage.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "model/config.h"
#include "model/weight_source.h"
#include "tensor/tensor.h"

namespace bm::testing {

struct TinyModel {
  int64_t vocab = 96, hidden = 64, intermediate = 128, layers = 2, heads = 4, kv_heads = 2;
  bool tied = false;
  DType dtype = DType::f32;
  uint64_t seed = 7;
};

inline Json tiny_config(const TinyModel& m) {
  return Json::object({{"architectures", Json::array({"LlamaForCausalLM"})},
                       {"model_type", "llama"},
                       {"vocab_size", m.vocab},
                       {"hidden_size", m.hidden},
                       {"intermediate_size", m.intermediate},
                       {"num_hidden_layers", m.layers},
                       {"num_attention_heads", m.heads},
                       {"num_key_value_heads", m.kv_heads},
                       {"max_position_embeddings", 256},
                       {"rms_norm_eps", 1e-5},
                       {"rope_theta", 10000.0},
                       {"tie_word_embeddings", m.tied},
                       {"hidden_act", "silu"},
                       {"bos_token_id", 1},
                       {"eos_token_id", 2},
                       {"torch_dtype", dtype_torch_name(m.dtype)}});
}

using Edit = std::function<void(const std::string& tensor, std::vector<float>& values)>;

// Writes FOLDER/config.json and model.safetensors; norms have a few large channels, so that scaling matters.
inline void write_tiny_model(const std::string& folder, const TinyModel& m, const Edit& edit = {}) {
  ASSERT_TRUE(make_directories(folder).ok());
  Json json = tiny_config(m);
  auto config = parse_model_config(json);
  ASSERT_TRUE(config.ok()) << config.error().paragraph();
  std::vector<NamedTensor> tensors;
  uint64_t purpose = 0;
  for (const WeightSpec& spec : expected_weights(*config)) {
    CounterRandom random(m.seed, ++purpose);
    std::vector<float> values(static_cast<size_t>(element_count(spec.shape)));
    bool norm = spec.shape.size() == 1;
    double scale = spec.linear ? 1.0 / std::sqrt(static_cast<double>(spec.shape[1])) : 1.0;
    for (size_t i = 0; i < values.size(); ++i) {
      double v =
          norm ? std::exp(0.4 * random.normal(i)) * (i % 17 == 3 ? 6.0 : 1.0) : scale * random.normal(i);
      values[i] = static_cast<float>(v);
    }
    if (edit) edit(spec.name, values);
    TensorView view{DType::f32, spec.shape, reinterpret_cast<const std::byte*>(values.data()), nullptr};
    auto tensor = convert(view, m.dtype);
    ASSERT_TRUE(tensor.ok());
    tensors.push_back({spec.name, tensor->view()});
  }
  ASSERT_TRUE(write_safetensors(folder + "/model.safetensors", tensors).ok());
  ASSERT_TRUE(write_file_atomic(folder + "/config.json", json.dump_pretty() + "\n").ok());
}

// JSON lines of random ids: `samples` lines of `length` tokens.
inline void write_id_lines(const std::string& path, int64_t samples, int64_t length, int64_t vocab,
                           uint64_t seed = 11) {
  CounterRandom random(seed, 1);
  std::string text;
  for (int64_t s = 0; s < samples; ++s) {
    Json ids = Json::array({Json(1)});
    for (int64_t i = 1; i < length; ++i)
      ids.push_back(static_cast<int64_t>(
          3 + random.below(static_cast<uint64_t>(s * length + i), static_cast<uint64_t>(vocab - 3))));
    text += Json::object({{"ids", ids}}).dump() + "\n";
  }
  ASSERT_TRUE(write_file_atomic(path, text).ok());
}

}  // namespace bm::testing
