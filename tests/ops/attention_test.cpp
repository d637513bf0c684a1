#include "ops/attention.h"

#include <algorithm>

#include "kernels/values.h"

namespace bm {
namespace {

using testing::same_bits;
using testing::same_everywhere;
using testing::values;
using Doubles = std::vector<double>;

struct Shape {
  int64_t heads, kv_heads, dim, window, length;
};

// The obvious form: a row of scores, softmax, weighted values.
Doubles attention_double(const Shape& s, const Doubles& q, const Doubles& k, const Doubles& v) {
  Doubles out(q.size(), 0.0);
  const int64_t group = s.heads / s.kv_heads;
  for (int64_t p = 0; p < s.length; ++p) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t from = s.window > 0 ? std::max<int64_t>(0, p - s.window + 1) : 0;
      Doubles scores;
      for (int64_t j = from; j <= p; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < s.dim; ++d) {
          dot += q[static_cast<size_t>((p * s.heads + h) * s.dim + d)] *
                 k[static_cast<size_t>((j * s.kv_heads + h / group) * s.dim + d)];
        }
        scores.push_back(dot / std::sqrt(static_cast<double>(s.dim)));
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - largest);
      for (int64_t j = from; j <= p; ++j) {
        for (int64_t d = 0; d < s.dim; ++d) {
          out[static_cast<size_t>((p * s.heads + h) * s.dim + d)] +=
              scores[static_cast<size_t>(j - from)] / total *
              v[static_cast<size_t>((j * s.kv_heads + h / group) * s.dim + d)];
        }
      }
    }
  }
  return out;
}

const Shape kShapes[] = {{3, 1, 16, 0, 1},    {9, 3, 64, 0, 130},    {4, 4, 8, 0, 70}, {8, 4, 8, 5, 150},
                         {4, 2, 24, 64, 200}, {2, 1, 128, 100, 257}, {6, 1, 1, 0, 66}, {100, 1, 4, 3, 9}};

TEST(Attention, CloseToDoubleAndSameBitsEverywhere) {
  for (const Shape& s : kShapes) {
    std::vector<float> q = values(s.length * s.heads * s.dim, 1, 3.0f),
                       k = values(s.length * s.kv_heads * s.dim, 2, 3.0f),
                       v = values(s.length * s.kv_heads * s.dim, 3);
    std::vector<float> out = same_everywhere([&] {
      std::vector<float> o(q.size());
      attention_forward({s.heads, s.kv_heads, s.dim, s.window}, 1, s.length, q.data(), k.data(), v.data(),
                        o.data(), nullptr);
      return o;
    });
    Doubles want = attention_double(s, {q.begin(), q.end()}, {k.begin(), k.end()}, {v.begin(), v.end()});
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_NEAR(static_cast<double>(out[i]), want[i], 4e-6) << s.dim << " " << i;
  }
}

// Every split of the queries into calls, alone or beside other sequences, gives the bits of the whole.
TEST(Attention, ChunksAndBatchesDoNotShow) {
  for (const Shape& s : kShapes) {
    const int64_t q_width = s.heads * s.dim, kv_width = s.kv_heads * s.dim;
    std::vector<float> q = values(s.length * q_width, 1, 3.0f), k = values(s.length * kv_width, 2, 3.0f),
                       v = values(s.length * kv_width, 3), whole(q.size());
    const AttentionShape shape{s.heads, s.kv_heads, s.dim, s.window};
    attention_forward(shape, 1, s.length, q.data(), k.data(), v.data(), whole.data(), nullptr);
    for (int64_t chunk : {1, 7, 64, 100}) {
      std::vector<float> out(q.size());
      std::vector<AttentionSequence> batch;
      for (int64_t first = 0; first < s.length; first += chunk) {
        AttentionSequence one;
        one.q = q.data() + first * q_width;
        one.keys = k.data();
        one.values = v.data();
        one.out = out.data() + first * q_width;
        one.queries = std::min(chunk, s.length - first);
        one.first_position = first;
        batch.push_back(one);
        if (chunk == 7) {  // one call each
          attention(shape, batch);
          batch.clear();
        }
      }
      attention(shape, batch);
      EXPECT_TRUE(same_bits(out, whole)) << s.dim << " chunk " << chunk;
    }
  }
}

TEST(Attention, WiderStridesOfQueriesAndCache) {
  const int64_t length = 90;
  std::vector<float> qkv = values(length * 100, 1), k(static_cast<size_t>(length * 16)), v = k,
                     q(static_cast<size_t>(length * 32)), one = q, two = q;
  for (int64_t p = 0; p < length; ++p) {
    std::copy_n(qkv.begin() + p * 100, 32, q.begin() + p * 32);
    std::copy_n(qkv.begin() + p * 100 + 32, 16, k.begin() + p * 16);
    std::copy_n(qkv.begin() + p * 100 + 48, 16, v.begin() + p * 16);
  }
  AttentionSequence s{
      .q = q.data(), .keys = k.data(), .values = v.data(), .out = one.data(), .queries = length};
  attention({4, 2, 8}, {&s, 1});
  s = {.q = qkv.data(),
       .keys = qkv.data() + 32,
       .values = qkv.data() + 48,
       .out = two.data(),
       .queries = length};
  s.q_stride = s.kv_stride = 100;
  attention({4, 2, 8}, {&s, 1});
  EXPECT_TRUE(same_bits(one, two));
}

