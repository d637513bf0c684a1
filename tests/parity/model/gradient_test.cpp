// Loss and gradients of every parameter against float64 autograd (golden/model).
#include "golden.h"
#include "model/reference.h"
#include "model/trainable.h"

namespace bm::testing {
namespace {

struct Batch {
  explicit Batch(const Json& rows) {
    for (const Json& row : rows.items())
      for (int32_t id : int_list(row)) tokens.push_back(id);
    view = {tokens, tokens, static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[size_t{0}].size())};
  }
  std::vector<int32_t> tokens;
  TrainingBatch view;
};

class GoldenGradients : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, GoldenGradients, ::testing::ValuesIn(golden_models()),
                         [](const auto& info) { return info.param; });

TEST_P(GoldenGradients, Loss) {
  const Golden golden(GetParam());
  const Batch batch(golden.inputs["gradient_batch"]);
  const Json expected = take(read_json_file(golden.folder + "/loss.json"));
  const auto model = take(TrainableModel::load(golden.hf()));
  const LossSum loss = take(model->evaluate(batch.view));
  EXPECT_EQ(loss.targets, expected["counted_targets"].as_int());
  EXPECT_NEAR(loss.sum / static_cast<double>(loss.targets), expected["mean_loss_float64"].as_double(), 1e-5);

  const double scale = 1.0 / static_cast<double>(loss.targets);
  model->zero_gradients();
  EXPECT_EQ(take(model->forward_backward(batch.view, scale)).sum,
            loss.sum);  // same bits with and without gradients
  double squares = 0;
  for (const Parameter& p : model->parameters())
    for (float g : p.gradient) squares += static_cast<double>(g) * static_cast<double>(g);
  const double norm = expected["gradient_norm_float64"].as_double();
  EXPECT_NEAR(std::sqrt(squares), norm, 2e-5 * norm);

  const auto loaded = golden.load();
  const ReferenceModel twin = take(ReferenceModel::load(*loaded));
  const ReferenceGradients reference = take(reference_gradients(twin, batch.view, scale));
  EXPECT_NEAR(reference.loss.sum * scale, expected["mean_loss_float64"].as_double(), 1e-12);
  for (const auto& [name, values] : reference.gradients) {
    double sum = 0;
    for (double g : values) sum += g * g;
    const double expected_norm = expected["gradient_norm_per_tensor_float64"][name].as_double();
    EXPECT_NEAR(std::sqrt(sum), expected_norm, 1e-10 * expected_norm) << name;
  }
}

TEST_P(GoldenGradients, EveryParameter) {
  if (!have_shared()) GTEST_SKIP() << "gradients lie in ../shared only";
  const Golden golden(GetParam());
  const Batch batch(golden.inputs["gradient_batch"]);
  const Tensors expected = read_tensors(golden.folder + "/gradients_float64.safetensors");
  const auto model = take(TrainableModel::load(golden.hf()));
  const double scale = 1.0 / static_cast<double>(batch.view.rows * (batch.view.length - 1));
  take(model->forward_backward(batch.view, scale));
  EXPECT_EQ(model->parameters().size(), expected.size());
  for (const Parameter& p : model->parameters()) {
    ASSERT_TRUE(expected.contains(p.name)) << p.name;
    const auto& e = expected.at(p.name);
    EXPECT_LE(largest_difference(p.gradient, e), 2e-5 * largest_entry(e)) << p.name;
  }
  const auto loaded = golden.load();
  const ReferenceModel twin = take(ReferenceModel::load(*loaded));
  const ReferenceGradients reference = take(reference_gradients(twin, batch.view, scale));
  EXPECT_EQ(reference.gradients.size(), expected.size());
  for (const auto& [name, values] : reference.gradients)
    EXPECT_LE(largest_difference(values, expected.at(name)), 1e-10 * largest_entry(expected.at(name)))
        << name;
}

}  // namespace
}  // namespace bm::testing
