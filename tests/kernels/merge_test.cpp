// Merge kernels of every instruction set against plain loops, bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "kernels/kernels.h"
#include "kernels/values.h"
#include "tensor/dtype.h"

namespace bm {
namespace {

using testing::usable_isas;
using testing::values;

const std::vector<int64_t> kSizes = {0, 1, 15, 16, 17, 63, 64, 65, 511, 512, 513, 2000};

uint32_t key_of(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

// check(size) on every instruction set and size.
template <class F>
void everywhere(F check) {
  for (const std::string& isa : usable_isas()) {
    ASSERT_TRUE(select_isa(isa).ok());
    for (int64_t size : kSizes) {
      SCOPED_TRACE(isa + ", " + std::to_string(size));
      check(size);
    }
  }
  ASSERT_TRUE(select_isa("auto").ok());
}

std::vector<float> odd_values(int64_t size, uint64_t seed) {
  std::vector<float> x = values(size, static_cast<uint32_t>(seed));
  for (size_t i = 0; i < x.size(); i += 7) x[i] = 0;
  for (size_t i = 3; i < x.size(); i += 11) x[i] = x[i / 2];
  return x;
}

TEST(MergeKernels, RoundsToBf16) {
  everywhere([](int64_t size) {
    std::vector<float> x = odd_values(size, 1);
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> special = {inf, -inf, nan, -0.0f, 1.00390625f, 1.01171875f, 3.4e38f, 1e-45f};
    for (size_t i = 0; i < x.size() && i < special.size(); ++i) x[i] = special[i];
    std::vector<uint16_t> narrow(x.size());
    kernels().merge->narrow_bf16(size, x.data(), narrow.data());
    std::vector<float> rounded = x;
    kernels().merge->round_bf16(size, rounded.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(narrow[i], f32_to_bf16(x[i])) << x[i];
      EXPECT_EQ(std::bit_cast<uint32_t>(rounded[i]), std::bit_cast<uint32_t>(round_to_bf16(x[i]))) << x[i];
    }
  });
}

// The documented order: 16 chains, then lane i + lane i+8, +4, +2, +1.
double in_lanes(const std::vector<double>& terms) {
  double t[16] = {};
  for (size_t i = 0; i < terms.size(); ++i) t[i % 16] += terms[i];
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) t[i] += t[i + width];
  return t[0];
}

TEST(MergeKernels, SumsInDouble) {
  everywhere([](int64_t size) {
    std::vector<float> x = odd_values(size, 2), y = odd_values(size, 3);
    double sums[3];
    kernels().merge->moments(size, x.data(), y.data(), sums);
    std::vector<double> xx, yy, xy, absolute;
    for (size_t i = 0; i < x.size(); ++i) {
      double a = x[i], b = y[i];
      xx.push_back(a * a), yy.push_back(b * b), xy.push_back(a * b), absolute.push_back(std::abs(a));
    }
    EXPECT_EQ(sums[0], in_lanes(xx));
    EXPECT_EQ(sums[1], in_lanes(yy));
    EXPECT_EQ(sums[2], in_lanes(xy));
    EXPECT_EQ(kernels().merge->absolute_sum(size, x.data()), in_lanes(absolute));
  });
}

TEST(MergeKernels, Elementwise) {
  everywhere([](int64_t size) {
    std::vector<float> x = odd_values(size, 4), y = odd_values(size, 5), out(x.size()), sum = y, scaled = x;
    kernels().merge->blend(size, 0.3f, x.data(), -1.7f, y.data(), out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      float p = 0.3f * x[i], q = -1.7f * y[i];
      ASSERT_EQ(out[i], p + q);
    }
    kernels().merge->subtract(size, x.data(), y.data(), out.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], x[i] - y[i]);
    kernels().merge->accumulate(size, static_cast<double>(0.7f), x.data(), sum.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(sum[i], std::fma(x[i], 0.7f, y[i]));
    kernels().merge->multiply(size, 1.1f, scaled.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(scaled[i], x[i] * 1.1f);
  });
}

TEST(MergeKernels, Masks) {
  everywhere([](int64_t size) {
    const std::vector<float> x = odd_values(size, 6);
    const uint32_t low = key_of(0.2f), high = key_of(0.5f);
    std::vector<uint32_t> keys(x.size() + 1), positions(x.size() + 1);
    int64_t below = -1, found = kernels().merge->collect(size, x.data(), low, high, keys.data(),
                                                         positions.data(), &below);
    int64_t wanted = 0, under = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      under += key_of(x[i]) < low;
      if (key_of(x[i]) < low || key_of(x[i]) >= high) continue;
      ASSERT_LT(wanted, found);
      EXPECT_EQ(keys[static_cast<size_t>(wanted)], key_of(x[i]));
      EXPECT_EQ(positions[static_cast<size_t>(wanted++)], i);
    }
    EXPECT_EQ(found, wanted);
    EXPECT_EQ(below, under);
    std::vector<float> kept = x, chosen = x;
    kernels().merge->keep_from(size, low, kept.data());
    std::vector<uint64_t> words(x.size() / 64 + 1);
    for (size_t i = 0; i < words.size(); ++i) words[i] = (i + 1) * 0x9E3779B97F4A7C15u;
    kernels().merge->keep_bits(size, words.data(), chosen.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(kept[i], key_of(x[i]) >= low ? x[i] : 0);
      EXPECT_EQ(chosen[i], (words[i / 64] >> (i % 64)) & 1 ? x[i] : 0);
    }
  });
}

TEST(MergeKernels, RandomBitsAreThoseOfPhilox) {
  for (const std::string& isa : usable_isas()) {
    ASSERT_TRUE(select_isa(isa).ok());
    const uint64_t seed = 0x123456789abcdef0u, purpose = 0xfedcba9876543210u, first = 0x7ffffff0u;
    const uint32_t threshold = 5000000;
    std::vector<uint64_t> words(40);
    kernels().merge->random_bits(seed, purpose, first, 40, threshold, words.data());
    for (uint64_t n = 0; n < words.size(); ++n)
      for (uint64_t i = 0; i < 64; ++i) {
        const uint64_t element = 64 * (first + n) + i, counter = element / 4;
        auto drawn = philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                                 static_cast<uint32_t>(purpose), static_cast<uint32_t>(purpose >> 32)},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
        ASSERT_EQ((words[n] >> i) & 1, (drawn[element % 4] >> 8) < threshold ? 1u : 0u)
            << isa << " " << element;
      }
  }
  ASSERT_TRUE(select_isa("auto").ok());
}

TEST(MergeKernels, Combine) {
  everywhere([](int64_t size) {
    const std::vector<float> a = odd_values(size, 7), b = odd_values(size, 8), c = odd_values(size, 9),
                             base = odd_values(size, 10);
    const float* d[3] = {a.data(), b.data(), c.data()};
    const double weights[3] = {0.3, -0.2, 0.7};
    for (int form = 0; form < 4; ++form) {
      std::vector<float> out(base.size());
      CombineArguments arguments{.count = size,
                                 .vectors = 3,
                                 .d = d,
                                 .weights = weights,
                                 .consensus = (form & 1) != 0,
                                 .normalize = (form & 2) != 0,
                                 .all_weights = 0.8,
                                 .lambda = 1.25,
                                 .base = base.data(),
                                 .out = out.data()};
      kernels().merge->combine(arguments);
      for (size_t i = 0; i < base.size(); ++i) {
        double sum = 0, kept = 0, weight = 0;
        for (int k = 0; k < 3; ++k) sum += static_cast<double>(d[k][i]) * weights[k];
        for (int k = 0; k < 3; ++k) {
          double x = static_cast<double>(d[k][i]) * weights[k];
          if (!(sum >= 0 ? x > 0 : x < 0)) continue;
          kept += x;
          weight += weights[k];
        }
        if (weight == 0) weight = 1;
        double mixed = arguments.consensus ? kept : sum;
        if (arguments.normalize) mixed /= arguments.consensus ? weight : 0.8;
        ASSERT_EQ(out[i], static_cast<float>(static_cast<double>(base[i]) + mixed * 1.25))
            << i << " form " << form;
      }
    }
  });
}

}  // namespace
}  // namespace bm
