#include "quantization/awq_math.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "ops/linear.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }
constexpr size_t kChunk = 1 << 16;  // values per partial sum

// Sum of term(i) over [0, count): partial sums of fixed chunks, added in order.
template <class F>
double ordered_sum(size_t count, F&& term) {
  std::vector<double> partial((count + kChunk - 1) / kChunk, 0.0);
  parallel_chunks(count, kChunk, [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += term(i);
    partial[begin / kChunk] = sum;
  });
  double total = 0;
  for (double value : partial) total += value;
  return total;
}

}  // namespace

void round_values(DType precision, std::span<float> values) {
  if (precision != DType::f16) return;
  parallel_chunks(values.size(), kChunk, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) values[i] = round_to_f16_fast(values[i]);
  });
}

// torch/aten/src/ATen/native/cpu/SumKernel.cpp, multi_row_sum.
CascadeSum::CascadeSum(int64_t terms) {
  int64_t log = 0;
  while ((int64_t{1} << log) < terms) ++log;
  power_ = std::max<int64_t>(4, log / 4);
  whole_ = terms >> power_ << power_;  // terms that fill levels; the rest is added to the first at the end
}

void CascadeSum::add(float value) {
  levels_[0] += value;
  ++count_;
  int64_t step = int64_t{1} << power_;
  if (count_ > whole_ || count_ % step != 0) return;
  for (int64_t level = 1; level < 4; ++level) {
    levels_[level] += levels_[level - 1];
    levels_[level - 1] = 0;
    if ((count_ & ((step - 1) << (level * power_))) != 0) break;
  }
}

float CascadeSum::total() const { return ((levels_[0] + levels_[1]) + levels_[2]) + levels_[3]; }

std::vector<float> column_abs_means(const float* x, int64_t rows, int64_t columns, DType precision) {
  std::vector<float> means(at(columns));
  parallel_chunks(at(columns), 64, [&](size_t begin, size_t end) {
    std::vector<CascadeSum> sums(end - begin, CascadeSum(rows));
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = x + r * columns;
      for (size_t c = begin; c < end; ++c) sums[c - begin].add(std::fabs(row[c]));
    }
    for (size_t c = begin; c < end; ++c)
      means[c] = round_value(precision, sums[c - begin].total() / static_cast<float>(rows));
  });
  return means;
}

double mean_square_difference(std::span<const float> a, std::span<const float> b, DType precision) {
  double sum = ordered_sum(a.size(), [&](size_t i) {
    auto difference = static_cast<double>(round_value(precision, a[i] - b[i]));
    return difference * difference;
  });
  return sum / static_cast<double>(a.size());
}

double mean_square(std::span<const float> a) {
  double sum =
      ordered_sum(a.size(), [&](size_t i) { return static_cast<double>(a[i]) * static_cast<double>(a[i]); });
  return sum / static_cast<double>(a.size());
}

void quantized_candidate(const LinearF32& linear, std::span<const float> scales,
                         const AwqGroupOptions& groups, LinearF32& out) {
  out.rows = linear.rows;
  out.columns = linear.columns;
  out.weight.resize(linear.weight.size());
  int64_t columns = linear.columns;
  parallel_chunks(at(linear.rows), 16, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float* in = linear.weight.data() + r * at(columns);
      float* w = out.weight.data() + r * at(columns);
      for (size_t c = 0; c < at(columns); ++c) w[c] = round_value(groups.precision, in[c] * scales[c]);
      awq_pseudo_quantize_groups(w, columns, groups);
      for (size_t c = 0; c < at(columns); ++c) w[c] = round_value(groups.precision, w[c] / scales[c]);
    }
  });
}

std::vector<float> gram_matrix(const float* x, int64_t rows, int64_t columns, int64_t stride) {
  std::vector<float> gram(at(columns * columns), 0.0f);
  sgemm(Transpose::yes, Transpose::no, columns, columns, rows, x, stride, x, stride, gram.data(), columns,
        false);
  return gram;
}

double quadratic_error(const std::vector<float>& difference, int64_t rows, int64_t columns,
                       const std::vector<float>& gram) {
  std::vector<float> product(difference.size());
  sgemm(Transpose::no, Transpose::no, rows, columns, columns, difference.data(), columns, gram.data(),
        columns, product.data(), columns, false);
  return ordered_sum(difference.size(), [&](size_t i) {
    return static_cast<double>(difference[i]) * static_cast<double>(product[i]);
  });
}

}  // namespace bm
