#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "merging/config.h"
#include "merging/parameters.h"
#include "merging/select.h"

namespace bm {
namespace {

ParameterSetting setting(const std::string& yaml) {
  auto value = parse_yaml(yaml);
  EXPECT_TRUE(value.ok());
  auto parsed = ParameterSetting::parse(*value);
  EXPECT_TRUE(parsed.ok()) << parsed.error().paragraph();
  return *parsed;
}

// BioMistral's published gradients over 32 layers (semantics.md 1.1).
TEST(Parameters, PublishedGradients) {
  const std::string yaml =
      "[{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}, {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}, "
      "{value: 0.5}]";
  ParameterSetting t = setting(yaml);
  const std::vector<std::pair<int, double>> expected = {{0, 0},        {1, .064516},  {7, .451613},
                                                        {8, .493548},  {15, .312903}, {16, .325806},
                                                        {23, .687097}, {30, .96129},  {31, 1}};
  for (auto [layer, value] : expected) {
    std::string prefix = "model.layers." + std::to_string(layer);
    EXPECT_NEAR(*t.evaluate(prefix + ".self_attn.q_proj.weight", layer / 31.0), value, 1e-6);
    EXPECT_NEAR(*t.evaluate(prefix + ".mlp.up_proj.weight", layer / 31.0), 1 - value, 1e-6);
    EXPECT_EQ(*t.evaluate(prefix + ".input_layernorm.weight", layer / 31.0), 0.5);
  }
}

TEST(Parameters, Forms) {
  EXPECT_EQ(*setting("5e-1").evaluate("x", 0), 0.5);
  EXPECT_EQ(*setting("\"5e-1\"").evaluate("x", 0), 0.5);
  EXPECT_EQ(*setting("true").evaluate("x", 0), 1.0);
  EXPECT_EQ(*setting("[true, false]").evaluate("x", 0.99), 1.0) << "booleans step";
  EXPECT_EQ(*setting("[true, false]").evaluate("x", 1), 0.0);
  EXPECT_EQ(*setting("[0.25]").evaluate("x", 0.7), 0.25);
  EXPECT_EQ(setting("[{filter: mlp, value: 1}]").evaluate("self_attn", 0), std::nullopt)
      << "falls to the outer scope";
  EXPECT_EQ(*setting("{value: 3}").evaluate("x", 0), 3.0);
  EXPECT_EQ(*setting("[{value: 1}, {filter: mlp, value: 2}]").evaluate("mlp", 0), 1.0)
      << "the first match wins";
}

TEST(Parameters, BadForms) {
  for (const char* yaml : {"heavy", "[]", "{filter: x}", "[{value: 1, weight: 2}]", "[1, {value: 2}]",
                           "[{filter: 3, value: 1}]", "~"}) {
    auto value = parse_yaml(yaml);
    ASSERT_TRUE(value.ok());
    auto parsed = ParameterSetting::parse(*value);
    ASSERT_FALSE(parsed.ok()) << yaml;
    EXPECT_EQ(parsed.error().code(), Code::bad_input);
  }
}

TEST(ModelReference, Forms) {
  auto parse = [](const std::string& text) { return *ModelReference::parse(Json(text)); };
  EXPECT_EQ(parse("org/model").path, "org/model");
  EXPECT_EQ(parse("org/model@v2").revision, "v2");
  EXPECT_EQ(parse("org/model@v2+some/lora").adapter, "some/lora");
  EXPECT_EQ(parse("org/model@v2+some/lora").path, "org/model");
  EXPECT_FALSE(ModelReference::parse(Json("a+b+c")).ok());
  EXPECT_FALSE(ModelReference::parse(Json(3)).ok());
}

// Against sorting, over sizes around the block, many ties, both directions, 32- and 64-bit keys.
TEST(Select, AgreesWithStableSort) {
  for (int64_t n : {1, 5, 64, 1000, 4097})
    for (int digits : {2, 4})
      for (bool largest : {false, true}) {
        CounterRandom random(static_cast<uint64_t>(n), static_cast<uint64_t>(digits));
        std::vector<uint64_t> keys(static_cast<size_t>(n));
        for (size_t i = 0; i < keys.size(); ++i)
          keys[i] = digits == 2 ? random.below(i, 50) * 0x1234567 % 0xffffffff
                                : random.below(i, 40) * 0x0123456789abcdef;
        std::vector<size_t> order(keys.size());
        std::iota(order.begin(), order.end(), size_t{0});
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return largest ? keys[a] > keys[b] : keys[a] < keys[b]; });
        std::vector<int64_t> ranks = {0, n / 3, n / 2, n - 1, n, n + 5};
        auto cuts =
            select_ranks(n, 64, digits, largest, ranks, [&](int64_t begin, int64_t end, uint64_t* out) {
              std::copy(keys.begin() + begin, keys.begin() + end, out);
            });
        for (size_t c = 0; c < ranks.size(); ++c) {
          std::vector<char> below(keys.size(), 0), wanted(keys.size(), 0);
          for (int64_t begin = 0; begin < n; begin += 64) {
            RankWalker walker(cuts[c], largest, begin);
            for (int64_t i = begin; i < std::min(n, begin + 64); ++i)
              below[static_cast<size_t>(i)] = walker.below(keys[static_cast<size_t>(i)]);
          }
          for (size_t r = 0; r < order.size() && static_cast<int64_t>(r) < ranks[c]; ++r)
            wanted[order[r]] = 1;
          ASSERT_EQ(below, wanted) << "n " << n << ", rank " << ranks[c] << ", largest " << largest;
        }
      }
}

