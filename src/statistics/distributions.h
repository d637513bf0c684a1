// The distribution functions that intervals and tests need, in double precision: relative error below
// 1e-11 over the sizes of benchmarks (n up to 1e6). Thread-safe.
#pragma once

#include <cstdint>

namespace bm {

double log_gamma(double x);  // x > 0
double normal_cdf(double z);
double normal_quantile(double p);  // 0 < p < 1

// Regularized incomplete beta I_x(a, b), a, b > 0, 0 ≤ x ≤ 1.
double beta_cdf(double x, double a, double b);
double beta_quantile(double p, double a, double b);

// P(X > x) of the chi-square distribution.
double chi_square_tail(double x, double degrees_of_freedom);

// X ~ Binomial(n, p), 0 ≤ p ≤ 1.
double binomial_log_pmf(int64_t k, int64_t n, double p);
double binomial_pmf(int64_t k, int64_t n, double p);
double binomial_cdf(int64_t k, int64_t n, double p);  // P(X ≤ k)
// Smallest k with P(X ≤ k) ≥ q.
int64_t binomial_quantile(double q, int64_t n, double p);

}  // namespace bm
