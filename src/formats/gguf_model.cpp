// A llama-type GGUF file seen as a Hugging Face checkpoint.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "formats/gguf.h"

namespace bm {
namespace {

// f32 values of the metadata stand for decimal numbers (1e-05): the shortest decimal of the float, as double.
double decimal_of(double widened) {
  char text[32];
  auto end = std::to_chars(text, text + sizeof text, static_cast<float>(widened)).ptr;
  double value = widened;
  std::from_chars(text, end, value);
  return value;
}

// GGUF's names and Hugging Face's, outside and inside layers.
constexpr std::pair<std::string_view, std::string_view> kOutside[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"}};
constexpr std::pair<std::string_view, std::string_view> kParts[] = {
    {"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
    {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"}};

int64_t rotary_heads(std::string_view part, int64_t heads, int64_t kv_heads) {
  return part == "attn_q" ? heads : part == "attn_k" ? kv_heads : 0;
}

class Metadata {
 public:
  Metadata(const Json& json, std::string architecture)
      : json_(json), architecture_(std::move(architecture)) {}
  const Json& get(std::string_view key) const { return json_[architecture_ + "." + std::string(key)]; }

  Result<int64_t> integer(std::string_view key) const {
    const Json& value = get(key);
    if (value.is_array()) return uniform(key, value);
    if (!value.is_integer() || value.type() == Json::Type::unsigned_integer)
      return bad_input("GGUF metadata: " + architecture_ + "." + std::string(key) +
                           (value.is_null() ? " is missing" : " is no integer"),
                       "Convert the model again with a current llama.cpp");
    return value.as_int();
  }
  Result<int64_t> integer(std::string_view key, int64_t otherwise) const {
    if (get(key).is_null()) return otherwise;
    return integer(key);
  }
  double real(std::string_view key, double otherwise) const {
    const Json& value = get(key);
    return value.is_number() ? decimal_of(value.as_double()) : otherwise;
  }

 private:
  Result<int64_t> uniform(std::string_view key, const Json& values) const {
    for (const Json& value : values.items())
      if (!value.is_integer() || !(value == values[0]))
        return bad_input("GGUF metadata: " + architecture_ + "." + std::string(key) + " varies by layer",
                         "Only models with the same heads in all layers are supported");
    if (values.size() == 0)
      return bad_input("GGUF metadata: " + architecture_ + "." + std::string(key) + " is empty");
    return values[0].as_int();
  }
  const Json& json_;
  std::string architecture_;
};

// Llama-3's rope scaling survives in a GGUF only as the tensor rope_freqs.weight [head_dim / 2]; the
// parameters in use are few, so the table is made for each and compared.
Result<Json> rope_scaling_from_table(const GgufFile& file, const GgufTensor& tensor, double theta,
                                     int64_t head_dim) {
  if (tensor.dtype != DType::f32 || element_count(tensor.shape) * 2 != head_dim)
    return bad_input("GGUF: rope_freqs.weight has an unexpected form").in(file.path());
  std::vector<float> table(static_cast<size_t>(head_dim / 2));
  std::memcpy(table.data(), file.data(tensor).data(), table.size() * sizeof(float));
  double factor = *std::max_element(table.begin(), table.end());
  const double low = 1, high = 4;
  for (int64_t original : {8192, 4096, 16384, 32768}) {
    bool same = true;
    for (size_t i = 0; i < table.size() && same; ++i) {
      double wavelength =
          2 * M_PI * std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      double positions = static_cast<double>(original);
      double expected = 1;
      if (wavelength > positions / low) {
        expected = factor;
      } else if (wavelength >= positions / high) {
        double smooth = (positions / wavelength - low) / (high - low);
        expected = 1 / ((1 - smooth) / factor + smooth);
      }
      same = std::fabs(expected - static_cast<double>(table[i])) <= 1e-3 * expected;
    }
    if (same)
      return Json::object({{"rope_type", "llama3"},
                           {"factor", factor},
                           {"low_freq_factor", low},
                           {"high_freq_factor", high},
                           {"original_max_position_embeddings", original}});
  }
  return bad_input("GGUF: rope_freqs.weight is no table of Llama 3's rope scaling",
                   "Use the model's safetensors")
      .in(file.path());
}

Result<Json> rope_scaling(const GgufFile& file, const Metadata& metadata, double theta, int64_t head_dim) {
  if (const GgufTensor* table = file.find("rope_freqs.weight"))
    return rope_scaling_from_table(file, *table, theta, head_dim);
  const Json& type = metadata.get("rope.scaling.type");
  double factor = metadata.real("rope.scaling.factor", metadata.real("rope.scale_linear", 1));
  if (type.is_string() && type.as_string() != "none" && type.as_string() != "linear")
    return bad_input("GGUF: rope scaling of type " + type.as_string() + " is not supported",
                     "linear and llama3 are");
  if (factor == 1) return Json();
  return Json::object({{"rope_type", "linear"}, {"factor", factor}});
}

std::string stored_dtype(const GgufFile& file) {
  const GgufTensor* tensor = file.find("blk.0.ffn_down.weight");
  return std::string(dtype_torch_name(tensor && tensor->dtype ? *tensor->dtype : DType::f32));
}

void set_token_id(Json& config, const Json& metadata, const char* key, const char* gguf_key) {
  const Json& value = metadata[gguf_key];
  config.set(key, value.is_integer() ? value : Json());
}

Status check_architecture(const GgufFile& file) {
  const Json& architecture = file.metadata()["general.architecture"];
  if (!architecture.is_string()) return bad_input("GGUF: general.architecture is missing").in(file.path());
  if (architecture.as_string() != "llama")
    return bad_input("GGUF: architecture " + architecture.as_string() + " is not supported",
                     "llama is, which covers Llama and Mistral models")
        .in(file.path());
  const Json& experts = file.metadata()["llama.expert_count"];
  if (experts.is_integer() && experts.as_int() > 0)
    return bad_input("GGUF: mixtures of experts are not supported").in(file.path());
  return {};
}

}  // namespace

int64_t permuted_row(int64_t row, int64_t rows, int64_t heads) {
  // Converter: head rows [2, rows/heads/2] become [rows/heads/2, 2].
  int64_t width = rows / heads, half = width / 2;
  int64_t head = row / width, within = row % width;
  return head * width + (within % half) * 2 + within / half;
}

std::optional<GgufMapping> map_gguf_tensor(std::string_view name, int64_t heads, int64_t kv_heads) {
  for (auto [gguf, hf] : kOutside)
    if (name == gguf) return GgufMapping{std::string(hf)};
  if (!starts_with(name, "blk.")) return std::nullopt;
  size_t dot = name.find('.', 4);
  size_t last = name.rfind('.');
  if (dot == std::string_view::npos || last <= dot) return std::nullopt;
  std::string_view layer = name.substr(4, dot - 4), part = name.substr(dot + 1, last - dot - 1);
  for (auto [gguf, hf] : kParts)
    if (part == gguf)
      return GgufMapping{
          "model.layers." + std::string(layer) + "." + std::string(hf) + std::string(name.substr(last)),
          rotary_heads(part, heads, kv_heads)};
  return std::nullopt;
}

std::optional<GgufMapping> map_hf_tensor(std::string_view name, int64_t heads, int64_t kv_heads) {
  for (auto [gguf, hf] : kOutside)
    if (name == hf) return GgufMapping{std::string(gguf)};
  constexpr std::string_view layers = "model.layers.";
  if (!starts_with(name, layers)) return std::nullopt;
  size_t dot = name.find('.', layers.size());
  size_t last = name.rfind('.');
  if (dot == std::string_view::npos || last <= dot) return std::nullopt;
  std::string_view layer = name.substr(layers.size(), dot - layers.size());
  std::string_view part = name.substr(dot + 1, last - dot - 1);
  for (auto [gguf, hf] : kParts)
    if (part == hf)
      return GgufMapping{
          "blk." + std::string(layer) + "." + std::string(gguf) + std::string(name.substr(last)),
          rotary_heads(gguf, heads, kv_heads)};
  return std::nullopt;
}

Result<Json> config_from_gguf(const GgufFile& file) {
  BM_CHECK_OK(check_architecture(file));
  Metadata metadata(file.metadata(), "llama");
  const GgufTensor* embedding = file.find("token_embd.weight");
  if (!embedding || embedding->shape.size() != 2)
    return bad_input("GGUF: token_embd.weight is missing or no matrix").in(file.path());
  BM_TRY(int64_t hidden, metadata.integer("embedding_length").in(file.path()));
  BM_TRY(int64_t layers, metadata.integer("block_count").in(file.path()));
  BM_TRY(int64_t intermediate, metadata.integer("feed_forward_length").in(file.path()));
  BM_TRY(int64_t heads, metadata.integer("attention.head_count").in(file.path()));
  BM_TRY(int64_t kv_heads, metadata.integer("attention.head_count_kv", heads).in(file.path()));
  BM_TRY(int64_t positions, metadata.integer("context_length").in(file.path()));
  if (heads <= 0 || kv_heads <= 0 || hidden <= 0 || layers <= 0 || intermediate <= 0 || positions <= 0)
    return bad_input("GGUF: a size of the model is 0 or negative").in(file.path());
  BM_TRY(int64_t rotary, metadata.integer("rope.dimension_count", hidden / heads).in(file.path()));
  BM_TRY(int64_t head_dim, metadata.integer("attention.key_length", rotary).in(file.path()));
  if (head_dim != rotary || head_dim % 2 != 0 || head_dim <= 0)
    return bad_input("GGUF: rotary width " + std::to_string(rotary) + " of heads of " +
                     std::to_string(head_dim) + " is not supported")
        .in(file.path());
  double theta = metadata.real("rope.freq_base", 10000);
  BM_TRY(Json scaling, rope_scaling(file, metadata, theta, head_dim));
  BM_TRY(int64_t window, metadata.integer("attention.sliding_window", 0).in(file.path()));
  bool mistral = window > 0;
  Json config = Json::object();
  config.set("architectures", Json::array({Json(mistral ? "MistralForCausalLM" : "LlamaForCausalLM")}));
  if (!mistral) config.set("attention_bias", file.find("blk.0.attn_q.bias") != nullptr);
  set_token_id(config, file.metadata(), "bos_token_id", "tokenizer.ggml.bos_token_id");
  set_token_id(config, file.metadata(), "eos_token_id", "tokenizer.ggml.eos_token_id");
  config.set("head_dim", head_dim);
  config.set("hidden_act", "silu");
  config.set("hidden_size", hidden);
  config.set("intermediate_size", intermediate);
  config.set("max_position_embeddings", positions);
  if (!mistral) config.set("mlp_bias", file.find("blk.0.ffn_gate.bias") != nullptr);
  config.set("model_type", mistral ? "mistral" : "llama");
  config.set("num_attention_heads", heads);
  config.set("num_hidden_layers", layers);
  config.set("num_key_value_heads", kv_heads);
  set_token_id(config, file.metadata(), "pad_token_id", "tokenizer.ggml.padding_token_id");
  config.set("rms_norm_eps", metadata.real("attention.layer_norm_rms_epsilon", 1e-5));
  config.set("rope_scaling", scaling);
  config.set("rope_theta", theta);
  if (mistral) config.set("sliding_window", window);
  config.set("tie_word_embeddings", file.find("output.weight") == nullptr);
  config.set("torch_dtype", stored_dtype(file));
  config.set("vocab_size", embedding->shape[0]);
  return config;
}

}  // namespace bm
