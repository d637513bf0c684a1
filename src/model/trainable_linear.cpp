#include "model/trainable_linear.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "base/threads.h"
#include "ops/activation.h"
#include "ops/linear.h"

namespace bm {
namespace {

size_t size_of(int64_t count) { return static_cast<size_t>(count); }

float* room(Floats& floats, int64_t count) {
  if (floats.size() < size_of(count)) floats.resize(size_of(count));
  return floats.data();
}

// Calls use(i, factor) for the elements [0, tokens · width): 0 with the chance `share`, else 1 / (1 − share).
// Element i's fate is a pure function of (key, i): 16 bits of a 64-bit hash of four elements.
template <class Use>
void for_dropout(int64_t tokens, int64_t width, double share, uint64_t key, Use use) {
  const auto limit = static_cast<uint32_t>(share * 65536 + 0.5);
  const auto keep = static_cast<float>(1 / (1 - share));
  parallel_chunks(size_of(tokens * width), size_t{1} << 16, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += 4) {
      uint64_t bits = mix64(key + i);
      for (size_t j = i; j < std::min(i + 4, end); ++j, bits >>= 16)
        use(j, static_cast<uint32_t>(bits & 0xffffu) < limit ? 0.0f : keep);
    }
  });
}

// x ⊙ factors of the columns, rows in parallel.
void scale_columns(float* x, const Floats& factors, int64_t rows) {
  const auto width = static_cast<int64_t>(factors.size());
  parallel_chunks(size_of(rows), 16, [&](size_t begin, size_t end) {
    for (auto r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r)
      for (int64_t c = 0; c < width; ++c) x[r * width + c] *= factors[size_of(c)];
  });
}

const float* dropped_input(const LowRank& low, const float* x, int64_t tokens, int64_t inputs, uint64_t key,
                           Floats& scratch) {
  if (key == 0 || low.dropout == 0) return x;
  float* out = room(scratch, tokens * inputs);
  for_dropout(tokens, inputs, low.dropout, mix64(key ^ low.key),
              [&](size_t i, float factor) { out[i] = x[i] * factor; });
  return out;
}

}  // namespace

const float* TrainableLinear::values(LinearScratch& scratch) const {
  return weight ? weight->value.data() : frozen.values(scratch.weight);
}

void TrainableLinear::refresh(LinearScratch& scratch) {
  if (!low_rank || !low_rank->magnitude) return;
  LowRank& low = *low_rank;
  low.factors.resize(size_of(outputs));
  low.norms.resize(size_of(outputs));
  const float* w = values(scratch);
  parallel_chunks(size_of(outputs), 16, [&](size_t begin, size_t end) {
    Floats row(size_of(inputs));
    for (size_t o = begin; o < end; ++o) {
      std::copy_n(w + o * size_of(inputs), inputs, row.begin());
      for (int64_t r = 0; r < low.rank; ++r)
        add_scaled(row.data(), low.a->value.data() + r * inputs,
                   low.scale * low.b->value[o * size_of(low.rank) + size_of(r)], inputs);
      double squares = 0;
      for (float v : row) squares += static_cast<double>(v) * static_cast<double>(v);
      low.norms[o] = static_cast<float>(std::sqrt(squares));
      low.factors[o] = low.magnitude->value[o] / low.norms[o];
    }
  });
}

void TrainableLinear::low_rank_input(const float* x, int64_t tokens, Floats& low, uint64_t dropout_key,
                                     LinearScratch& scratch) const {
  const LowRank& l = *low_rank;
  const float* in = dropped_input(l, x, tokens, inputs, dropout_key, scratch.dropped);
  low.resize(size_of(tokens * l.rank));
  linear_forward(in, l.a->value.data(), low.data(), tokens, l.rank, inputs);
  scale_in_place(low.data(), l.scale, tokens * l.rank);
}

void TrainableLinear::forward(const float* x, float* y, int64_t tokens, Floats& low, uint64_t dropout_key,
                              LinearScratch& scratch) const {
  linear_forward(x, values(scratch), y, tokens, outputs, inputs);
  if (low_rank) {
    const LowRank& l = *low_rank;
    low_rank_input(x, tokens, low, dropout_key, scratch);
    linear_forward(low.data(), l.b->value.data(), y, tokens, outputs, l.rank, true);
    if (l.magnitude) scale_columns(y, l.factors, tokens);
  }
  const float* b = bias ? bias->value.data() : frozen_bias.empty() ? nullptr : frozen_bias.data();
  if (!b) return;
  parallel_chunks(size_of(tokens), 16, [&](size_t begin, size_t end) {
    for (size_t t = begin; t < end; ++t) add_into(y + t * size_of(outputs), b, outputs);
  });
}

void TrainableLinear::backward(const float* x, const float* d_y, float* d_x, bool accumulate, int64_t tokens,
                               const Floats& low, uint64_t dropout_key, LinearScratch& scratch) const {
  if (weight) linear_backward_weight(d_y, x, weight->gradient.data(), tokens, outputs, inputs);
  if (bias) linear_backward_bias(d_y, bias->gradient.data(), tokens, outputs);
  if (low_rank && low_rank->magnitude) {
    // The product before the magnitudes is computed again: d m = Σ d_y ⊙ product / norm, in order of rows.
    const LowRank& l = *low_rank;
    float* product = room(scratch.outputs, tokens * outputs);
    linear_forward(x, values(scratch), product, tokens, outputs, inputs);
    linear_forward(low.data(), l.b->value.data(), product, tokens, outputs, l.rank, true);
    parallel_chunks(size_of(outputs), 16, [&](size_t begin, size_t end) {
      for (size_t o = begin; o < end; ++o) {
        double sum = 0;
        for (size_t t = 0; t < size_of(tokens); ++t)
          sum += static_cast<double>(d_y[t * size_of(outputs) + o]) *
                 static_cast<double>(product[t * size_of(outputs) + o]);
        l.magnitude->gradient[o] += static_cast<float>(sum / static_cast<double>(l.norms[o]));
      }
    });
    std::copy_n(d_y, tokens * outputs, product);
    scale_columns(product, l.factors, tokens);
    d_y = product;
  }
  linear_backward_input(d_y, values(scratch), d_x, tokens, outputs, inputs, accumulate);
  if (low_rank) low_rank_backward(x, d_y, d_x, tokens, low, dropout_key, scratch);
}

void TrainableLinear::low_rank_backward(const float* x, const float* d_y, float* d_x, int64_t tokens,
                                        const Floats& low, uint64_t dropout_key,
                                        LinearScratch& scratch) const {
  const LowRank& l = *low_rank;
  linear_backward_weight(d_y, low.data(), l.b->gradient.data(), tokens, outputs, l.rank);
  float* d_low = room(scratch.low_gradient, tokens * l.rank);
  linear_backward_input(d_y, l.b->value.data(), d_low, tokens, outputs, l.rank);
  scale_in_place(d_low, l.scale, tokens * l.rank);
  const float* in = dropped_input(l, x, tokens, inputs, dropout_key, scratch.dropped);
  linear_backward_weight(d_low, in, l.a->gradient.data(), tokens, l.rank, inputs);
  if (in == x) {
    linear_backward_input(d_low, l.a->value.data(), d_x, tokens, l.rank, inputs, true);
    return;
  }
  float* d_in = room(scratch.input_gradient, tokens * inputs);
  linear_backward_input(d_low, l.a->value.data(), d_in, tokens, l.rank, inputs);
  for_dropout(tokens, inputs, l.dropout, mix64(dropout_key ^ l.key),
              [&](size_t i, float factor) { d_x[i] += d_in[i] * factor; });
}

}  // namespace bm
