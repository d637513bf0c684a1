#include "merging/select.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <functional>
#include <mutex>

#include "base/threads.h"
#include "kernels/kernels.h"

namespace bm {
namespace {

constexpr size_t kBuckets = 65536;

// Histogram of digit `digit` (0 = most significant of `digits`) of the keys whose higher digits are
// `prefix`. Counts are whole numbers: the order of adding does not matter.
std::vector<uint64_t> histogram(int64_t count, int64_t block, int digits, int digit, uint64_t prefix,
                                const KeyFunction& keys) {
  std::vector<uint64_t> total(kBuckets, 0);
  std::mutex mutex;
  int shift = 16 * (digits - 1 - digit);
  // A task takes many blocks, so that the 512 KB of counters pay.
  int64_t stride = block * std::max<int64_t>(1, (int64_t{1} << 22) / block);
  parallel_chunks(static_cast<size_t>(count), static_cast<size_t>(stride), [&](size_t first, size_t last) {
    std::vector<uint32_t> local(kBuckets, 0);
    std::vector<uint64_t> key(static_cast<size_t>(std::min(block, count)));
    for (auto begin = static_cast<int64_t>(first); begin < static_cast<int64_t>(last); begin += block) {
      int64_t end = std::min(static_cast<int64_t>(last), begin + block);
      keys(begin, end, key.data());
      for (int64_t i = 0; i < end - begin; ++i) {
        uint64_t k = key[static_cast<size_t>(i)];
        if (digit == 0 || (k >> (shift + 16)) == prefix) ++local[(k >> shift) & 0xffff];
      }
    }
    std::lock_guard lock(mutex);
    for (size_t i = 0; i < kBuckets; ++i) total[i] += local[i];
  });
  return total;
}

// Bucket that holds `rank`; rank becomes the rank inside it.
uint64_t find_bucket(const std::vector<uint64_t>& counts, bool largest_first, uint64_t& rank) {
  for (size_t step = 0; step < kBuckets; ++step) {
    size_t bucket = largest_first ? kBuckets - 1 - step : step;
    if (rank < counts[bucket]) return bucket;
    rank -= counts[bucket];
  }
  return 0;  // unreachable: rank < count
}

void count_equals(int64_t count, int64_t block, const KeyFunction& keys, std::vector<RankCut>& cuts) {
  auto blocks = static_cast<size_t>((count + block - 1) / block);
  for (RankCut& cut : cuts) cut.equal_before.assign(blocks + 1, 0);
  parallel_for(blocks, [&](size_t b) {
    int64_t begin = static_cast<int64_t>(b) * block, end = std::min(count, begin + block);
    std::vector<uint64_t> key(static_cast<size_t>(end - begin));
    keys(begin, end, key.data());
    for (RankCut& cut : cuts)
      cut.equal_before[b + 1] = static_cast<uint64_t>(std::count(key.begin(), key.end(), cut.key));
  });
  for (RankCut& cut : cuts)
    for (size_t b = 0; b < blocks; ++b) cut.equal_before[b + 1] += cut.equal_before[b];
}

struct Window {
  uint32_t low = 0, high = 0;
};  // keys [low, high)

// Where the ranks lie by a sample of 512 runs of 128 elements.
std::vector<Window> sampled_windows(int64_t count, bool largest_first, const std::vector<int64_t>& ranks,
                                    const ValueFunction& values) {
  constexpr int64_t runs = 512, run = 128, reach = runs * run / 64;
  std::vector<uint32_t> sample;
  for (int64_t i = 0; i < runs; ++i) {
    int64_t begin = (count - run) / (runs - 1) * i;
    const float* x = values(begin, begin + run);
    for (int64_t j = 0; j < run; ++j) sample.push_back(std::bit_cast<uint32_t>(x[j]) & 0x7fffffffu);
  }
  std::sort(sample.begin(), sample.end());
  auto size = static_cast<int64_t>(sample.size());
  std::vector<Window> out;
  for (int64_t rank : ranks) {
    double share = static_cast<double>(rank) / static_cast<double>(count);
    auto at = static_cast<int64_t>((largest_first ? 1 - share : share) * static_cast<double>(size));
    Window window{0, 0x80000000u};
    if (at - reach >= 0) window.low = sample[static_cast<size_t>(at - reach)];
    if (at + reach < size) window.high = sample[static_cast<size_t>(at + reach)] + 1;
    out.push_back(window);
  }
  return out;
}

struct Candidates {
  std::vector<uint32_t> keys;  // of the block's elements inside the window
  int64_t below = 0;
};

// false: too many candidates, or the rank lies outside the window.
bool cut_from_window(int64_t count, int64_t block, bool largest_first, int64_t rank, Window window,
                     const ValueFunction& values, RankCut& cut) {
  auto blocks = static_cast<size_t>((count + block - 1) / block);
  std::vector<Candidates> found(blocks);
  std::atomic<bool> crowded{false};
  parallel_for(blocks, [&](size_t b) {
    if (crowded) return;
    thread_local std::vector<uint32_t> keys, positions;
    keys.resize(static_cast<size_t>(block) + 1);
    positions.resize(static_cast<size_t>(block) + 1);
    int64_t begin = static_cast<int64_t>(b) * block, end = std::min(count, begin + block);
    int64_t n = kernels().merge->collect(end - begin, values(begin, end), window.low, window.high,
                                         keys.data(), positions.data(), &found[b].below);
    if (n > (end - begin) / 4 + 64) crowded = true;
    found[b].keys.assign(keys.begin(), keys.begin() + n);
  });
  if (crowded) return false;
  std::vector<uint32_t> all;
  int64_t below = 0;
  for (const Candidates& part : found) {
    below += part.below;
    all.insert(all.end(), part.keys.begin(), part.keys.end());
  }
  auto inside = static_cast<int64_t>(all.size());
  int64_t local = rank - (largest_first ? count - below - inside : below);
  if (local < 0 || local >= inside) return false;
  auto nth = all.begin() + local;
  if (largest_first)
    std::nth_element(all.begin(), nth, all.end(), std::greater<>());
  else
    std::nth_element(all.begin(), nth, all.end());
  uint32_t key = *nth;
  auto before = std::count_if(all.begin(), nth, [&](uint32_t k) { return k != key; });
  cut.key = key;
  cut.equal_below = static_cast<uint64_t>(local - before);
  cut.equal_before.assign(blocks + 1, 0);
  for (size_t b = 0; b < blocks; ++b)
    cut.equal_before[b + 1] = cut.equal_before[b] + static_cast<uint64_t>(std::count(
                                                        found[b].keys.begin(), found[b].keys.end(), key));
  return true;
}

}  // namespace

std::vector<RankCut> select_magnitudes(int64_t count, int64_t block, bool largest_first,
                                       const std::vector<int64_t>& ranks, const ValueFunction& values) {
  auto exact = [&](const std::vector<int64_t>& some) {
    return select_ranks(count, block, 2, largest_first, some,
                        [&](int64_t begin, int64_t end, uint64_t* keys) {
                          const float* x = values(begin, end);
                          for (int64_t i = 0; i < end - begin; ++i)
                            keys[i] = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
                        });
  };
  constexpr int64_t worthwhile = 1 << 18;
  if (count < worthwhile) return exact(ranks);
  std::vector<Window> windows = sampled_windows(count, largest_first, ranks, values);
  std::vector<RankCut> cuts(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    cuts[i].block = block;
    cuts[i].all_below = ranks[i] >= count;
    if (cuts[i].all_below) continue;
    int64_t rank = std::max<int64_t>(0, ranks[i]);
    if (!cut_from_window(count, block, largest_first, rank, windows[i], values, cuts[i]))
      cuts[i] = exact({rank})[0];
  }
  return cuts;
}

std::vector<RankCut> select_ranks(int64_t count, int64_t block, int digits, bool largest_first,
                                  const std::vector<int64_t>& ranks, const KeyFunction& keys) {
  std::vector<RankCut> cuts(ranks.size());
  std::vector<uint64_t> remaining(ranks.size());
  std::vector<size_t> open;
  for (size_t i = 0; i < ranks.size(); ++i) {
    cuts[i].block = block;
    cuts[i].all_below = ranks[i] >= count;
    remaining[i] = static_cast<uint64_t>(std::max<int64_t>(0, ranks[i]));
    if (!cuts[i].all_below) open.push_back(i);
  }
  if (open.empty()) return cuts;
  for (int digit = 0; digit < digits; ++digit) {
    std::vector<uint64_t> prefixes;
    for (size_t i : open) prefixes.push_back(cuts[i].key);
    for (size_t n = 0; n < open.size(); ++n) {
      // Cuts that share a prefix (always so for the first digit) share the pass.
      if (std::find(prefixes.begin(), prefixes.begin() + static_cast<std::ptrdiff_t>(n), prefixes[n]) !=
          prefixes.begin() + static_cast<std::ptrdiff_t>(n))
        continue;
      std::vector<uint64_t> counts = histogram(count, block, digits, digit, prefixes[n], keys);
      for (size_t m = n; m < open.size(); ++m)
        if (prefixes[m] == prefixes[n]) {
          size_t i = open[m];
          cuts[i].key = (prefixes[m] << 16) | find_bucket(counts, largest_first, remaining[i]);
        }
    }
  }
  for (size_t i : open) cuts[i].equal_below = remaining[i];
  count_equals(count, block, keys, cuts);
  return cuts;
}

}  // namespace bm
