// Tests between two systems that answered the same items, and correction over several tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "statistics/intervals.h"

namespace bm {

struct PairedCounts {
  int64_t both = 0, only_first = 0, only_second = 0, neither = 0;
  int64_t n() const { return both + only_first + only_second + neither; }
};
// right answers of the two systems, item by item; equal lengths.
PairedCounts paired_counts(std::span<const uint8_t> first, std::span<const uint8_t> second);

// McNemar 1947 on the discordant counts b = only_first, c = only_second; b + c = 0 gives p = 1.
double mcnemar_exact(int64_t b, int64_t c);  // two-sided binomial; also the exact sign-flip permutation p
double mcnemar_mid_p(int64_t b, int64_t c);  // Fagerland, Lydersen & Laake 2013
struct ChiSquareTest {
  double statistic = 0, p = 1;
};
// With the continuity correction (|b−c|−1)²/(b+c), not clipped at b = c, as statsmodels; or without.
ChiSquareTest mcnemar_chi_square(int64_t b, int64_t c, bool continuity);

// Difference of accuracies first − second with d ± z·sqrt(b + c − (b−c)²/n)/n.
Interval paired_difference_interval(const PairedCounts& counts, double confidence = 0.95);
// Percentile bootstrap of the same difference (exact limit).
Interval paired_bootstrap_interval(const PairedCounts& counts, double confidence = 0.95);

// Sign-flip permutation test of mean(differences) ≠ 0 for any values (e.g. draw averages):
// (1 + #|permuted| ≥ |observed|) / (1 + permutations), counter-based.
double sign_flip_test(std::span<const double> differences, int64_t permutations, uint64_t seed);

// Adjusted p values in the order given (statsmodels.multipletests).
std::vector<double> holm_adjust(std::span<const double> p);
std::vector<double> holm_sidak_adjust(std::span<const double> p);
std::vector<double> bonferroni_adjust(std::span<const double> p);
std::vector<double> benjamini_hochberg_adjust(std::span<const double> p);

// Smallest accuracy difference that a two-sided McNemar test at `alpha` finds with probability `power`
// on n items when the systems disagree on a share `discordant` of them (normal approximation).
double minimal_detectable_difference(int64_t n, double discordant, double alpha = 0.05, double power = 0.8);

}  // namespace bm
