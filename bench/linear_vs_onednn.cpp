// Our linear layers beside oneDNN's bare float32 products, same shapes, same threads, runs in turn.
//   bench_linear_vs_onednn [--rows=1000] [--threads=1] [--milliseconds=400]
#include <cmath>

#include "measure.h"
#include "onednn_matmul.h"
#include "ops/linear.h"

using namespace bm;
using namespace bm::bench;

int main(int argc, char** argv) {
  const int64_t m = argument(argc, argv, "rows", 1000);
  const auto threads = static_cast<int>(argument(argc, argv, "threads", 1));
  const double seconds = 1e-3 * static_cast<double>(argument(argc, argv, "milliseconds", 400));
  set_thread_count(threads);
  omp_set_num_threads(threads);
  print_machine();
  std::printf("M=%ld, %d thread(s), %s, medians; G = 1e9 float operations a second\n", static_cast<long>(m),
              threads, threads == 1 ? "processor time" : "wall time");
  std::printf("%6s %6s %8s %8s %8s %8s %8s %8s  %s\n", "K", "N", "oneDNN", "f32", "bf16", "f16", "sgemm",
              "ratio", "ratios bf16, f16, sgemm; largest difference");
  double ours_total = 0, theirs_total = 0;
  for (const auto& one : {std::array<int64_t, 3>{576, 576, 60},
                          {576, 192, 60},
                          {576, 1536, 60},
                          {1536, 576, 30},
                          {576, 49152, 0},
                          {2048, 5632, 0},
                          {5632, 2048, 0},
                          {4096, 4096, 0},
                          {4096, 14336, 0},
                          {14336, 4096, 0}}) {
    const int64_t k = one[0], n = one[1], count = one[2];
    std::vector<float> x = random_values(m * k), w = random_values(n * k);
    std::vector<float> y(static_cast<size_t>(m * n)), theirs = y, pairs = y;
    TensorView view{DType::f32, {n, k}, reinterpret_cast<const std::byte*>(w.data()), nullptr};
    auto f32 = PackedWeights::pack(view);
    auto bf16 = PackedWeights::pack(convert(view, DType::bf16)->view());
    auto f16 = PackedWeights::pack(convert(view, DType::f16)->view());
    OnednnMatmul matmul(x.data(), w.data(), theirs.data(), m, n, k);
    auto times = alternate({[&] { matmul.run(); }, [&] { linear(x.data(), m, *bf16, y.data()); },
                            [&] { linear(x.data(), m, *f16, y.data()); },
                            [&] { linear_forward(x.data(), w.data(), y.data(), m, n, k); },
                            [&] { linear(x.data(), m, *f32, y.data()); },
                            [&] { linear_bf16(x.data(), m, *bf16, pairs.data()); }},
                           seconds * 5, threads == 1);
    double difference = 0;
    for (size_t i = 0; i < y.size(); ++i)
      difference = std::max(difference, std::abs(static_cast<double>(y[i] - theirs[i])));
    auto rate = [&](size_t i) { return 2e-9 * static_cast<double>(m * n * k) / times[i].median; };
    std::printf(
        "%6ld %6ld %8.1f %8.1f %8.1f %8.1f %8.1f %8.2f  %.2f %.2f %.2f; %.1e; bf16 arithmetic %.1f G\n",
        static_cast<long>(k), static_cast<long>(n), rate(0), rate(4), rate(1), rate(2), rate(3),
        rate(4) / rate(0), rate(1) / rate(0), rate(2) / rate(0), rate(3) / rate(0), difference, rate(5));
    std::fflush(stdout);
    ours_total += static_cast<double>(count) * times[4].median;
    theirs_total += static_cast<double>(count) * times[0].median;
  }
  std::printf("all products of SmolLM2-135M's 30 layers: ours %.3f s, oneDNN %.3f s, rate ratio %.2f\n",
              ours_total, theirs_total, theirs_total / ours_total);
  return 0;
}
