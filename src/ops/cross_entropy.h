// Log-softmax pieces and the cross-entropy loss of a language-model head, in row chunks: the logits of all
// tokens never exist at once.
#pragma once

#include <cstdint>
#include <span>

#include "ops/linear.h"

namespace bm {

// ln Σ exp(logits[row, :]) per row: out[rows], double.
void log_sum_exp(const float* logits, int64_t rows, int64_t vocab, double* out, int64_t stride = 0);

// For each row: losses[row] = log_sum_exp − logits[target] (0 where target < 0), and, in place,
// logits ← scale · (softmax(logits) − one_hot(target)) (0 where target < 0) when gradient is true.
void cross_entropy_rows(float* logits, int64_t rows, int64_t vocab, const int32_t* targets, float scale,
                        bool gradient, double* losses);

struct HeadLoss {
  double sum = 0;  // natural log, over targets >= 0, added row by row in order
  int64_t targets = 0;
};

// Loss of logits = hidden[M,H] · W[V,H]ᵀ against targets[M] (< 0: none; such rows cost nothing).
// With d_hidden: d_hidden[M,H] = d(scale·Σ losses)/d hidden, d_w[V,H] += its gradient (d_w may be null).
// Works in chunks of 256 target rows (cut by count, fixed): scratch is 256 × V floats.
HeadLoss linear_cross_entropy(const float* hidden, const float* w, std::span<const int32_t> targets,
                              int64_t m, int64_t h, int64_t v, float scale, float* d_hidden, float* d_w);

// log p(target) per row of hidden[M,H] through packed weights, without storing M × V: logprobs[m] (double),
// greedy[m] (index of the largest logit, the first of equals) when not null. Rows with target < 0 are
// skipped.
void linear_log_probabilities(const float* hidden, int64_t m, const PackedWeights& head,
                              std::span<const int32_t> targets, double* logprobs, int32_t* greedy = nullptr);

}  // namespace bm
