// Means, deviations, and the way figures are printed.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace bm {

double mean(std::span<const double> values);  // NaN when empty
double population_sd(
    std::span<const double> values);               // statistics.pstdev: divides by n; what the paper prints
double sample_sd(std::span<const double> values);  // divides by n - 1; NaN below two values
// Quantile by linear interpolation of the order statistics (numpy's default); values sorted ascending.
double quantile_sorted(std::span<const double> sorted, double q);

// Python's "{:.1f}": rounds the binary value correctly, ties to even (0.25 → "0.2", 0.35 → "0.3").
std::string format_fixed(double value, int decimals);
// "38.3 ±6.7", both in points.
std::string mean_sd_text(std::span<const double> points);

// Standard error of the mean as lm-eval prints it: sample sd / sqrt(n); 0 below two values.
double standard_error(std::span<const double> values);
// Its pooled form over tasks: weighted by size sqrt(Σ(n_i − 1)·n_i·se_i² / (N − k) / N), or, for an
// unweighted mean of tasks, sqrt(Σse_i²)/k.
double group_standard_error(std::span<const double> errors, std::span<const double> sizes, bool weighted);

}  // namespace bm
