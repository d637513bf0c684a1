// Sliding-window perplexity with transformers 5.23, three averaging rules, strides down to 1
// (golden/training/perplexity_sliding_window.json).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "evaluation/perplexity.h"
#include "formats/safetensors.h"
#include "paths.h"

namespace bm {
namespace {

using testing::shared_path;

TEST(PerplexityGolden, SlidingWindows) {
  if (!testing::have_shared()) GTEST_SKIP() << "../shared is not there";
  auto golden = read_json_file(shared_path("golden/training/perplexity_sliding_window.json"));
  ASSERT_TRUE(golden);
  // The parameters after step 20, as a model folder.
  testing::TemporaryFolder folder;
  std::filesystem::copy_file(shared_path("golden/training/initial_model/config.json"),
                             folder.file("config.json"));
  auto file = SafetensorsFile::open(
      shared_path("golden/training/cosine_warmup0/parameters_after_steps_1_5_20.safetensors"));
  ASSERT_TRUE(file) << file.error().paragraph();
  std::vector<NamedTensor> tensors;
  for (const auto& entry : file->entries()) {
    if (starts_with(entry.name, "step_20.")) tensors.push_back({entry.name.substr(8), file->view(entry)});
  }
  ASSERT_TRUE(write_safetensors(folder.file("model.safetensors"), tensors).ok());
  auto model = Model::load(folder.path());
  ASSERT_TRUE(model) << model.error().paragraph();
  TextIds text;
  for (const Json& id : (*golden)["ids"].items()) text.ids.push_back(static_cast<int32_t>(id.as_int()));
  for (const Json& wanted : (*golden)["windows"].items()) {
    PerplexityOptions options;
    options.window = wanted["max_length"].as_int();
    options.stride = wanted["stride"].as_int();
    auto got = perplexity_of(**model, {&text, 1}, options);
    ASSERT_TRUE(got) << got.error().paragraph();
    auto near = [&](double value, const Json& rule) {
      double expected = rule["perplexity"].as_double();
      EXPECT_NEAR(std::exp(value), expected, 2e-6 * expected) << "stride " << options.stride;
    };
    near(got->exact, wanted["exact_token_weighted"]);
    near(got->exact, wanted["exact_token_weighted_float64"]);
    near(got->hf_page, wanted["hf_page_2024_weighted"]);
    near(got->window_means, wanted["hf_page_earlier_mean_of_window_means"]);
    EXPECT_EQ(got->windows, wanted["windows"].as_int());
    EXPECT_EQ(got->scored_tokens, wanted["exact_token_weighted"]["counted"].as_int());
    const auto& losses = wanted["window_mean_losses_float32"].items();
    ASSERT_EQ(got->window_losses.size(), losses.size());
    for (size_t i = 0; i < losses.size(); ++i) {
      EXPECT_NEAR(got->window_losses[i], losses[i].as_double(), 2e-6 * losses[i].as_double());
    }
  }
}

}  // namespace
}  // namespace bm
