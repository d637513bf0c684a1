#include "ops/cross_entropy.h"

#include <algorithm>

#include "kernels/values.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::same_everywhere;
using testing::values;

double lse_double(const float* x, int64_t n) {
  double largest = -1e300, sum = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, static_cast<double>(x[i]));
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - largest);
  return largest + std::log(sum);
}

TEST(LogSumExp, CloseToDouble) {
  for (int64_t vocab : {1, 7, 259, 49152}) {
    std::vector<float> x = values(3 * vocab, 1, 12.0f);
    std::vector<double> out(3);
    std::vector<float> same = same_everywhere([&] {
      log_sum_exp(x.data(), 3, vocab, out.data());
      return std::vector<float>(out.begin(), out.end());
    });
    for (int64_t r = 0; r < 3; ++r) {
      EXPECT_NEAR(out[static_cast<size_t>(r)], lse_double(x.data() + r * vocab, vocab), 1e-6) << vocab;
    }
  }
}

TEST(CrossEntropy, LossAndGradientOfRows) {
  const int64_t rows = 5, vocab = 259;
  const std::vector<float> logits = values(rows * vocab, 1, 8.0f);
  const std::vector<int32_t> targets = {0, 258, -100, 7, 7};
  std::vector<double> losses(5);
  std::vector<float> gradient = same_everywhere([&] {
    std::vector<float> x = logits;
    cross_entropy_rows(x.data(), rows, vocab, targets.data(), 0.25f, true, losses.data());
    return x;
  });
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = logits.data() + r * vocab;
    const int32_t t = targets[static_cast<size_t>(r)];
    const double lse = lse_double(x, vocab);
    EXPECT_NEAR(losses[static_cast<size_t>(r)], t < 0 ? 0.0 : lse - static_cast<double>(x[t]), 1e-6);
    for (int64_t j = 0; j < vocab; ++j) {
      const double want = t < 0 ? 0 : 0.25 * (std::exp(static_cast<double>(x[j]) - lse) - (j == t ? 1 : 0));
      ASSERT_NEAR(static_cast<double>(gradient[static_cast<size_t>(r * vocab + j)]), want, 1e-7);
    }
  }
  std::vector<float> untouched = logits;
  cross_entropy_rows(untouched.data(), rows, vocab, targets.data(), 0.25f, false, losses.data());
  EXPECT_TRUE(same_bits(untouched, logits));
}

TEST(CrossEntropy, ImpossibleTargetIsInfinite) {
  std::vector<float> x = {0, -std::numeric_limits<float>::infinity(), 1};
  const int32_t target = 1;
  double loss = 0;
  cross_entropy_rows(x.data(), 1, 3, &target, 1, false, &loss);
  EXPECT_EQ(loss, std::numeric_limits<double>::infinity());
}

TEST(LinearCrossEntropy, MoreRowsThanAChunkAgainstTheWhole) {
  const int64_t m = 600, h = 24, v = 37;
  std::vector<float> hidden = values(m * h, 1), w = values(v * h, 2);
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < m; ++i) targets.push_back(i % 7 == 3 ? -100 : static_cast<int32_t>(i * 31 % v));
  HeadLoss loss;
  std::vector<float> gradients = same_everywhere([&] {
    std::vector<float> all(hidden.size() + w.size(), 0.0f);
    loss = linear_cross_entropy(hidden.data(), w.data(), targets, m, h, v, 0.5f, all.data(),
                                all.data() + hidden.size());
    return all;
  });
  double want = 0;
  int64_t count = 0;
  std::vector<double> d_w(w.size()), d_hidden(hidden.size());
  for (int64_t i = 0; i < m; ++i) {
    const int32_t t = targets[static_cast<size_t>(i)];
    if (t < 0) continue;
    std::vector<double> logits(static_cast<size_t>(v), 0.0);
    double sum = 0;
    for (int64_t j = 0; j < v; ++j) {
      for (int64_t a = 0; a < h; ++a) {
        logits[static_cast<size_t>(j)] += static_cast<double>(hidden[static_cast<size_t>(i * h + a)]) *
                                          static_cast<double>(w[static_cast<size_t>(j * h + a)]);
      }
      sum += std::exp(logits[static_cast<size_t>(j)]);
    }
    want += std::log(sum) - logits[static_cast<size_t>(t)];
    ++count;
    for (int64_t j = 0; j < v; ++j) {
      const double d = 0.5 * (std::exp(logits[static_cast<size_t>(j)]) / sum - (j == t ? 1 : 0));
      for (int64_t a = 0; a < h; ++a) {
        d_w[static_cast<size_t>(j * h + a)] +=
            d * static_cast<double>(hidden[static_cast<size_t>(i * h + a)]);
        d_hidden[static_cast<size_t>(i * h + a)] +=
            d * static_cast<double>(w[static_cast<size_t>(j * h + a)]);
      }
    }
  }
  EXPECT_EQ(loss.targets, count);
  EXPECT_NEAR(loss.sum, want, 1e-6 * want);
  for (size_t i = 0; i < d_hidden.size(); ++i)
    ASSERT_NEAR(static_cast<double>(gradients[i]), d_hidden[i], 1e-6);
  for (size_t i = 0; i < d_w.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(gradients[hidden.size() + i]), d_w[i], 2e-5);
  }
}

TEST(LinearLogProbabilities, SameAsTheLoss) {
  const int64_t m = 300, h = 40, v = 61;
  std::vector<float> hidden = values(m * h, 1), w = values(v * h, 2);
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < m; ++i) targets.push_back(i == 5 ? -1 : static_cast<int32_t>(i % v));
  auto packed =
      PackedWeights::pack({DType::f32, {v, h}, reinterpret_cast<const std::byte*>(w.data()), nullptr});
  std::vector<double> logprobs(static_cast<size_t>(m), 1.0);
  std::vector<int32_t> greedy(static_cast<size_t>(m), -7);
  linear_log_probabilities(hidden.data(), m, *packed, targets, logprobs.data(), greedy.data());
  EXPECT_EQ(logprobs[5], 1.0);
  EXPECT_EQ(greedy[5], -7);
  double sum = 0;
  for (int64_t i = 0; i < m; ++i) {
    if (i != 5) sum -= logprobs[static_cast<size_t>(i)];
  }
  HeadLoss loss = linear_cross_entropy(hidden.data(), w.data(), targets, m, h, v, 1, nullptr, nullptr);
  EXPECT_NEAR(loss.sum, sum, 1e-9 * sum);
  std::vector<float> logits(static_cast<size_t>(v));
  linear(hidden.data() + 11 * h, 1, *packed, logits.data());
  EXPECT_EQ(greedy[11], std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace
}  // namespace bm
