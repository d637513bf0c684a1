#include "statistics/agreement.h"

#include <cassert>
#include <limits>
#include <map>

#include "statistics/distributions.h"

namespace bm {
namespace {

struct Agreement {
  double observed = 0;         // mean share of agreeing pairs an item
  std::vector<double> shares;  // of each category over all labels
};

Agreement agreement(const std::vector<std::vector<int32_t>>& labels, int32_t categories) {
  size_t raters = labels.size(), items = raters ? labels[0].size() : 0;
  Agreement result;
  result.shares.assign(static_cast<size_t>(categories), 0);
  double r = static_cast<double>(raters), n = static_cast<double>(items);
  for (size_t i = 0; i < items; ++i) {
    std::vector<double> counts(static_cast<size_t>(categories), 0);
    for (const auto& rater : labels) ++counts[static_cast<size_t>(rater[i])];
    double squares = 0;
    for (size_t c = 0; c < counts.size(); ++c) {
      squares += counts[c] * counts[c];
      result.shares[c] += counts[c] / (r * n);
    }
    result.observed += (squares - r) / (r * (r - 1)) / n;
  }
  return result;
}

}  // namespace

double cohen_kappa(std::span<const int32_t> first, std::span<const int32_t> second) {
  assert(first.size() == second.size());
  double n = static_cast<double>(first.size()), agree = 0, chance = 0;
  std::map<int32_t, std::pair<double, double>> shares;
  for (size_t i = 0; i < first.size(); ++i) {
    agree += first[i] == second[i] ? 1 / n : 0;
    shares[first[i]].first += 1;
    shares[second[i]].second += 1;
  }
  for (const auto& [label, counts] : shares) chance += counts.first / n * (counts.second / n);
  return chance == 1 ? std::numeric_limits<double>::quiet_NaN() : (agree - chance) / (1 - chance);
}

double fleiss_kappa(const std::vector<std::vector<int32_t>>& labels, int32_t categories) {
  auto a = agreement(labels, categories);
  double chance = 0;
  for (double share : a.shares) chance += share * share;
  return (a.observed - chance) / (1 - chance);
}

double randolph_kappa(const std::vector<std::vector<int32_t>>& labels, int32_t categories) {
  double chance = 1 / static_cast<double>(categories);
  return (agreement(labels, categories).observed - chance) / (1 - chance);
}

ChiSquareTest cochran_q(const std::vector<std::vector<uint8_t>>& right) {
  size_t systems = right.size(), items = systems ? right[0].size() : 0;
  double k = static_cast<double>(systems), total = 0, system_squares = 0, item_squares = 0;
  for (const auto& system : right) {
    double sum = 0;
    for (uint8_t r : system) sum += r;
    total += sum;
    system_squares += sum * sum;
  }
  for (size_t i = 0; i < items; ++i) {
    double sum = 0;
    for (const auto& system : right) sum += system[i];
    item_squares += sum * sum;
  }
  double denominator = k * total - item_squares;
  if (denominator == 0) return {0, 1};
  double q = (k - 1) * (k * system_squares - total * total) / denominator;
  return {q, chi_square_tail(q, k - 1)};
}

}  // namespace bm
