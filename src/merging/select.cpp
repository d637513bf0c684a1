#include "merging/select.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "base/threads.h"

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

}  // namespace

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
