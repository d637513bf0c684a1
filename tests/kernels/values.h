// Test values and bit comparison for kernels and ops.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/threads.h"
#include "kernels/isa.h"

namespace bm::testing {

// Uniform in [-1, 1), a fixed sequence per seed (splitmix64).
inline std::vector<float> values(int64_t count, uint64_t seed, float scale = 1.0f) {
  std::vector<float> out(static_cast<size_t>(count));
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (float& v : out) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    v = scale * (static_cast<float>(z >> 40) * 0x1p-23f - 1.0f);
  }
  return out;
}

inline ::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size())
    return ::testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// Names of the instruction sets this machine runs.
inline std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const IsaInfo& info : isa_list()) {
    if (info.usable) names.push_back(info.name);
  }
  return names;
}

// Runs compute() under every instruction set and with 1 and 3 threads; all results must have the same bits.
// Returns the first. Restores the defaults.
template <class F>
std::vector<float> same_everywhere(F compute) {
  std::vector<float> first;
  std::string of;
  for (const std::string& isa : usable_isas()) {
    EXPECT_TRUE(select_isa(isa).ok());
    for (int threads : {1, 3}) {
      if (isa == "scalar" && threads == 3) continue;
      set_thread_count(threads);
      std::vector<float> out = compute();
      if (of.empty()) {
        first = out;
        of = isa;
      }
      EXPECT_TRUE(same_bits(first, out)) << of << " against " << isa << " with " << threads << " threads";
    }
  }
  EXPECT_TRUE(select_isa("auto").ok());
  set_thread_count(0);
  return first;
}

}  // namespace bm::testing
