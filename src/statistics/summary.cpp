#include "statistics/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace bm {
namespace {

double squares_around_mean(std::span<const double> values) {
  double center = mean(values), sum = 0;
  for (double v : values) sum += (v - center) * (v - center);
  return sum;
}

}  // namespace

double mean(std::span<const double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double population_sd(std::span<const double> values) {
  return std::sqrt(squares_around_mean(values) / static_cast<double>(values.size()));
}

double sample_sd(std::span<const double> values) {
  if (values.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  return std::sqrt(squares_around_mean(values) / static_cast<double>(values.size() - 1));
}

double quantile_sorted(std::span<const double> sorted, double q) {
  if (sorted.empty()) return std::numeric_limits<double>::quiet_NaN();
  double position = q * static_cast<double>(sorted.size() - 1);
  size_t low = static_cast<size_t>(std::clamp(position, 0.0, static_cast<double>(sorted.size() - 1)));
  size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (position - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

std::string format_fixed(double value, int decimals) { return fmt::format("{:.{}f}", value, decimals); }

std::string mean_sd_text(std::span<const double> points) {
  return format_fixed(mean(points), 1) + " ±" + format_fixed(population_sd(points), 1);
}

double standard_error(std::span<const double> values) {
  return values.size() < 2 ? 0 : sample_sd(values) / std::sqrt(static_cast<double>(values.size()));
}

double group_standard_error(std::span<const double> errors, std::span<const double> sizes, bool weighted) {
  double sum = 0, total = 0, k = static_cast<double>(errors.size());
  if (!weighted) {
    for (double e : errors) sum += e * e;
    return std::sqrt(sum) / k;
  }
  for (size_t i = 0; i < errors.size(); ++i) {
    sum += (sizes[i] - 1) * sizes[i] * errors[i] * errors[i];
    total += sizes[i];
  }
  return total > k ? std::sqrt(sum / (total - k) / total) : 0;
}

}  // namespace bm
