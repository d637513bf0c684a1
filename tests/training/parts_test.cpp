// Schedule, order, AdamW against their closed forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tensor/dtype.h"
#include "training/adamw.h"
#include "training/order.h"
#include "training/schedule.h"

namespace bm {
namespace {

std::vector<double> rates(Schedule schedule) {
  std::vector<double> list;
  for (int64_t s = 0; s < schedule.total; ++s) list.push_back(schedule.at(s));
  return list;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-12) << i;
}

TEST(Schedule, EveryKind) {
  using Kind = Schedule::Kind;
  expect_near(rates({Kind::linear, 1, 2, 10, 0}),
              {0, 0.5, 1, 7 / 8., 6 / 8., 5 / 8., 4 / 8., 3 / 8., 2 / 8., 1 / 8.});
  expect_near(rates({Kind::constant, 2, 2, 5, 0}), {0, 1, 2, 2, 2});
  expect_near(rates({Kind::wsd, 1, 2, 10, 5}), {0, 0.5, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2});
  double r = std::sqrt(0.5);
  expect_near(rates({Kind::cosine, 1, 0, 4, 0}), {1, (1 + r) / 2, 0.5, (1 - r) / 2});
  EXPECT_EQ((Schedule{Kind::cosine, 1, 4, 4, 0}).at(3), 0.75);
}

TEST(Schedule, WarmupAsStepsOrShare) {
  EXPECT_EQ(warmup_steps(3, 100), 3);
  EXPECT_EQ(warmup_steps(0.03, 100), 3);
  EXPECT_EQ(warmup_steps(0.031, 100), 4);
  EXPECT_EQ(warmup_steps(0, 100), 0);
  EXPECT_FALSE(parse_schedule("cos").ok());
}

TEST(Order, EveryBlockOnceAnEpochAndAPureFunctionOfTheStep) {
  for (OrderRule rule :
       {OrderRule::sequential, OrderRule::counter, OrderRule::seedable, OrderRule::plain_sampler}) {
    BatchPlan forward(13, 2, 3, rule, AccumulationRule::by_epoch, 7);
    EXPECT_EQ(forward.steps_per_epoch(), 3);
    std::vector<std::vector<std::vector<uint64_t>>> steps;
    for (int64_t s = 0; s < 9; ++s) steps.push_back(forward.step(s));
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::multiset<uint64_t> seen;
      for (int64_t s = 3 * epoch; s < 3 * epoch + 3; ++s)
        for (const auto& batch : steps[static_cast<size_t>(s)]) seen.insert(batch.begin(), batch.end());
      EXPECT_EQ(seen.size(), 13u);
      EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), 13u);
    }
    EXPECT_EQ(steps[2].size(), 1u);
    EXPECT_EQ(steps[2][0].size(), 1u);
    BatchPlan again(13, 2, 3, rule, AccumulationRule::by_epoch, 7);
    for (int64_t s = 8; s >= 0; --s) EXPECT_EQ(again.step(s), steps[static_cast<size_t>(s)]);
  }
  EXPECT_NE(epoch_order(OrderRule::counter, 50, 7, 0), epoch_order(OrderRule::counter, 50, 7, 1));
  EXPECT_NE(epoch_order(OrderRule::counter, 50, 7, 0), epoch_order(OrderRule::counter, 50, 8, 0));
}

TEST(Order, BeforeTransformers446StepsRanOverEpochBorders) {
  BatchPlan plan(13, 2, 3, OrderRule::sequential, AccumulationRule::continuous, 7);  // 7 batches an epoch
  EXPECT_EQ(plan.steps_per_epoch(), 2);
  EXPECT_EQ(plan.steps_of(3), 6);
  EXPECT_EQ(plan.step(2), (std::vector<std::vector<uint64_t>>{{12}, {0, 1}, {2, 3}}));
  BatchPlan small(3, 2, 8, OrderRule::sequential, AccumulationRule::continuous, 7);
  EXPECT_EQ(small.steps_per_epoch(), 1);
  EXPECT_EQ(small.step(1), (std::vector<std::vector<uint64_t>>{{0, 1}, {2}}));
}

std::vector<Parameter> one_parameter(const std::vector<float>& values) {
  Parameter parameter;
  parameter.name = "model.layers.0.mlp.up_proj.weight";
  parameter.shape = {1, static_cast<int64_t>(values.size())};
  parameter.value = values;
  parameter.gradient.assign(values.size(), 0);
  return {parameter};
}

TEST(AdamWTest, ThreeStepsAgainstTheFormulaInDouble) {
  auto parameters = one_parameter({1.0f, -2.0f, 0.5f});
  AdamWOptions options;
  options.weight_decay = 0.1;
  options.clip = 1.0;
  AdamW optimizer(parameters, options);
  std::vector<double> value = {1, -2, 0.5}, m(3), v(3);
  const double gradients[3][3] = {{0.3, -0.2, 4}, {0.1, 0.7, -0.5}, {-2, 0.01, 0.2}};
  for (int k = 1; k <= 3; ++k) {
    double sum = 0;
    for (int i = 0; i < 3; ++i) {
      parameters[0].gradient[static_cast<size_t>(i)] = static_cast<float>(gradients[k - 1][i]);
      sum += gradients[k - 1][i] * gradients[k - 1][i];
    }
    double norm = optimizer.gradient_norm();
    EXPECT_NEAR(norm, std::sqrt(sum), 1e-6);
    double rate = 0.01 * k, clip = std::min(1.0, 1.0 / (std::sqrt(sum) + 1e-6));
    optimizer.step(rate, norm, k);
    for (size_t i = 0; i < 3; ++i) {
      double g = gradients[k - 1][i] * clip;
      value[i] *= 1 - rate * 0.1;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      value[i] -=
          rate / (1 - std::pow(0.9, k)) * m[i] / (std::sqrt(v[i]) / std::sqrt(1 - std::pow(0.999, k)) + 1e-8);
      EXPECT_NEAR(parameters[0].value[i], value[i], 1e-6) << k << " " << i;
    }
  }
}

TEST(AdamWTest, StochasticRoundingKeepsSmallUpdatesOnAverage) {
  std::vector<float> start(20000, 1.0f);
  auto run = [&](Precision precision) {
    auto parameters = one_parameter(start);
    AdamWOptions options;
    options.precision = precision;
    AdamW optimizer(parameters, options);
    parameters[0].gradient.assign(start.size(), 1.0f);
    for (int k = 1; k <= 4; ++k) optimizer.step(1e-4, optimizer.gradient_norm(), k);
    double sum = 0;
    for (float value : parameters[0].value) {
      EXPECT_EQ(value, round_to_bf16(value));
      sum += value;
    }
    return sum / static_cast<double>(start.size());
  };
  EXPECT_EQ(run(Precision::bf16_pure), 1.0) << "1e-4 is below a bf16 step at 1";
  EXPECT_NEAR(run(Precision::bf16_stochastic), 1 - 4e-4, 5e-5);
}

}  // namespace
}  // namespace bm
