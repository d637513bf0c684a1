// 95 % (or other) intervals of a share of right answers, and bootstrap intervals of means.
#pragma once

#include <cstdint>
#include <span>

namespace bm {

struct Interval {
  double low = 0, high = 0;
};

// right of n answers; n ≥ 1. Sources: Wilson 1927; Clopper & Pearson 1934; Agresti & Coull 1998;
// Brown, Cai & DasGupta 2001 (Jeffreys). As statsmodels.proportion_confint computes them.
Interval wilson_interval(int64_t right, int64_t n, double confidence = 0.95);
Interval clopper_pearson_interval(int64_t right, int64_t n, double confidence = 0.95);
Interval normal_interval(int64_t right, int64_t n, double confidence = 0.95);  // clipped to [0, 1]
Interval agresti_coull_interval(int64_t right, int64_t n, double confidence = 0.95);
Interval jeffreys_interval(int64_t right, int64_t n, double confidence = 0.95);

// The percentile bootstrap of a share in the limit of infinitely many resamples: resampled counts are
// Binomial(n, right/n), so its quantiles need no resampling.
Interval bootstrap_share_interval(int64_t right, int64_t n, double confidence = 0.95);
// The bias-corrected and accelerated form (Efron 1987), the same limit.
Interval bootstrap_share_interval_bca(int64_t right, int64_t n, double confidence = 0.95);

// Percentile bootstrap of the mean of any values (draw averages, paired differences). Values that are
// all 0/1 or −1/0/1 take the exact limit; others `resamples` counter-based resamples, so the interval is
// a pure function of values and seed, whatever the number of threads.
Interval bootstrap_mean_interval(std::span<const double> values, int64_t resamples, uint64_t seed,
                                 double confidence = 0.95);

}  // namespace bm