TEST(Attention, LargeScoresDoNotOverflow) {
  std::vector<float> q(2 * 8, 100.0f), k(2 * 8, 100.0f), v = values(16, 1), out(16);
  attention_forward({1, 1, 8}, 1, 2, q.data(), k.data(), v.data(), out.data(), nullptr);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(out[i], v[i]);
    EXPECT_NEAR(out[8 + i], (v[i] + v[8 + i]) / 2, 1e-6);
  }
}

TEST(AttentionBackward, AgainstFiniteDifferencesOfTheDoubleForm) {
  for (const Shape& s : {Shape{2, 1, 3, 0, 5}, Shape{4, 2, 5, 3, 9}, Shape{3, 3, 4, 0, 70}}) {
    std::vector<float> q = values(s.length * s.heads * s.dim, 1, 2.0f),
                       k = values(s.length * s.kv_heads * s.dim, 2, 2.0f),
                       v = values(s.length * s.kv_heads * s.dim, 3),
                       d_out = values(s.length * s.heads * s.dim, 4);
    const AttentionShape shape{s.heads, s.kv_heads, s.dim, s.window};
    std::vector<float> gradients = same_everywhere([&] {
      std::vector<float> out(q.size()), lse(static_cast<size_t>(s.length * s.heads)),
          all(q.size() + 2 * k.size());
      attention_forward(shape, 1, s.length, q.data(), k.data(), v.data(), out.data(), lse.data());
      attention_backward(shape, 1, s.length, q.data(), k.data(), v.data(), out.data(), lse.data(),
                         d_out.data(), all.data(), all.data() + q.size(), all.data() + q.size() + k.size());
      return all;
    });
    Doubles all(q.begin(), q.end());
    all.insert(all.end(), k.begin(), k.end());
    all.insert(all.end(), v.begin(), v.end());
    auto loss = [&](const Doubles& at) {
      const auto nq = static_cast<int64_t>(q.size()), nk = static_cast<int64_t>(k.size());
      Doubles out =
          attention_double(s, {at.begin(), at.begin() + nq}, {at.begin() + nq, at.begin() + nq + nk},
                           {at.begin() + nq + nk, at.end()});
      double sum = 0;
      for (size_t i = 0; i < out.size(); ++i) sum += out[i] * static_cast<double>(d_out[i]);
      return sum;
    };
    const size_t step = s.length > 20 ? 41 : 1;
    for (size_t i = 0; i < all.size(); i += step) {
      Doubles above = all, below = all;
      above[i] += 1e-5;
      below[i] -= 1e-5;
      EXPECT_NEAR(static_cast<double>(gradients[i]), (loss(above) - loss(below)) / 2e-5, 1e-5) << i;
    }
  }
}

// Several sequences, long, grouped, windowed: the tiles' edges. The gradient's projection on a random
// direction equals the derivative of the double form along it.
TEST(AttentionBackward, LongSequencesAlongADirection) {
  for (const Shape& s : {Shape{6, 2, 16, 0, 230}, Shape{4, 1, 20, 33, 200}}) {
    const int64_t rows = 2, nq = s.length * s.heads * s.dim, nk = s.length * s.kv_heads * s.dim;
    std::vector<float> q = values(rows * nq, 1, 2.0f), k = values(rows * nk, 2, 2.0f),
                       v = values(rows * nk, 3), d_out = values(rows * nq, 4);
    const AttentionShape shape{s.heads, s.kv_heads, s.dim, s.window};
    std::vector<float> all = same_everywhere([&] {
      std::vector<float> out(q.size()), lse(static_cast<size_t>(rows * s.length * s.heads)),
          d(q.size() + 2 * k.size());
      attention_forward(shape, rows, s.length, q.data(), k.data(), v.data(), out.data(), lse.data());
      attention_backward(shape, rows, s.length, q.data(), k.data(), v.data(), out.data(), lse.data(),
                         d_out.data(), d.data(), d.data() + q.size(), d.data() + q.size() + k.size());
      return d;
    });
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<float> along_q = values(nq, 5), along_k = values(nk, 6), along_v = values(nk, 7);
      auto loss = [&](double t) {
        auto moved = [&](const std::vector<float>& x, int64_t n, const std::vector<float>& along) {
          Doubles at(static_cast<size_t>(n));
          for (size_t i = 0; i < at.size(); ++i) {
            at[i] =
                static_cast<double>(x[static_cast<size_t>(row * n) + i]) + t * static_cast<double>(along[i]);
          }
          return at;
        };
        Doubles out =
            attention_double(s, moved(q, nq, along_q), moved(k, nk, along_k), moved(v, nk, along_v));
        double sum = 0;
        for (size_t i = 0; i < out.size(); ++i)
          sum += out[i] * static_cast<double>(d_out[static_cast<size_t>(row * nq) + i]);
        return sum;
      };
      double projection = 0, size = 0;
      auto add = [&](const float* gradient, const std::vector<float>& along) {
        for (size_t i = 0; i < along.size(); ++i) {
          const double p = static_cast<double>(gradient[i]) * static_cast<double>(along[i]);
          projection += p;
          size += p * p;
        }
      };
      add(all.data() + row * nq, along_q);
      add(all.data() + rows * nq + row * nk, along_k);
      add(all.data() + rows * (nq + nk) + row * nk, along_v);
      EXPECT_NEAR(projection, (loss(1e-5) - loss(-1e-5)) / 2e-5, 1e-5 * std::sqrt(size) + 1e-5);
    }
  }
}

}  // namespace
}  // namespace bm
