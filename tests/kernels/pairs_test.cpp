// Products of bfloat16 pairs: every instruction set (the native one included, where the CPU has it) against
// the documented order, bit for bit, over ordinary numbers and over those at the ends of the range.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/values.h"
#include "tensor/dtype.h"

namespace bm {
namespace {

float tiny_to_zero(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

float add_product(float a, float b, float sum) { return tiny_to_zero(std::fma(a, b, sum)); }

std::vector<float> in_order(const PairArguments& g, const std::vector<uint16_t>& b,
                            const std::vector<float>& before) {
  std::vector<float> c = before;
  auto word = [](uint16_t w) { return tiny_to_zero(bf16_to_f32(w)); };
  for (int64_t r = 0; r < g.m; ++r) {
    for (int64_t j = 0; j < g.n; ++j) {
      float sum = 0;
      auto product = [&](int64_t i) {
        const bool there = i < g.k;
        const float x = there ? word(g.a[r * g.a_row + i]) : 0.0f;
        const float w =
            there ? word(b[static_cast<size_t>(j / kLanes * g.b_panel + i * kLanes + j % kLanes)]) : 0.0f;
        sum = add_product(x, w, sum);
      };
      for (int64_t i = 0; i < g.k; i += 2) {
        product(i + 1);
        product(i);
      }
      float& out = c[static_cast<size_t>(r * g.c_row + j)];
      out = g.accumulate ? out + sum : sum;
    }
  }
  return c;
}

// Words of random sign and fraction with exponents in [low, high].
std::vector<uint16_t> words(int64_t count, uint64_t seed, uint32_t low, uint32_t high) {
  std::vector<uint16_t> out;
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto random = static_cast<uint32_t>(state >> 33);
    out.push_back(
        static_cast<uint16_t>((random & 0x807fu) | ((low + (random >> 16) % (high - low + 1)) << 7)));
  }
  return out;
}

class Pairs : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(select_isa(GetParam()).ok()); }
  void TearDown() override { ASSERT_TRUE(select_isa("auto").ok()); }

  void check(int64_t m, int64_t n, int64_t k, bool accumulate, uint32_t low, uint32_t high) {
    const int64_t panels = (n + kLanes - 1) / kLanes;
    const auto seed = static_cast<uint64_t>(m * 10007 + n * 101 + k);
    PairArguments g{.m = m, .n = n, .k = k, .accumulate = accumulate};
    g.a_row = k + 5;
    std::vector<uint16_t> a = words((m + 1) * g.a_row, seed, low, high);
    for (int64_t r = 0; r < m && k % 2; ++r) a[static_cast<size_t>(r * g.a_row + k)] = 0;
    // Behind the last panel lies what must not be used: NaN.
    std::vector<uint16_t> b = words(panels * k * kLanes, seed + 1, low, high);
    b.resize(b.size() + kLanes, 0x7fc0);
    g.a = a.data();
    g.b = b.data();
    g.b_panel = k * kLanes;
    g.c_row = n + 3;
    std::vector<float> c = testing::values((m + 1) * g.c_row, seed + 2), want = in_order(g, b, c);
    g.c = c.data();
    kernels().pairs->products(g);
    ASSERT_TRUE(testing::same_bits(c, want)) << m << "x" << n << "x" << k << " exponents from " << low;
  }
};

TEST_P(Pairs, AnyShapeHasTheDocumentedBits) {
  for (int64_t m : {1, 2, 3, 4, 5, 8, 11, 12, 13, 25}) {
    for (int64_t n : {1, 15, 16, 17, 31, 32, 33, 70}) {
      for (int64_t k : {1, 2, 3, 41, 64}) {
        for (bool accumulate : {false, true}) check(m, n, k, accumulate, 120, 133);
      }
    }
  }
}

TEST_P(Pairs, TheEndsOfTheRange) {
  check(13, 70, 64, false, 0, 80);     // products far below the smallest normal number
  check(13, 70, 64, false, 55, 75);    // about it
  check(13, 70, 64, false, 62, 66);    // at it, with much cancellation
  check(13, 70, 64, false, 0, 130);    // subnormal factors among ordinary ones
  check(13, 70, 64, false, 180, 200);  // sums that overflow
}

TEST_P(Pairs, DenormalsAreOrdinaryAgainAfterwards) {
  std::vector<uint16_t> a = words(4, 1, 120, 125), b = words(64, 2, 120, 125);
  std::vector<float> c(16);
  PairArguments g{
      .m = 1, .n = 16, .k = 4, .a = a.data(), .a_row = 4, .b = b.data(), .b_panel = 64, .c = c.data()};
  kernels().pairs->products(g);
  volatile float tiny = 0x1p-126f;
  tiny = tiny * 0.5f;
  EXPECT_NE(tiny, 0.0f);
}

TEST_P(Pairs, RoundsToNearestEven) {
  std::vector<float> x = testing::values(4099, 3);
  for (uint32_t i = 0; i < 0x10000; ++i) {
    for (uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      x.push_back(std::bit_cast<float>(i << 16 | low));
  }
  std::vector<uint16_t> got(x.size());
  kernels().pairs->round(static_cast<int64_t>(x.size()), x.data(), got.data());
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(bf16_to_f32(got[i])));
    } else {
      ASSERT_EQ(got[i], f32_to_bf16(tiny_to_zero(x[i]))) << x[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Pairs, ::testing::ValuesIn(testing::usable_isas()),
                         [](const auto& info) { return info.param; });

// The smallest normal number, approached from below by less than a rounding: what the machine calls tiny.
TEST(PairsAtTheEdge, EveryInstructionSetAgrees) {
  std::vector<uint16_t> a, b;
  for (uint32_t fraction = 0; fraction < 128; ++fraction) {
    for (uint32_t shift = 0; shift < 32; ++shift) {
      // sum = ± 2^-126 · (1 + f/128) from the odd product, then a smaller product of the other sign
      a.insert(a.end(), {static_cast<uint16_t>(0x8000u | (127u - shift) << 7 | fraction), 0x3f80});
      b.insert(b.end(), {static_cast<uint16_t>(1u << 7 | ((fraction * 7) & 127u)),
                         static_cast<uint16_t>(1u << 7 | (shift & 1u))});
    }
  }
  const auto count = static_cast<int64_t>(a.size() / 2);
  std::vector<float> first;
  for (const std::string& isa : testing::usable_isas()) {
    ASSERT_TRUE(select_isa(isa).ok());
    std::vector<float> out(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      std::vector<uint16_t> panel(2 * kLanes);
      panel[0] = b[static_cast<size_t>(2 * i)];
      panel[kLanes] = b[static_cast<size_t>(2 * i + 1)];
      PairArguments g{.m = 1, .n = 1, .k = 2, .a = &a[static_cast<size_t>(2 * i)], .a_row = 2};
      g.b = panel.data();
      g.b_panel = 2 * kLanes;
      g.c = &out[static_cast<size_t>(i)];
      g.c_row = 1;
      kernels().pairs->products(g);
    }
    if (first.empty()) first = out;
    EXPECT_TRUE(testing::same_bits(first, out)) << isa;
  }
  ASSERT_TRUE(select_isa("auto").ok());
}

}  // namespace
}  // namespace bm
