#include "statistics/intervals.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/hash.h"
#include "base/random.h"
#include "base/threads.h"
#include "statistics/distributions.h"
#include "statistics/summary.h"

namespace bm {
namespace {

double critical_value(double confidence) { return normal_quantile(0.5 + confidence / 2); }

// Quantiles of the mean of n draws from {-1, 0, 1} with plus, minus of n values being +1, -1: the exact
// distribution of the difference of two multinomial counts.
Interval difference_interval(int64_t plus, int64_t minus, int64_t n, double confidence) {
  double nd = static_cast<double>(n);
  double p = static_cast<double>(plus) / nd, q = static_cast<double>(minus) / nd;
  auto spread = [&](double share) {
    return static_cast<int64_t>(10 * std::sqrt(nd * share * (1 - share)) + 10);
  };
  int64_t low_plus = std::max<int64_t>(0, plus - spread(p)), high_plus = std::min(n, plus + spread(p));
  int64_t low_minus = std::max<int64_t>(0, minus - spread(q)), high_minus = std::min(n, minus + spread(q));
  int64_t base = low_plus - high_minus;
  std::vector<double> mass(static_cast<size_t>(high_plus - low_minus - base + 1));
  for (int64_t b = low_plus; b <= high_plus; ++b) {
    double first = binomial_log_pmf(b, n, p);
    if (!std::isfinite(first)) continue;
    double given = p < 1 ? q / (1 - p) : 0;  // minus count given b: Binomial(n - b, q / (1 - p))
    for (int64_t c = low_minus; c <= std::min(high_minus, n - b); ++c)
      mass[static_cast<size_t>(b - c - base)] +=
          std::exp(first + binomial_log_pmf(c, n - b, std::min(given, 1.0)));
  }
  Interval interval;
  double sum = 0, tail = (1 - confidence) / 2;
  bool below = false;
  for (size_t i = 0; i < mass.size(); ++i) {
    sum += mass[i];
    double value = static_cast<double>(static_cast<int64_t>(i) + base) / nd;
    if (!below && sum >= tail) {
      interval.low = value;
      below = true;
    }
    if (sum >= 1 - tail) {
      interval.high = value;
      break;
    }
  }
  return interval;
}

}  // namespace

Interval wilson_interval(int64_t right, int64_t n, double confidence) {
  double nd = static_cast<double>(n), p = static_cast<double>(right) / nd, z = critical_value(confidence);
  double denominator = 1 + z * z / nd, center = (p + z * z / (2 * nd)) / denominator;
  double half = z / denominator * std::sqrt(p * (1 - p) / nd + z * z / (4 * nd * nd));
  return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

Interval clopper_pearson_interval(int64_t right, int64_t n, double confidence) {
  double k = static_cast<double>(right), nd = static_cast<double>(n), tail = (1 - confidence) / 2;
  return {right == 0 ? 0.0 : beta_quantile(tail, k, nd - k + 1),
          right == n ? 1.0 : beta_quantile(1 - tail, k + 1, nd - k)};
}

Interval normal_interval(int64_t right, int64_t n, double confidence) {
  double nd = static_cast<double>(n), p = static_cast<double>(right) / nd;
  double half = critical_value(confidence) * std::sqrt(p * (1 - p) / nd);
  return {std::max(0.0, p - half), std::min(1.0, p + half)};
}

Interval agresti_coull_interval(int64_t right, int64_t n, double confidence) {
  double z = critical_value(confidence), nd = static_cast<double>(n) + z * z;
  double p = (static_cast<double>(right) + z * z / 2) / nd, half = z * std::sqrt(p * (1 - p) / nd);
  return {std::max(0.0, p - half), std::min(1.0, p + half)};
}

Interval jeffreys_interval(int64_t right, int64_t n, double confidence) {
  double k = static_cast<double>(right), rest = static_cast<double>(n - right), tail = (1 - confidence) / 2;
  return {beta_quantile(tail, k + 0.5, rest + 0.5), beta_quantile(1 - tail, k + 0.5, rest + 0.5)};
}

Interval bootstrap_share_interval(int64_t right, int64_t n, double confidence) {
  double nd = static_cast<double>(n), p = static_cast<double>(right) / nd, tail = (1 - confidence) / 2;
  return {static_cast<double>(binomial_quantile(tail, n, p)) / nd,
          static_cast<double>(binomial_quantile(1 - tail, n, p)) / nd};
}

Interval bootstrap_share_interval_bca(int64_t right, int64_t n, double confidence) {
  if (right == 0 || right == n) return bootstrap_share_interval(right, n, confidence);
  double nd = static_cast<double>(n), p = static_cast<double>(right) / nd, tail = (1 - confidence) / 2;
  double below = binomial_cdf(right - 1, n, p) + 0.5 * binomial_pmf(right, n, p);
  double bias = normal_quantile(below);
  // Jackknife deviations of a mean are (x_i − p)/(n − 1): skewness / (6·sqrt(n)).
  double acceleration = (1 - 2 * p) / std::sqrt(p * (1 - p)) / (6 * std::sqrt(nd));
  auto adjusted = [&](double q) {
    double z = bias + normal_quantile(q);
    return normal_cdf(bias + z / (1 - acceleration * z));
  };
  return {static_cast<double>(binomial_quantile(adjusted(tail), n, p)) / nd,
          static_cast<double>(binomial_quantile(adjusted(1 - tail), n, p)) / nd};
}

Interval bootstrap_mean_interval(std::span<const double> values, int64_t resamples, uint64_t seed,
                                 double confidence) {
  if (values.empty())
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  int64_t plus = 0, minus = 0, other = 0, n = static_cast<int64_t>(values.size());
  for (double v : values) {
    if (v == 1)
      ++plus;
    else if (v == -1)
      ++minus;
    else if (v != 0)
      ++other;
  }
  if (other == 0 && minus == 0) return bootstrap_share_interval(plus, n, confidence);
  if (other == 0) return difference_interval(plus, minus, n, confidence);
  std::vector<double> means(static_cast<size_t>(resamples));
  uint64_t key = mix64(seed ^ 0x626f6f7473747261ull);
  std::array<uint32_t, 2> philox_key = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
  parallel_chunks(means.size(), 64, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      double sum = 0;
      for (size_t i = 0; i < values.size(); i += 4) {  // four indices from one counter
        auto words = philox4x32({static_cast<uint32_t>(i / 4), 0, static_cast<uint32_t>(r), 0}, philox_key);
        for (size_t j = 0; j < std::min<size_t>(4, values.size() - i); ++j)
          sum += values[static_cast<size_t>((static_cast<uint64_t>(words[j]) * values.size()) >> 32)];
      }
      means[r] = sum / static_cast<double>(n);
    }
  });
  std::sort(means.begin(), means.end());
  double tail = (1 - confidence) / 2;
  return {quantile_sorted(means, tail), quantile_sorted(means, 1 - tail)};
}

}  // namespace bm
