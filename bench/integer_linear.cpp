// Integer linear layers beside the machine's own limits, in one run: many rows against the rate of vpdpbusd
// on registers, few rows against reading the same bytes.
//   bench_integer_linear [threads]
#include <immintrin.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/threads.h"
#include "kernels/isa.h"
#include "measure.h"
#include "ops/quantized_linear.h"

namespace bm {
namespace {

template <class F>
double once(F&& f) {
  const double begin = now_seconds();
  f();
  return now_seconds() - begin;
}

template <class F>
double median(F&& f) {
  return bench::alternate({std::function<void()>(f)}, 0.2, false)[0].median;
}

// Twelve independent sums in registers, as asm: a loop over intrinsics is at the compiler's mercy.
[[gnu::target("avx512f,avx512bw,avx512vnni")]] void spin(int64_t rounds) {
  asm volatile(
      "vpxord %%zmm30, %%zmm30, %%zmm30\n vpxord %%zmm31, %%zmm31, %%zmm31\n"
      "1:\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm0\n vpdpbusd %%zmm30, %%zmm31, %%zmm1\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm2\n vpdpbusd %%zmm30, %%zmm31, %%zmm3\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm4\n vpdpbusd %%zmm30, %%zmm31, %%zmm5\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm6\n vpdpbusd %%zmm30, %%zmm31, %%zmm7\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm8\n vpdpbusd %%zmm30, %%zmm31, %%zmm9\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm10\n vpdpbusd %%zmm30, %%zmm31, %%zmm11\n"
      "dec %0\n jnz 1b\n"
      : "+r"(rounds)
      :
      : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11",
        "zmm30", "zmm31", "cc");
}

// Multiply-adds · 2 a second of all threads, on registers only.
double integer_peak(int threads) {
  constexpr int64_t kRounds = 3'000'000;
  const double seconds =
      once([&] { parallel_for(static_cast<size_t>(threads), [&](size_t) { spin(kRounds); }); });
  return static_cast<double>(threads) * 12 * 128 * kRounds / seconds / 1e9;
}

double read_gigabytes(const std::vector<uint64_t>& memory) {
  std::vector<uint64_t> sums(64);
  const size_t chunk = memory.size() / 64;
  const double seconds = once([&] {
    parallel_for(64, [&](size_t i) {
      sums[i] = std::accumulate(memory.begin() + static_cast<ptrdiff_t>(i * chunk),
                                memory.begin() + static_cast<ptrdiff_t>((i + 1) * chunk), uint64_t{0});
    });
  });
  return static_cast<double>(memory.size() * 8) / seconds / 1e9;
}

QuantizedWeights weights(const char* kind, int64_t outputs, int64_t inputs) {
  QuantizedRows rows;
  rows.outputs = outputs;
  rows.form.inputs = inputs;
  const std::string name = kind;
  rows.form.group = name == "awq128" ? (inputs % 128 ? 64 : 128) : name == "int8" ? inputs : name == "nf4" ? 64 : 32;
  rows.form.bits = name == "q8_0" || name == "int8" ? 8 : 4;
  rows.form.wide = rows.form.bits == 8;
  rows.form.zero = rows.form.bits == 8 ? 128 : 8;
  if (name == "awq128") rows.form.offsets = OffsetKind::zeros;
  if (name == "q4_1" || name == "q4_k") rows.form.offsets = OffsetKind::halves;
  if (name == "q4_k") rows.form.super = 8;
  if (name == "nf4") rows.form.rule = DecodeRule::lookup;
  if (name == "int8") rows.form.rule = DecodeRule::product, rows.form.factor = 1.0f / 127.0f;
  if (name == "nf4" || name == "int8") rows.form.half_scales = false;
  rows.codes = [inputs, bits = rows.form.bits](int64_t row, uint8_t* out) {
    for (int64_t i = 0; i < inputs; ++i)
      out[i] = static_cast<uint8_t>((row * 31 + i * 17) & (bits == 8 ? 255 : 15));
  };
  rows.groups = [n = (inputs + rows.form.group - 1) / rows.form.group](int64_t, CodeGroup* out) {
    for (int64_t g = 0; g < n; ++g) out[g] = {0.015625f, 0.03125f, 3, 5};
  };
  auto packed = QuantizedWeights::pack({&rows, 1});
  if (!packed.ok()) std::abort();
  return std::move(*packed);
}

void run(const char* kind, int64_t outputs, int64_t inputs, double peak, double bandwidth) {
  // Copies enough that few rows read memory and not a cache.
  std::vector<QuantizedWeights> copies;
  copies.push_back(weights(kind, outputs, inputs));
  const auto bytes = static_cast<double>(copies[0].bytes());
  while (bytes * static_cast<double>(copies.size()) < 3e8) copies.push_back(weights(kind, outputs, inputs));
  std::printf("%-7s %5ld x %5ld", kind, static_cast<long>(outputs), static_cast<long>(inputs));
  for (int64_t rows : {512, 2048}) {
    std::vector<float> x(static_cast<size_t>(rows * inputs), 0.5f), y(static_cast<size_t>(rows * outputs));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97) - 48.0f;
    const double s = median([&] { linear_fast(x.data(), rows, copies[0], y.data()); });
    const double rate = 2.0 * static_cast<double>(rows * outputs * inputs) / s / 1e9;
    std::printf("  %4ld rows %6.0f GOP/s (%2.0f %%)", static_cast<long>(rows), rate, 100 * rate / peak);
  }
  double one = 0;
  for (int64_t rows : {1, 8}) {
    std::vector<float> x(static_cast<size_t>(rows * inputs), 0.5f), y(static_cast<size_t>(rows * outputs));
    const double s = median([&] {
                       for (const auto& w : copies) linear_fast(x.data(), rows, w, y.data());
                     }) /
                     static_cast<double>(copies.size());
    if (rows == 1) {
      one = s;
      std::printf("  1 row %5.1f GB/s (%2.0f %%)", bytes / s / 1e9, 100 * bytes / s / 1e9 / bandwidth);
    } else {
      std::printf("  8 rows %.2f times the rate of one", 8 * one / s);
    }
  }
  std::printf("\n");
}

}  // namespace
}  // namespace bm

int main(int argc, char** argv) {
  using namespace bm;
  const int threads = argc > 1 ? std::atoi(argv[1]) : default_thread_count();
  set_thread_count(threads);
  std::vector<uint64_t> memory(size_t{1} << 26, 1);
  double peak = 0, bandwidth = 0;
  for (int i = 0; i < 5; ++i) {
    peak = std::max(peak, integer_peak(threads));
    bandwidth = std::max(bandwidth, read_gigabytes(memory));
  }
  std::printf("%s, %d threads: vpdpbusd on registers %.0f GOP/s, reading %.1f GB/s\n",
              std::string(isa_name()).c_str(), threads, peak, bandwidth);
  for (const char* kind : {"awq128", "q4_0", "q4_1", "q4_k", "nf4", "q8_0", "int8"}) {
    run(kind, 4096, 4096, peak, bandwidth);
    run(kind, 4096, 14336, peak, bandwidth);
    run(kind, 2048, 2048, peak, bandwidth);
    run(kind, 3072, 576, peak, bandwidth);
    run(kind, 576, 1536, peak, bandwidth);
  }
  return 0;
}
