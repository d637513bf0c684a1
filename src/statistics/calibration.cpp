#include "statistics/calibration.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace bm {
namespace {

constexpr double kSmallestProbability = 2.220446049250313e-16;

void close_bin(Bin& bin, double right, double confidence) {
  if (bin.count == 0) return;
  bin.accuracy = right / static_cast<double>(bin.count);
  bin.confidence = confidence / static_cast<double>(bin.count);
}

}  // namespace

LetterProbabilities renormalized(const LetterProbabilities& raw) {
  LetterProbabilities result = raw;
  for (int64_t i = 0; i < raw.n(); ++i) {
    double* row = result.values.data() + i * raw.letters;
    double sum = 0;
    for (int64_t c = 0; c < raw.letters; ++c) sum += row[c];
    for (int64_t c = 0; c < raw.letters; ++c)
      row[c] = sum > 0 ? row[c] / sum : 1 / static_cast<double>(raw.letters);
  }
  return result;
}

int32_t argmax_first(std::span<const double> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

bool top_is_tied(std::span<const double> row) {
  if (row.empty()) return false;
  double top = *std::max_element(row.begin(), row.end());
  return std::count(row.begin(), row.end(), top) > 1;
}

std::vector<Bin> reliability_table(std::span<const double> confidence, std::span<const uint8_t> right,
                                   int bins) {
  assert(confidence.size() == right.size());
  double step = 1.0 / bins;
  std::vector<Bin> table(static_cast<size_t>(bins));
  std::vector<double> rights(table.size()), confidences(table.size());
  for (size_t b = 0; b < table.size(); ++b) {
    table[b].low = static_cast<double>(b) * step;
    table[b].high = b + 1 == table.size() ? 1.0 : static_cast<double>(b + 1) * step;
  }
  for (size_t i = 0; i < confidence.size(); ++i) {
    for (size_t b = 0; b < table.size(); ++b) {
      if (!(confidence[i] > table[b].low && confidence[i] <= table[b].high)) continue;
      ++table[b].count;
      rights[b] += right[i];
      confidences[b] += confidence[i];
      break;
    }
  }
  for (size_t b = 0; b < table.size(); ++b) close_bin(table[b], rights[b], confidences[b]);
  return table;
}

std::vector<Bin> equal_mass_table(std::span<const double> confidence, std::span<const uint8_t> right,
                                  int bins) {
  std::vector<size_t> order(confidence.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return confidence[a] < confidence[b]; });
  std::vector<Bin> table(static_cast<size_t>(bins));
  size_t n = order.size(), groups = table.size(), position = 0;
  for (size_t b = 0; b < groups; ++b) {
    size_t size = n / groups + (b < n % groups ? 1 : 0);
    if (size) {
      table[b].low = confidence[order[position]];
      table[b].high = confidence[order[position + size - 1]];
    }
    double rights = 0, sum = 0;
    for (size_t i = position; i < position + size; ++i) {
      rights += right[order[i]];
      sum += confidence[order[i]];
    }
    table[b].count = static_cast<int64_t>(size);
    close_bin(table[b], rights, sum);
    position += size;
  }
  return table;
}

double expected_calibration_error(std::span<const Bin> bins, int64_t n) {
  double sum = 0;
  for (const auto& bin : bins)
    if (bin.count) sum += static_cast<double>(bin.count) / static_cast<double>(n) * std::abs(*bin.gap());
  return sum;
}

double maximum_calibration_error(std::span<const Bin> bins) {
  double largest = 0;
  for (const auto& bin : bins)
    if (bin.count) largest = std::max(largest, std::abs(*bin.gap()));
  return largest;
}

Confidences confidences(const LetterProbabilities& probabilities) {
  Confidences result;
  for (int64_t i = 0; i < probabilities.n(); ++i) {
    auto row = probabilities.row(i);
    int32_t top = argmax_first(row);
    result.confidence.push_back(row[static_cast<size_t>(top)]);
    result.right.push_back(top == probabilities.gold[static_cast<size_t>(i)]);
  }
  return result;
}

