#include "statistics/paired.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "base/threads.h"
#include "statistics/distributions.h"

namespace bm {
namespace {

// P(X ≤ k), X ~ Binomial(n, 1/2), summed from the small end so that tiny values keep their digits.
double half_binomial_cdf(int64_t k, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i <= k; ++i) sum += binomial_pmf(i, n, 0.5);
  return sum;
}

std::vector<size_t> ascending_order(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  return order;
}

}  // namespace

PairedCounts paired_counts(std::span<const uint8_t> first, std::span<const uint8_t> second) {
  assert(first.size() == second.size());
  PairedCounts counts;
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i] && second[i])
      ++counts.both;
    else if (first[i])
      ++counts.only_first;
    else if (second[i])
      ++counts.only_second;
    else
      ++counts.neither;
  }
  return counts;
}

double mcnemar_exact(int64_t b, int64_t c) {
  if (b + c == 0) return 1;
  return std::min(1.0, 2 * half_binomial_cdf(std::min(b, c), b + c));
}

double mcnemar_mid_p(int64_t b, int64_t c) {
  if (b + c == 0) return 1;
  return 2 * half_binomial_cdf(std::min(b, c), b + c) - binomial_pmf(std::min(b, c), b + c, 0.5);
}

ChiSquareTest mcnemar_chi_square(int64_t b, int64_t c, bool continuity) {
  if (b + c == 0) return {0, 1};
  double difference = std::abs(static_cast<double>(b - c)) - (continuity ? 1 : 0);
  double statistic = difference * difference / static_cast<double>(b + c);
  return {statistic, chi_square_tail(statistic, 1)};
}

Interval paired_difference_interval(const PairedCounts& counts, double confidence) {
  double n = static_cast<double>(counts.n()), b = static_cast<double>(counts.only_first),
         c = static_cast<double>(counts.only_second);
  double half = normal_quantile(0.5 + confidence / 2) * std::sqrt(b + c - (b - c) * (b - c) / n) / n;
  return {(b - c) / n - half, (b - c) / n + half};
}

Interval paired_bootstrap_interval(const PairedCounts& counts, double confidence) {
  std::vector<double> differences(static_cast<size_t>(counts.n()), 0.0);
  std::fill_n(differences.begin(), counts.only_first, 1.0);
  std::fill_n(differences.begin() + counts.only_first, counts.only_second, -1.0);
  return bootstrap_mean_interval(differences, 0, 0, confidence);
}

double sign_flip_test(std::span<const double> differences, int64_t permutations, uint64_t seed) {
  double observed = 0, scale = 0;
  for (double d : differences) {
    observed += d;
    scale += std::abs(d);
  }
  double threshold = std::abs(observed) - 1e-12 * scale;  // sums of the same terms in another order
  std::vector<uint8_t> extreme(static_cast<size_t>(permutations));
  CounterRandom random(seed, 0x7369676e);
  uint64_t words = (differences.size() + 31) / 32;
  parallel_chunks(extreme.size(), 64, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      double sum = 0;
      for (size_t w = 0; w < words; ++w) {
        uint32_t bits = random.u32(r * words + w);
        size_t last = std::min(differences.size(), (w + 1) * 32);
        for (size_t i = w * 32; i < last; ++i, bits >>= 1)
          sum += (bits & 1) ? differences[i] : -differences[i];
      }
      extreme[r] = std::abs(sum) >= threshold;
    }
  });
  double count = static_cast<double>(std::accumulate(extreme.begin(), extreme.end(), int64_t{0}));
  return (1 + count) / (1 + static_cast<double>(permutations));
}

std::vector<double> holm_adjust(std::span<const double> p) {
  std::vector<double> adjusted(p.size());
  double highest = 0, n = static_cast<double>(p.size());
  auto order = ascending_order(p);
  for (size_t i = 0; i < order.size(); ++i) {
    highest = std::max(highest, std::min(1.0, (n - static_cast<double>(i)) * p[order[i]]));
    adjusted[order[i]] = highest;
  }
  return adjusted;
}

std::vector<double> holm_sidak_adjust(std::span<const double> p) {
  std::vector<double> adjusted(p.size());
  double highest = 0, n = static_cast<double>(p.size());
  auto order = ascending_order(p);
  for (size_t i = 0; i < order.size(); ++i) {
    highest = std::max(highest, -std::expm1((n - static_cast<double>(i)) * std::log1p(-p[order[i]])));
    adjusted[order[i]] = std::min(1.0, highest);
  }
  return adjusted;
}

std::vector<double> bonferroni_adjust(std::span<const double> p) {
  std::vector<double> adjusted;
  for (double value : p) adjusted.push_back(std::min(1.0, value * static_cast<double>(p.size())));
  return adjusted;
}

std::vector<double> benjamini_hochberg_adjust(std::span<const double> p) {
  std::vector<double> adjusted(p.size());
  double lowest = 1, n = static_cast<double>(p.size());
  auto order = ascending_order(p);
  for (size_t i = order.size(); i-- > 0;) {
    lowest = std::min(lowest, p[order[i]] * n / static_cast<double>(i + 1));
    adjusted[order[i]] = lowest;
  }
  return adjusted;
}

double minimal_detectable_difference(int64_t n, double discordant, double alpha, double power) {
  // Connor 1987: n = (z_a·sqrt(ψ) + z_b·sqrt(ψ − d²))² / d²; solved for d by bisection.
  double za = normal_quantile(1 - alpha / 2), zb = normal_quantile(power);
  double low = 0, high = discordant;
  for (int step = 0; step < 100; ++step) {
    double d = 0.5 * (low + high);
    double needed = za * std::sqrt(discordant) + zb * std::sqrt(std::max(0.0, discordant - d * d));
    if (needed * needed <= static_cast<double>(n) * d * d)
      high = d;
    else
      low = d;
  }
  return high;
}

}  // namespace bm
