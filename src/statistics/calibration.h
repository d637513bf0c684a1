// How well probabilities of answers fit the answers: ECE and MCE in several binnings, Brier, NLL, AUROC,
// reliability tables, confusion. Shares, never points. Definitions: golden/metrics of the project's
// references; bins are (low, high] as in the paper's script, confidence 0 falls in no bin but counts in N.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace bm {

// Probabilities of the letters of n items, row-major [n, letters]; a missing letter has 0.
struct LetterProbabilities {
  int64_t letters = 0;
  std::vector<double> values;
  std::vector<int32_t> gold;  // column of the right letter; -1 = not among the letters
  int64_t n() const { return static_cast<int64_t>(gold.size()); }
  std::span<const double> row(int64_t i) const {
    return {values.data() + i * letters, static_cast<size_t>(letters)};
  }
};

// Rows divided by their sum; a row of zeros becomes uniform.
LetterProbabilities renormalized(const LetterProbabilities& raw);

// First index of the largest value (numpy.argmax).
int32_t argmax_first(std::span<const double> row);
// More than one letter holds the largest value.
bool top_is_tied(std::span<const double> row);

struct Bin {
  double low = 0, high = 0;
  int64_t count = 0;
  std::optional<double> accuracy, confidence;  // unset for an empty bin
  std::optional<double> gap() const {
    return count ? std::optional<double>(*accuracy - *confidence) : std::nullopt;
  }
};

// Equal-width bins ((i−1)/bins, i/bins], edges i·(1/bins) in double precision.
std::vector<Bin> reliability_table(std::span<const double> confidence, std::span<const uint8_t> right,
                                   int bins);
// Equal-mass bins: stable ascending sort, the first n mod bins groups one item larger; low, high = extremes.
std::vector<Bin> equal_mass_table(std::span<const double> confidence, std::span<const uint8_t> right,
                                  int bins);
// Σ count/n·|accuracy − confidence|, and the largest such gap.
double expected_calibration_error(std::span<const Bin> bins, int64_t n);
double maximum_calibration_error(std::span<const Bin> bins);

struct CalibrationSummary {
  double mean_confidence = 0;
  double ece_5 = 0, ece_10 = 0, ece_15 = 0, mce_5 = 0, mce_10 = 0, mce_15 = 0, ece_10_equal_mass = 0;
  double brier = 0;            // mean over items of Σ over letters (p − y)²: 0 … 2
  double brier_top_label = 0;  // mean (confidence − right)²
  double nll = 0;              // −mean log p(gold), p clipped at 2.220446e-16
  std::vector<Bin> reliability_10;
};
CalibrationSummary calibration_summary(const LetterProbabilities& probabilities);

// Confidence (largest probability) and rightness of the letter argmax, item by item.
struct Confidences {
  std::vector<double> confidence;
  std::vector<uint8_t> right;
};
Confidences confidences(const LetterProbabilities& probabilities);

// Area under the ROC curve of score against right/wrong, ties half (Mann-Whitney); unset when one
// class is empty.
std::optional<double> auroc(std::span<const double> score, std::span<const uint8_t> right);

// confusion[gold][predicted].
std::vector<std::vector<int64_t>> confusion_matrix(std::span<const int32_t> gold,
                                                   std::span<const int32_t> predicted, int32_t classes);
double macro_f1(const std::vector<std::vector<int64_t>>& confusion);           // zero division gives 0
double balanced_accuracy(const std::vector<std::vector<int64_t>>& confusion);  // over classes that occur

// Temperature T that minimizes the NLL of softmax(log p / T) over the rows (Guo et al. 2017): fitted on
// a validation split, applied to the test split.
double fit_temperature(const LetterProbabilities& probabilities);
LetterProbabilities with_temperature(const LetterProbabilities& probabilities, double temperature);

}  // namespace bm