CalibrationSummary calibration_summary(const LetterProbabilities& p) {
  CalibrationSummary s;
  int64_t n = p.n();
  if (n == 0 || p.letters == 0) return s;
  auto [confidence, right] = confidences(p);
  double nd = static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    auto row = p.row(i);
    int32_t gold = p.gold[static_cast<size_t>(i)];
    for (int64_t c = 0; c < p.letters; ++c) {
      double d = row[static_cast<size_t>(c)] - (c == gold ? 1 : 0);
      s.brier += d * d;
    }
    if (gold < 0) s.brier += 1;  // a right letter that no column stands for had probability 0
    double of_gold = gold < 0 ? 0 : row[static_cast<size_t>(gold)];
    s.nll -= std::log(std::clamp(of_gold, kSmallestProbability, 1.0));
    double d = confidence[static_cast<size_t>(i)] - right[static_cast<size_t>(i)];
    s.brier_top_label += d * d;
    s.mean_confidence += confidence[static_cast<size_t>(i)];
  }
  s.brier /= nd;
  s.nll /= nd;
  s.brier_top_label /= nd;
  s.mean_confidence /= nd;
  auto five = reliability_table(confidence, right, 5), fifteen = reliability_table(confidence, right, 15);
  s.reliability_10 = reliability_table(confidence, right, 10);
  s.ece_5 = expected_calibration_error(five, n);
  s.mce_5 = maximum_calibration_error(five);
  s.ece_10 = expected_calibration_error(s.reliability_10, n);
  s.mce_10 = maximum_calibration_error(s.reliability_10);
  s.ece_15 = expected_calibration_error(fifteen, n);
  s.mce_15 = maximum_calibration_error(fifteen);
  s.ece_10_equal_mass = expected_calibration_error(equal_mass_table(confidence, right, 10), n);
  return s;
}

std::optional<double> auroc(std::span<const double> score, std::span<const uint8_t> right) {
  std::vector<size_t> order(score.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return score[a] < score[b]; });
  double positives = 0, negatives = 0, wins = 0;  // wins = Σ over rights of wrongs below + ties/2
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    double tied_right = 0, tied_wrong = 0;
    for (; end < order.size() && score[order[end]] == score[order[i]]; ++end)
      (right[order[end]] ? tied_right : tied_wrong) += 1;
    wins += tied_right * (negatives + tied_wrong / 2);
    positives += tied_right;
    negatives += tied_wrong;
    i = end;
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return wins / (positives * negatives);
}

std::vector<std::vector<int64_t>> confusion_matrix(std::span<const int32_t> gold,
                                                   std::span<const int32_t> predicted, int32_t classes) {
  std::vector<std::vector<int64_t>> table(static_cast<size_t>(classes),
                                          std::vector<int64_t>(static_cast<size_t>(classes)));
  for (size_t i = 0; i < gold.size(); ++i)
    if (gold[i] >= 0 && predicted[i] >= 0)
      ++table[static_cast<size_t>(gold[i])][static_cast<size_t>(predicted[i])];
  return table;
}

double macro_f1(const std::vector<std::vector<int64_t>>& confusion) {
  double sum = 0;
  for (size_t c = 0; c < confusion.size(); ++c) {
    double hits = static_cast<double>(confusion[c][c]), gold = 0, predicted = 0;
    for (size_t o = 0; o < confusion.size(); ++o) {
      gold += static_cast<double>(confusion[c][o]);
      predicted += static_cast<double>(confusion[o][c]);
    }
    if (gold + predicted > 0) sum += 2 * hits / (gold + predicted);
  }
  return sum / static_cast<double>(confusion.size());
}

double balanced_accuracy(const std::vector<std::vector<int64_t>>& confusion) {
  double sum = 0, classes = 0;
  for (size_t c = 0; c < confusion.size(); ++c) {
    double gold = 0;
    for (int64_t count : confusion[c]) gold += static_cast<double>(count);
    if (gold == 0) continue;
    sum += static_cast<double>(confusion[c][c]) / gold;
    ++classes;
  }
  return classes > 0 ? sum / classes : 0;
}

LetterProbabilities with_temperature(const LetterProbabilities& probabilities, double temperature) {
  LetterProbabilities result = probabilities;
  for (int64_t i = 0; i < result.n(); ++i) {
    double* row = result.values.data() + i * result.letters;
    double top = *std::max_element(row, row + result.letters);
    if (top <= 0) continue;
    for (int64_t c = 0; c < result.letters; ++c)
      row[c] = row[c] > 0 ? std::exp(std::log(row[c] / top) / temperature) : 0;
  }
  return renormalized(result);
}

double fit_temperature(const LetterProbabilities& probabilities) {
  auto loss = [&](double log_temperature) {
    return calibration_summary(with_temperature(probabilities, std::exp(log_temperature))).nll;
  };
  double low = std::log(0.05), high = std::log(20.0);  // golden section; the loss is convex in 1/T
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double a = high - golden * (high - low), b = low + golden * (high - low), fa = loss(a), fb = loss(b);
  for (int step = 0; step < 80 && high - low > 1e-9; ++step) {
    if (fa <= fb) {
      high = b, b = a, fb = fa;
      a = high - golden * (high - low), fa = loss(a);
    } else {
      low = a, a = b, fa = fb;
      b = low + golden * (high - low), fb = loss(b);
    }
  }
  return std::exp(0.5 * (low + high));
}

}  // namespace bm
