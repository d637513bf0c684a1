// Models with random weights, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/config.h"
#include "tensor/dtype.h"

namespace bm {

struct RandomModelShape {
  std::string model_type = "mistral";  // or "llama"
  int64_t vocab = 320, hidden = 64, intermediate = 96, layers = 2, heads = 4, kv_heads = 2, head_dim = 16;
  int64_t sliding_window = 0;  // 0 = none
  int64_t max_positions = 512;
  bool tied_embeddings = false, attention_bias = false, mlp_bias = false;  // biases: llama only
};

// Its config.json.
Json random_model_config(const RandomModelShape& shape, DType dtype);

// Writes a Hugging Face folder (no tokenizer). Matrices are normal with a deviation of 1/√inputs, norms
// 1 + 0.1·normal, biases 0.1·normal; each element a pure function of (seed, tensor's name, index).
Status write_random_model(const std::string& folder, const RandomModelShape& shape, DType dtype,
                          uint64_t seed);

}  // namespace bm
