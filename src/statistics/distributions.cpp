#include "statistics/distributions.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bm {
namespace {

constexpr double kTiny = 1e-300;

// Continued fraction of the incomplete beta function (modified Lentz; Numerical Recipes 6.4).
double beta_fraction(double x, double a, double b) {
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  if (std::abs(d) < kTiny) d = kTiny;
  d = 1 / d;
  double h = d;
  for (int m = 1; m <= 20000; ++m) {
    double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 + even * d;
    c = 1 + even / c;
    if (std::abs(d) < kTiny) d = kTiny;
    if (std::abs(c) < kTiny) c = kTiny;
    d = 1 / d;
    h *= d * c;
    double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + odd * d;
    c = 1 + odd / c;
    if (std::abs(d) < kTiny) d = kTiny;
    if (std::abs(c) < kTiny) c = kTiny;
    d = 1 / d;
    double factor = d * c;
    h *= factor;
    if (std::abs(factor - 1) < 1e-16) break;
  }
  return h;
}

}  // namespace

double log_gamma(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);  // std::lgamma writes a global
}

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

double normal_quantile(double p) {
  if (p <= 0) return -std::numeric_limits<double>::infinity();
  if (p >= 1) return std::numeric_limits<double>::infinity();
  if (p > 0.5) return -normal_quantile(1 - p);
  // Start from the asymptotic form (Abramowitz & Stegun 26.2.23), polish with Halley steps.
  double t = std::sqrt(-2 * std::log(p));
  double z = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                       (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
  for (int step = 0; step < 4; ++step) {
    double density = std::exp(-0.5 * z * z) / std::sqrt(2 * M_PI);
    double ratio = (normal_cdf(z) - p) / density;
    z -= ratio / (1 + 0.5 * z * ratio);
  }
  return z;
}

double beta_cdf(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  double front =
      std::exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
  return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double beta_quantile(double p, double a, double b) {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  double low = 0, high = 1, x = a / (a + b);
  for (int step = 0; step < 200; ++step) {
    double error = beta_cdf(x, a, b) - p;
    if (error > 0)
      high = x;
    else
      low = x;
    double log_density =
        log_gamma(a + b) - log_gamma(a) - log_gamma(b) + (a - 1) * std::log(x) + (b - 1) * std::log1p(-x);
    double next = x - error / std::exp(log_density);
    if (!(next > low && next < high)) next = 0.5 * (low + high);
    if (std::abs(next - x) <= 1e-16 * std::abs(next)) return next;
    x = next;
  }
  return x;
}

double chi_square_tail(double x, double degrees_of_freedom) {
  if (x <= 0) return 1;
  double a = degrees_of_freedom / 2, y = x / 2;
  double front = std::exp(a * std::log(y) - y - log_gamma(a));
  if (y < a + 1) {  // series of the lower function
    double term = 1 / a, sum = term;
    for (int n = 1; n < 10000 && term > sum * 1e-17; ++n) sum += term *= y / (a + n);
    return 1 - front * sum;
  }
  double b = y + 1 - a, c = 1 / kTiny, d = 1 / b, h = d;  // continued fraction of the upper one
  for (int n = 1; n < 10000; ++n) {
    double an = -n * (n - a);
    b += 2;
    d = an * d + b;
    c = b + an / c;
    if (std::abs(d) < kTiny) d = kTiny;
    if (std::abs(c) < kTiny) c = kTiny;
    d = 1 / d;
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-16) break;
  }
  return front * h;
}

double binomial_log_pmf(int64_t k, int64_t n, double p) {
  if (k < 0 || k > n) return -std::numeric_limits<double>::infinity();
  if (p <= 0) return k == 0 ? 0 : -std::numeric_limits<double>::infinity();
  if (p >= 1) return k == n ? 0 : -std::numeric_limits<double>::infinity();
  double kd = static_cast<double>(k), nd = static_cast<double>(n);
  return log_gamma(nd + 1) - log_gamma(kd + 1) - log_gamma(nd - kd + 1) + kd * std::log(p) +
         (nd - kd) * std::log1p(-p);
}

double binomial_pmf(int64_t k, int64_t n, double p) { return std::exp(binomial_log_pmf(k, n, p)); }

double binomial_cdf(int64_t k, int64_t n, double p) {
  if (k < 0) return 0;
  if (k >= n) return 1;
  return 1 - beta_cdf(p, static_cast<double>(k) + 1, static_cast<double>(n - k));
}

int64_t binomial_quantile(double q, int64_t n, double p) {
  double nd = static_cast<double>(n);
  double guess = nd * p + normal_quantile(std::clamp(q, 1e-12, 1 - 1e-12)) * std::sqrt(nd * p * (1 - p));
  int64_t k = std::clamp<int64_t>(static_cast<int64_t>(guess), 0, n);
  while (k > 0 && binomial_cdf(k - 1, n, p) >= q) --k;
  while (k < n && binomial_cdf(k, n, p) < q) ++k;
  return k;
}

}  // namespace bm