// The sampled window against the histograms: smooth values, values with many ties, all equal, outliers that
// mislead the sample; sizes around the block.
TEST(Select, SampledWindowIsExact) {
  for (int64_t n : {(int64_t{1} << 18) - 1, (int64_t{1} << 18) + 5, int64_t{400000}})
    for (int kind = 0; kind < 5; ++kind)
      for (bool largest : {false, true}) {
        CounterRandom random(static_cast<uint64_t>(kind), static_cast<uint64_t>(n));
        std::vector<float> x(static_cast<size_t>(n));
        for (size_t i = 0; i < x.size(); ++i) {
          double normal = kind == 2 ? 1 : random.normal(i);
          if (kind == 1) normal = std::round(3 * normal) / 64;       // a few hundred different magnitudes
          if (kind == 3) normal = std::round(4000 * normal) / 4096;  // ties inside the window
          if (kind == 4) normal *= i < x.size() / 3 ? 1e-6 : 1;      // sorted by place
          x[i] = static_cast<float>(normal);
        }
        std::vector<int64_t> ranks = {0, n / 100, n / 2, n - 1, n};
        constexpr int64_t block = 65536;
        auto cuts = select_magnitudes(n, block, largest, ranks,
                                      [&](int64_t begin, int64_t) { return x.data() + begin; });
        auto exact =
            select_ranks(n, block, 2, largest, ranks, [&](int64_t begin, int64_t end, uint64_t* keys) {
              for (int64_t i = begin; i < end; ++i)
                keys[i - begin] = std::bit_cast<uint32_t>(std::fabs(x[static_cast<size_t>(i)]));
            });
        for (size_t c = 0; c < ranks.size(); ++c) {
          EXPECT_EQ(cuts[c].all_below, exact[c].all_below);
          if (cuts[c].all_below) continue;
          EXPECT_EQ(cuts[c].key, exact[c].key)
              << "n " << n << " kind " << kind << " rank " << ranks[c] << " largest " << largest;
          EXPECT_EQ(cuts[c].equal_below, exact[c].equal_below);
          EXPECT_EQ(cuts[c].equal_before, exact[c].equal_before);
        }
      }
}

}  // namespace
}  // namespace bm
