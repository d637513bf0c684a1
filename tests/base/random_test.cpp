#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace bm {
namespace {

// Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32({0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}, {0xffffffffu, 0xffffffffu}),
            (std::array<uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (std::array<uint32_t, 4>{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

// numpy.random.RandomState(5489).randint's generator: first and 10,000th output of mt19937ar (C++ standard's
// rand).
TEST(Mt19937, StandardSequence) {
  Mt19937 engine(5489);
  EXPECT_EQ(engine.next(), 3499211612u);
  for (int i = 2; i < 10000; ++i) engine.next();
  EXPECT_EQ(engine.next(), 4123659995u);
}

// CPython 3.11: r = random.Random(1234); r.random(), r.random(), r.sample(range(100), 5), r.sample(range(10),
// 4)
TEST(PythonRandom, SameStreamAsCPython) {
  PythonRandom random(1234);
  EXPECT_DOUBLE_EQ(random.random(), 0.9664535356921388);
  EXPECT_DOUBLE_EQ(random.random(), 0.4407325991753527);
  std::vector<uint64_t> hundred = random.sample(100, 5);
  std::vector<uint64_t> ten = random.sample(10, 4);
  EXPECT_EQ(hundred, (std::vector<uint64_t>{0, 11, 74, 4, 85}));
  EXPECT_EQ(ten, (std::vector<uint64_t>{1, 9, 5, 8}));
  std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7};
  random.shuffle(items);
  EXPECT_EQ(items, (std::vector<int>{5, 1, 4, 3, 2, 6, 7, 0}));
}

TEST(CounterRandom, UniformAndUnbiased) {
  CounterRandom random(7, 3);
  double sum = 0, square = 0;
  std::array<int, 6> counts{};
  constexpr int kDraws = 60000;
  for (uint64_t i = 0; i < kDraws; ++i) {
    double u = random.uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += random.normal(i);
    square += random.normal(i) * random.normal(i);
    ++counts[random.below(i, 6)];
  }
  // Five standard errors.
  EXPECT_NEAR(sum / kDraws, 0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(square / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
  for (int count : counts) EXPECT_NEAR(count, kDraws / 6.0, 5 * std::sqrt(kDraws * 5.0 / 36.0));
}

TEST(CounterRandom, PermutationIsOneAndDependsOnItsKey) {
  auto a = counter_permutation(1000, 1, 2);
  auto b = counter_permutation(1000, 1, 3);
  EXPECT_NE(a, b);
  EXPECT_EQ(a, counter_permutation(1000, 1, 2));
  std::sort(a.begin(), a.end());
  for (uint64_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], i);
}

}  // namespace
}  // namespace bm
