// Causal attention alone: rate over the multiply-adds a causal mask leaves (4·D operations per visible pair
// and head).
//   bench_attention [--threads=1] [--milliseconds=500]
#include "ops/attention.h"

#include "measure.h"

using namespace bm;
using namespace bm::bench;

int main(int argc, char** argv) {
  const auto threads = static_cast<int>(argument(argc, argv, "threads", 1));
  const double seconds = 1e-3 * static_cast<double>(argument(argc, argv, "milliseconds", 500));
  set_thread_count(threads);
  print_machine();
  std::printf("%d thread(s), %s, medians\n%6s %9s %5s %8s %10s %10s\n", threads,
              threads == 1 ? "processor time" : "wall time", "tokens", "heads", "D", "window", "forward G",
              "backward G");
  for (const auto& one : {std::array<int64_t, 5>{1000, 9, 3, 64, 0},
                          {2048, 9, 3, 64, 0},
                          {2048, 32, 8, 128, 0},
                          {4096, 9, 3, 64, 1024},
                          {256, 9, 3, 64, 0}}) {
    const int64_t n = one[0], heads = one[1], kv = one[2], d = one[3], window = one[4];
    std::vector<float> q = random_values(n * heads * d), k = random_values(n * kv * d),
                       v = random_values(n * kv * d);
    std::vector<float> out(q.size()), lse(static_cast<size_t>(n * heads)), d_q(q.size()), d_k(k.size()),
        d_v(v.size());
    const AttentionShape shape{heads, kv, d, window};
    auto times = alternate(
        {[&] { attention_forward(shape, 1, n, q.data(), k.data(), v.data(), out.data(), lse.data()); },
         [&] {
           attention_backward(shape, 1, n, q.data(), k.data(), v.data(), out.data(), lse.data(), q.data(),
                              d_q.data(), d_k.data(), d_v.data());
         }},
        seconds, threads == 1);
    double pairs = 0;
    for (int64_t p = 0; p < n; ++p) pairs += static_cast<double>(window ? std::min(window, p + 1) : p + 1);
    const double work = 4e-9 * static_cast<double>(d * heads) * pairs;
    std::printf("%6ld %5ld/%-3ld %5ld %8ld %10.1f %10.1f\n", static_cast<long>(n), static_cast<long>(heads),
                static_cast<long>(kv), static_cast<long>(d), static_cast<long>(window),
                work / times[0].median, 2.5 * work / times[1].median);
    std::fflush(stdout);
  }
  return 0;
}
