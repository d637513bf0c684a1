// Shared by the benchmarks: peak of the machine, medians of alternating runs.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/system.h"
#include "base/threads.h"
#include "kernels/isa.h"

namespace bm::bench {

inline double process_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Times {
  double median = 0, best = 0;  // seconds of one call
};

// Runs the contestants in turn, round after round, so that a disturbed moment hits all of them. With one
// thread the processor time is taken (other people's work then hardly shows), else the time on the wall.
inline std::vector<Times> alternate(const std::vector<std::function<void()>>& contestants, double seconds,
                                    bool cpu) {
  std::vector<std::vector<double>> samples(contestants.size());
  for (const auto& contestant : contestants) contestant();  // warm
  auto clock = [cpu] { return cpu ? process_cpu_seconds() : now_seconds(); };
  const double start = now_seconds();
  while (now_seconds() - start < seconds || samples[0].size() < 5) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      const double begin = clock();
      contestants[i]();
      samples[i].push_back(clock() - begin);
    }
  }
  std::vector<Times> out;
  for (auto& s : samples) {
    std::sort(s.begin(), s.end());
    out.push_back({s[s.size() / 2], s[0]});
  }
  return out;
}

inline std::vector<float> random_values(int64_t count) {
  std::vector<float> v(static_cast<size_t>(count));
  uint32_t state = 12345;
  for (float& x : v) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
  return v;
}

inline void print_machine() {
  std::printf("CPU: %s; kernels: %s\n", cpu_model().c_str(), std::string(isa_name()).c_str());
}

// "--name=value" or the default.
inline int64_t argument(int argc, char** argv, const std::string& name, int64_t fallback) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i) {
    std::string text = argv[i];
    if (text.rfind(prefix, 0) == 0) return std::atoll(text.c_str() + prefix.size());
  }
  return fallback;
}

inline std::string text_argument(int argc, char** argv, const std::string& name,
                                 const std::string& fallback) {
  const std::string prefix = "--" + name;
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i];
    if (text.rfind(prefix + "=", 0) == 0) return text.substr(prefix.size() + 1);
    if (text == prefix && i + 1 < argc) return argv[i + 1];
  }
  return fallback;
}

}  // namespace bm::bench
