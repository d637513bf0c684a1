// GGUF files through to logits (golden/quantization/SOURCE.txt, gguf/ and smollm2/).
#include <cstdlib>

#include "golden.h"
#include "model/reference.h"

namespace bm::testing {
namespace {

std::string quantization(const std::string& name) { return shared_path("golden/quantization/" + name); }

std::vector<int32_t> ids(const Tensors& tensors, const std::string& name) {
  const auto& values = tensors.at(name);
  return {values.begin(), values.end()};
}

TEST(Gguf, TinyMistralLogits) {
  if (!have_shared()) GTEST_SKIP() << "golden/quantization lies in ../shared only";
  const Tensors expected = read_tensors(quantization("gguf/tiny_mistral_logits.safetensors"));
  const std::vector<int32_t> tokens = ids(expected, "input_ids");
  const auto compare = [&](const std::string& file, const std::string& name, double tolerance) {
    const auto model = take(Model::load(quantization("gguf/" + file)));
    const auto& e = expected.at(name);
    EXPECT_LE(largest_difference(fast_logits(*model, tokens), e), tolerance) << file;
    EXPECT_LE(largest_difference(take(reference_forward(*model, tokens)), e), tolerance) << file;
  };
  const double relative = 1e-4 * largest_entry(expected.at("logits.transformers_fp32"));
  compare("tiny_mistral_f32.gguf", "logits.transformers_fp32", relative);
  compare("tiny_mistral_q8_0.gguf", "logits.transformers_fp32.q8_0_weights", relative);
  compare("tiny_mistral_f16.gguf", "logits.transformers_fp32", 0.02);  // weights rounded to float16
}

// The real model: BIOMISTRAL_SMOLLM2_GGUF names the file, or scripts/demo --model smollm2 has fetched it.
TEST(Gguf, SmolLm2Logits) {
  const char* named = std::getenv("BIOMISTRAL_SMOLLM2_GGUF");
  const std::string file = named ? named : source_path("demo-out/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!have_shared() || !exists(file))
    GTEST_SKIP() << "SmolLM2-135M-Instruct.Q4_1.gguf is not here (BIOMISTRAL_SMOLLM2_GGUF)";
  const auto model = take(Model::load(file));
  EXPECT_EQ(model->parameter_count(), 134515008);
  const Tensors expected = read_tensors(quantization("smollm2/logits.safetensors"));
  const Json prompts = take(read_json_file(quantization("smollm2/logits.json")))["prompts"];
  for (const auto& [name, prompt] : prompts.members()) {
    const std::vector<int32_t> tokens = ids(expected, name + ".input_ids");
    EXPECT_EQ(model->tokenizer()->encode(prompt["text"].as_string()), tokens) << name;
    const std::vector<float> logits = fast_logits(*model, tokens);
    const int64_t vocab = model->config().vocab;
    EXPECT_LE(largest_difference(std::vector<float>(logits.end() - vocab, logits.end()),
                                 expected.at(name + ".last_logits")),
              2e-3)
        << name;
    const auto& log_probabilities = expected.at(name + ".token_log_probs");
    for (size_t t = 0; t + 1 < tokens.size(); ++t)
      EXPECT_NEAR(
          log_softmax(&logits[t * static_cast<size_t>(vocab)], vocab)[static_cast<size_t>(tokens[t + 1])],
          log_probabilities[t], 1e-3);
  }
}

}  // namespace
}  // namespace bm::testing
