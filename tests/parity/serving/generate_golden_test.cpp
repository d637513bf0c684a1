// Greedy generation of five random models (transformers) and of stories260k (llama2.c's expected text).
#include <gtest/gtest.h>

#include "base/file.h"
#include "paths.h"
#include "serving/generate.h"

namespace bm {
namespace {

using testing::shared_path;

std::vector<int32_t> ids_of(const Json& json) {
  std::vector<int32_t> out;
  for (const Json& id : json.items()) out.push_back(static_cast<int32_t>(id.as_int()));
  return out;
}

class GreedyGeneration : public ::testing::TestWithParam<const char*> {};

TEST_P(GreedyGeneration, TokensOfTransformers) {
  if (!testing::have_shared()) GTEST_SKIP() << "../shared is not there";
  std::string folder = shared_path(std::string("golden/model/") + GetParam());
  auto model = Model::load(folder + "/hf");
  ASSERT_TRUE(model) << model.error().paragraph();
  auto inputs = read_json_file(folder + "/inputs.json"),
       golden = read_json_file(folder + "/greedy_generation.json");
  ASSERT_TRUE(inputs && golden);
  GenerateOptions options;
  options.max_tokens = (*golden)["new_tokens_per_prompt"].as_int();
  options.ignore_eos = true;
  for (const auto& [name, expected] : (*golden)["prompts"].members()) {
    GenerationSession session(**model);
    auto made = session.generate(ids_of((*inputs)["sequences"][name]), options);
    ASSERT_TRUE(made) << made.error().paragraph();
    EXPECT_EQ(made->ids, ids_of(expected["new_tokens"])) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GreedyGeneration,
                         ::testing::Values("llama3_rope_scaling_gqa_bf16", "llama_attention_and_mlp_bias_f32",
                                           "mistral_gqa_window24_f32",
                                           "mistral_mqa_headdim16_tied_theta1e6_bf16_3shards",
                                           "mistral_window7_headdim32_f16"));

TEST(Stories260k, TwoHundredGreedySteps) {
  auto model = Model::load(testing::source_path("data/demo/stories260k"), {.need_tokenizer = true});
  ASSERT_TRUE(model) << model.error().paragraph();
  auto ids = read_json_file(testing::source_path("tests/parity/serving/data/greedy_200_steps_ids.json"));
  auto text = read_file(testing::source_path("tests/parity/serving/data/greedy_200_steps_expected.txt"));
  ASSERT_TRUE(ids && text);
  auto expected = ids_of(*ids);  // BOS first
  GenerateOptions options;
  options.max_tokens = static_cast<int64_t>(expected.size()) - 1;
  GenerationSession session(**model);
  std::string streamed;
  auto made = session.generate((*model)->tokenizer()->encode(""), options,
                               [&](std::string_view part) { streamed += part; });
  ASSERT_TRUE(made) << made.error().paragraph();
  expected.erase(expected.begin());
  EXPECT_EQ(made->ids, expected);
  EXPECT_EQ(streamed, made->text);
  std::string_view wanted = *text;
  while (wanted.ends_with('\n')) wanted.remove_suffix(1);
  EXPECT_EQ(made->text.substr(0, wanted.size()), wanted);
}

}  // namespace
}  // namespace bm
