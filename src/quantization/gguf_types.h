// Which GGML type each tensor of a model gets: llama.cpp's choices for the mixes, and its fallbacks where a
// row is no multiple of the block. Source: llama.cpp src/llama-quant.cpp llama_tensor_get_type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/gguf_write.h"

namespace bm {

struct GgufMix {
  std::string method;  // "q4_k_m", "f16"
  GgufType base;
  bool medium = false;     // the _M mixes: more bits for some attn_v and ffn_down
  uint32_t file_type = 0;  // general.file_type
};

// Methods in the order of --help. Dense ones (f32, f16, bf16) are for convert.
const std::vector<std::string>& gguf_methods();
std::optional<GgufMix> gguf_mix(std::string_view method);

struct GgufTensorPlace {
  std::string_view name;  // GGUF's
  int64_t layer = 0, layers = 1;
  int64_t columns = 0;
  bool head = false;            // gives the logits: output.weight, or a tied token_embd.weight
  bool has_importance = false;  // an importance matrix is used
};
struct GgufChoice {
  GgufType type;
  std::string reason;  // why it is not what the mix wants; "" when it is
};
GgufChoice choose_gguf_type(const GgufMix& mix, const GgufTensorPlace& place);

// The layers that get more bits: the first and last eighth and every third between.
bool uses_more_bits(int64_t layer, int64_t layers);

}  // namespace bm
