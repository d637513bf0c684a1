// Agreement of two or several raters (systems) on the same items.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "statistics/paired.h"

namespace bm {

// Cohen's kappa of two label sequences (any integers); NaN when both are one constant label.
double cohen_kappa(std::span<const int32_t> first, std::span<const int32_t> second);

// labels[rater][item], each in 0 … categories−1.
double fleiss_kappa(const std::vector<std::vector<int32_t>>& labels, int32_t categories);
// Randolph's free-marginal form: chance agreement is 1/categories.
double randolph_kappa(const std::vector<std::vector<int32_t>>& labels, int32_t categories);

// Cochran's Q: do the systems' shares of right answers differ? right[system][item] in {0, 1}.
ChiSquareTest cochran_q(const std::vector<std::vector<uint8_t>>& right);

}  // namespace bm
