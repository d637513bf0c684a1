#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/threads.h"
#include "statistics/agreement.h"
#include "statistics/calibration.h"
#include "statistics/distributions.h"
#include "statistics/intervals.h"
#include "statistics/paired.h"
#include "statistics/summary.h"

namespace bm {
namespace {

TEST(Distributions, NormalQuantileInvertsTheDistribution) {
  for (double p : {1e-10, 1e-3, 0.025, 0.3, 0.5, 0.77, 0.975, 1 - 1e-9})
    EXPECT_NEAR(normal_cdf(normal_quantile(p)), p, 1e-14) << p;
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);
}

TEST(Distributions, BinomialAgreesWithDirectSums) {
  for (int64_t n : {1, 7, 60}) {
    for (double p : {0.0, 0.03, 0.5, 0.9, 1.0}) {
      double sum = 0;
      for (int64_t k = 0; k <= n; ++k) {
        sum += binomial_pmf(k, n, p);
        EXPECT_NEAR(binomial_cdf(k, n, p), sum, 1e-13) << n << " " << p << " " << k;
      }
      EXPECT_NEAR(sum, 1, 1e-13);
      for (double q : {0.025, 0.5, 0.975}) {
        int64_t k = binomial_quantile(q, n, p);
        EXPECT_GE(binomial_cdf(k, n, p), q);
        if (k > 0) {
          EXPECT_LT(binomial_cdf(k - 1, n, p), q);
        }
      }
    }
  }
}

TEST(Distributions, BetaQuantileInvertsAndChiSquareHasKnownTails) {
  for (double a : {0.5, 3.0, 400.0})
    for (double b : {0.5, 11.0, 900.0})
      for (double p : {0.025, 0.5, 0.975}) EXPECT_NEAR(beta_cdf(beta_quantile(p, a, b), a, b), p, 1e-12);
  EXPECT_NEAR(chi_square_tail(3.841458820694124, 1), 0.05, 1e-13);
  EXPECT_NEAR(chi_square_tail(5.991464547107979, 2), 0.05, 1e-13);
  EXPECT_NEAR(chi_square_tail(0.5, 1), std::erfc(std::sqrt(0.25)), 1e-14);
  EXPECT_EQ(chi_square_tail(0, 3), 1);
}

TEST(Bootstrap, ExactLimitAgreesWithResampling) {
  std::vector<double> values(200, 0.0);
  for (size_t i = 0; i < 60; ++i) values[i] = 1;
  auto exact = bootstrap_mean_interval(values, 0, 1);
  for (auto& v : values) v *= 0.5;  // no longer 0/1: resampled
  auto sampled = bootstrap_mean_interval(values, 4000, 1);
  EXPECT_NEAR(sampled.low, exact.low / 2, 0.006);
  EXPECT_NEAR(sampled.high, exact.high / 2, 0.006);
  std::vector<double> signs(300, 0.0);
  for (size_t i = 0; i < 40; ++i) signs[i] = 1;
  for (size_t i = 40; i < 65; ++i) signs[i] = -1;
  exact = bootstrap_mean_interval(signs, 0, 1);
  for (auto& v : signs) v *= 0.5;
  sampled = bootstrap_mean_interval(signs, 4000, 1);
  EXPECT_NEAR(sampled.low, exact.low / 2, 0.005);
  EXPECT_NEAR(sampled.high, exact.high / 2, 0.005);
}

TEST(Bootstrap, SameForAnyThreadCountAndAnotherForAnotherSeed) {
  std::vector<double> values(101);
  std::iota(values.begin(), values.end(), 0.25);
  int before = thread_count();
  set_thread_count(1);
  auto one = bootstrap_mean_interval(values, 500, 9);
  double flip_one = sign_flip_test(values, 300, 4);
  set_thread_count(3);
  auto three = bootstrap_mean_interval(values, 500, 9);
  double flip_three = sign_flip_test(values, 300, 4);
  set_thread_count(before);
  EXPECT_EQ(one.low, three.low);
  EXPECT_EQ(one.high, three.high);
  EXPECT_EQ(flip_one, flip_three);
  auto other = bootstrap_mean_interval(values, 500, 10);
  EXPECT_NE(one.low, other.low);
}

TEST(Paired, CountsAndEdgeCases) {
  std::vector<uint8_t> first{1, 1, 0, 0, 1}, second{1, 0, 1, 0, 0};
  auto counts = paired_counts(first, second);
  EXPECT_EQ(counts.both, 1);
  EXPECT_EQ(counts.only_first, 2);
  EXPECT_EQ(counts.only_second, 1);
  EXPECT_EQ(counts.neither, 1);
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_EQ(mcnemar_mid_p(0, 0), 1);
  EXPECT_NEAR(mcnemar_exact(0, 5), 2.0 / 32, 1e-15);
  EXPECT_NEAR(mcnemar_mid_p(0, 5), 1.0 / 32, 1e-15);
}

TEST(Paired, MinimalDetectableDifferenceShrinksWithItems) {
  double small = minimal_detectable_difference(100, 0.3), large = minimal_detectable_difference(1273, 0.3);
  EXPECT_GT(small, large);
  // By Connor's formula at d the needed n is the given one.
  double za = normal_quantile(0.975), zb = normal_quantile(0.8);
  double n = std::pow(za * std::sqrt(0.3) + zb * std::sqrt(0.3 - large * large), 2) / (large * large);
  EXPECT_NEAR(n, 1273, 0.01);
}

TEST(Agreement, KnownTables) {
  std::vector<int32_t> a{0, 0, 1, 1}, b{0, 1, 1, 1};
  EXPECT_NEAR(cohen_kappa(a, b), 0.5, 1e-15);
  EXPECT_TRUE(std::isnan(cohen_kappa(std::vector<int32_t>{1, 1}, std::vector<int32_t>{1, 1})));
  EXPECT_NEAR(fleiss_kappa({{0, 1, 2}, {0, 1, 2}}, 3), 1, 1e-15);
  EXPECT_NEAR(randolph_kappa({{0, 0}, {0, 1}}, 2), 0, 1e-15);
}

TEST(Calibration, TemperatureUndoesASharpening) {
  LetterProbabilities p;
  p.letters = 2;
  for (int i = 0; i < 1000; ++i) {  // right with probability 0.7, claimed 0.7 sharpened by T = 1/2
    double sharp = 0.49 / (0.49 + 0.09);
    p.values.insert(p.values.end(), {sharp, 1 - sharp});
    p.gold.push_back(i % 10 < 7 ? 0 : 1);
  }
  double t = fit_temperature(p);
  EXPECT_NEAR(t, 2.0, 1e-3);
  EXPECT_NEAR(with_temperature(p, t).values[0], 0.7, 1e-3);
}

TEST(Calibration, GoldOutsideTheLettersIsWrongWithProbabilityZero) {
  LetterProbabilities p{2, {0.6, 0.4}, {-1}};
  auto s = calibration_summary(p);
  EXPECT_NEAR(s.brier, 0.36 + 0.16 + 1, 1e-15);
  EXPECT_NEAR(s.nll, -std::log(2.220446049250313e-16), 1e-12);
  EXPECT_EQ(s.reliability_10[5].count, 1);
}

}  // namespace
}  // namespace bm
