#include "ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "ops/scratch.h"

namespace bm {
namespace {

constexpr int64_t kLossRows = 256;

struct RowSum {
  float maximum;
  double sum;  // Σ exp(logit − maximum)
  double log_sum_exp() const { return static_cast<double>(maximum) + std::log(sum); }
};

RowSum sum_row(const float* logits, int64_t vocab) {
  const RowKernels& kernel = *kernels().rows;
  const float maximum = kernel.maximum(vocab, logits);
  return {maximum, kernel.sum_exponentials(vocab, logits, maximum)};
}

// Rows of `hidden` that have a target, gathered by at most kLossRows.
struct TargetRows {
  std::vector<int64_t> rows;
  std::vector<int32_t> targets;
};

template <class F>
void for_target_chunks(std::span<const int32_t> targets, int64_t m, F f) {
  TargetRows chunk;
  for (int64_t i = 0; i < m; ++i) {
    if (targets[static_cast<size_t>(i)] >= 0) {
      chunk.rows.push_back(i);
      chunk.targets.push_back(targets[static_cast<size_t>(i)]);
    }
    if (!chunk.rows.empty() && (static_cast<int64_t>(chunk.rows.size()) == kLossRows || i + 1 == m)) {
      f(chunk);
      chunk.rows.clear();
      chunk.targets.clear();
    }
  }
}

void gather(const float* hidden, int64_t h, const TargetRows& chunk, float* out) {
  for (size_t i = 0; i < chunk.rows.size(); ++i) {
    std::copy_n(hidden + chunk.rows[i] * h, h, out + static_cast<int64_t>(i) * h);
  }
}

}  // namespace

void log_sum_exp(const float* logits, int64_t rows, int64_t vocab, double* out, int64_t stride) {
  if (stride == 0) stride = vocab;
  parallel_for(static_cast<size_t>(rows), [&](size_t row) {
    out[row] = sum_row(logits + static_cast<int64_t>(row) * stride, vocab).log_sum_exp();
  });
}

void cross_entropy_rows(float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float scale,
                        bool gradient, double* losses) {
  parallel_for(static_cast<size_t>(rows), [&](size_t row) {
    float* x = logits + static_cast<int64_t>(row) * vocab;
    const int32_t target = targets[row];
    if (target < 0) {
      losses[row] = 0;
      if (gradient) std::fill_n(x, vocab, 0.0f);
      return;
    }
    const RowSum s = sum_row(x, vocab);
    losses[row] = s.log_sum_exp() - static_cast<double>(x[target]);
    if (!gradient) return;
    kernels().rows->softmax_scaled(vocab, x, s.maximum,
                                   static_cast<float>(static_cast<double>(scale) / s.sum));
    x[target] -= scale;
  });
}

HeadLoss linear_cross_entropy(const float* hidden, const float* w, std::span<const int32_t> targets,
                              int64_t m, int64_t h, int64_t v, float scale, float* d_hidden, float* d_w) {
  HeadLoss loss;
  if (d_hidden) std::fill_n(d_hidden, m * h, 0.0f);
  const int64_t most = std::min(kLossRows, m);
  std::vector<float> logits, inputs, d_inputs;
  logits.resize(static_cast<size_t>(most * v));
  inputs.resize(static_cast<size_t>(most * h));
  if (d_hidden) d_inputs.resize(inputs.size());
  double losses[kLossRows];
  for_target_chunks(targets, m, [&](const TargetRows& chunk) {
    const auto rows = static_cast<int64_t>(chunk.rows.size());
    gather(hidden, h, chunk, inputs.data());
    linear_forward(inputs.data(), w, logits.data(), rows, v, h);
    cross_entropy_rows(logits.data(), rows, v, chunk.targets.data(), scale, d_hidden || d_w, losses);
    for (int64_t i = 0; i < rows; ++i) loss.sum += losses[i];
    loss.targets += rows;
    if (d_w) linear_backward_weight(logits.data(), inputs.data(), d_w, rows, v, h);
    if (!d_hidden) return;
    linear_backward_input(logits.data(), w, d_inputs.data(), rows, v, h);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(d_inputs.data() + i * h, h, d_hidden + chunk.rows[static_cast<size_t>(i)] * h);
    }
  });
  return loss;
}

void linear_log_probabilities(const float* hidden, int64_t m, const PackedWeights& head,
                              std::span<const int32_t> targets, double* logprobs, int32_t* greedy) {
  const int64_t h = head.inputs(), v = head.outputs(), most = std::min(kLossRows, m);
  std::vector<float> logits(static_cast<size_t>(most * v)), inputs(static_cast<size_t>(most * h));
  for_target_chunks(targets, m, [&](const TargetRows& chunk) {
    gather(hidden, h, chunk, inputs.data());
    linear(inputs.data(), static_cast<int64_t>(chunk.rows.size()), head, logits.data());
    parallel_for(chunk.rows.size(), [&](size_t i) {
      const float* x = logits.data() + static_cast<int64_t>(i) * v;
      logprobs[chunk.rows[i]] = static_cast<double>(x[chunk.targets[i]]) - sum_row(x, v).log_sum_exp();
      if (greedy) greedy[chunk.rows[i]] = static_cast<int32_t>(std::max_element(x, x + v) - x);
    });
  });
}

}  // namespace bm
