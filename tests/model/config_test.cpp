#include "model/config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support.h"

namespace bm::testing {
namespace {

Json mistral() {
  return take(
      parse_json(R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 32000,
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
    "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2})"));
}
Json llama() {
  Json json = mistral();
  json.set("architectures", Json::array({Json("LlamaForCausalLM")}));
  json.set("model_type", "llama");
  return json;
}
ModelConfig parse(const Json& json) { return take(parse_model_config(json)); }
std::string refusal(const Json& json) { return error_of(parse_model_config(json)); }

TEST(Config, Transformers4Style) {
  const ModelConfig c = parse(mistral());
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.kv_heads, 8);
  EXPECT_EQ(c.sliding_window, 4096);
  EXPECT_EQ(c.stored_dtype, "bfloat16");
  EXPECT_EQ(c.eos_ids, std::vector<int64_t>{2});
  EXPECT_EQ(c.rms_epsilon, 1e-5);
}

TEST(Config, Transformers5Style) {
  Json json = llama();
  json.erase("torch_dtype");
  json.erase("rope_theta");
  json.set("dtype", "float16");
  json.set("rope_parameters", take(parse_json(R"({"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0,
      "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})")));
  const ModelConfig c = parse(json);
  EXPECT_EQ(c.stored_dtype, "float16");
  EXPECT_EQ(c.rope_theta, 5e5);
  EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::llama3);
  EXPECT_EQ(c.rope_scaling.original_max_positions, 8192);
}

// Absent keys mean different things in MistralConfig and LlamaConfig; null is not absent.
TEST(Config, DefaultsByClass) {
  Json m = mistral(), l = llama();
  for (const char* key : {"num_key_value_heads", "sliding_window", "rope_theta", "rms_norm_eps",
                          "tie_word_embeddings", "max_position_embeddings", "bos_token_id", "eos_token_id"}) {
    m.erase(key);
    l.erase(key);
  }
  EXPECT_EQ(parse(m).kv_heads, 8);
  EXPECT_EQ(parse(m).sliding_window, 4096);
  EXPECT_EQ(parse(m).rope_theta, 1e4);
  EXPECT_EQ(parse(m).rms_epsilon, 1e-6);
  EXPECT_EQ(parse(m).max_positions, 131072);
  EXPECT_EQ(parse(l).kv_heads, 32);
  EXPECT_EQ(parse(l).sliding_window, 0);
  EXPECT_EQ(parse(l).max_positions, 2048);
  EXPECT_EQ(parse(l).bos_id, 1);
  EXPECT_EQ(parse(l).eos_ids, std::vector<int64_t>{2});
  m.set("sliding_window", Json());
  m.set("num_key_value_heads", Json());
  m.set("head_dim", Json());
  m.set("bos_token_id", Json());
  EXPECT_EQ(parse(m).sliding_window, 0);
  EXPECT_EQ(parse(m).kv_heads, 32);
  EXPECT_EQ(parse(m).head_dim, 128);
  EXPECT_EQ(parse(m).bos_id, -1);
}

TEST(Config, LlamaIgnoresWindowAndMistralIgnoresBiases) {
  EXPECT_EQ(parse(llama()).sliding_window, 0);
  Json m = mistral(), l = llama();
  for (Json* json : {&m, &l}) {
    json->set("attention_bias", true);
    json->set("mlp_bias", true);
  }
  EXPECT_FALSE(parse(m).attention_bias || parse(m).mlp_bias);
  EXPECT_TRUE(parse(l).attention_bias && parse(l).mlp_bias);
}

TEST(Config, OlderRopeScalingAndEosLists) {
  Json json = llama();
  json.set("rope_scaling", take(parse_json(R"({"type": "linear", "factor": 4.0})")));
  json.set("eos_token_id", take(parse_json("[2, 7]")));
  const ModelConfig c = parse(json);
  EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(c.eos_ids, (std::vector<int64_t>{2, 7}));
  const auto scaled = rope_inverse_frequencies(c);
  json.set("rope_scaling", Json());
  const auto plain = rope_inverse_frequencies(parse(json));
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_DOUBLE_EQ(scaled[i] * 4, plain[i]);
}

TEST(Config, RefusesWhatItCannotRun) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"vocab_size": null})", "vocab_size is missing"},
      {R"({"hidden_size": 0})", "hidden_size is 0"},
      {R"({"hidden_size": -4096})", "hidden_size"},
      {R"({"hidden_size": "4096"})", "hidden_size"},
      {R"({"num_hidden_layers": 99999999999})", "num_hidden_layers"},
      {R"({"num_key_value_heads": 5})", "num_key_value_heads is 5"},
      {R"({"num_attention_heads": 24, "num_key_value_heads": 8})", "num_attention_heads is 24"},
      {R"({"head_dim": 7})", "head_dim is 7"},
      {R"({"rms_norm_eps": -1})", "rms_norm_eps"},
      {R"({"rope_theta": 0})", "rope_theta"},
      {R"({"sliding_window": 0})", "sliding_window is 0"},
      {R"({"hidden_act": "gelu"})", "gelu"},
      {R"({"rope_scaling": {"type": "dynamic", "factor": 2.0}})", "\"dynamic\" is not supported"},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}})", "\"yarn\" is not supported"},
      {R"({"rope_scaling": {"rope_type": "linear"}})", "factor"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})", "low_freq_factor"},
      {R"({"rope_scaling": 3})", "rope_scaling is 3"},
      {R"({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]})", "MixtralForCausalLM"},
      {R"({"architectures": ["MistralForSequenceClassification"]})", "supported: MistralForCausalLM"},
      {R"({"quantization_config": "awq"})", "quantization_config"},
      {R"({"eos_token_id": ["</s>"]})", "eos_token_id"},
  };
  for (const auto& [change, message] : cases) {
    Json json = mistral();
    const Json changed = take(parse_json(change));
    for (const auto& [key, value] : changed.members()) json.set(key, value);
    EXPECT_CONTAINS(refusal(json), message);
  }
  Json nameless = mistral();
  nameless.erase("model_type");
  EXPECT_EQ(parse(nameless).model_type, "mistral");  // by its architecture
  nameless.erase("architectures");
  EXPECT_CONTAINS(refusal(nameless), "model_type");
  EXPECT_CONTAINS(refusal(Json::array()), "object");
}

TEST(Config, FileErrorsNameTheFile) {
  const TemporaryFolder folder;
  EXPECT_CONTAINS(error_of(read_model_config(folder.path())), "config.json");
  check(write_file_atomic(folder.file("config.json"), "{\"model_type\": \"mistral\"}"));
  EXPECT_CONTAINS(error_of(read_model_config(folder.path())), folder.file("config.json"));
}

}  // namespace
}  // namespace bm::testing
