// Exact selection by rank without sorting: histograms of the keys' 16-bit digits. Equal keys are
// ranked by position, the lower index first, so the result is a pure function of the data.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace bm {

// Non-negative floats order as their bits do.
using KeyFunction = std::function<void(int64_t begin, int64_t end, uint64_t* keys)>;

// The elements whose rank in (key ascending, index ascending) is `rank`, described so that a block
// can tell for each of its elements whether its rank is below it.
struct RankCut {
  uint64_t key = 0;          // key of the element with that rank
  uint64_t equal_below = 0;  // how many elements with that key have a lower rank
  bool all_below = false;    // rank ≥ count: every element's rank is below it
  // Per block of `block` elements: number of elements equal to `key` in the blocks before it.
  std::vector<uint64_t> equal_before;
  int64_t block = 0;
};

// Cuts at each of `ranks` (0-based) among `count` keys. digits: 2 for 32-bit keys, 4 for 64-bit ones.
// Reads the keys digits + 1 times. largest_first: ranks count from the largest key (lower index still first
// among equals).
std::vector<RankCut> select_ranks(int64_t count, int64_t block, int digits, bool largest_first,
                                  const std::vector<int64_t>& ranks, const KeyFunction& keys);

// The values of elements begin..end whose magnitudes are ranked; the pointer stays valid until the next call
// of the same thread.
using ValueFunction = std::function<const float*(int64_t begin, int64_t end)>;

// The same cuts for keys that are the bits of |value|. A sample says where each cut lies; one pass counts
// what is below that window and collects what is inside, and the cut is found among those. Where the
// sample misled or too many values are equal, select_ranks() does the work: the result is always exact.
std::vector<RankCut> select_magnitudes(int64_t count, int64_t block, bool largest_first,
                                       const std::vector<int64_t>& ranks, const ValueFunction& values);

// Walks a block: below(i) in order of i says whether element i's rank is below the cut's.
class RankWalker {
 public:
  // begin: first element of the walk, the start of one of the cut's blocks.
  RankWalker(const RankCut& cut, bool largest_first, int64_t begin)
      : cut_(cut),
        largest_first_(largest_first),
        equal_(cut.all_below ? 0 : cut.equal_before[static_cast<size_t>(begin / cut.block)]) {}
  bool below(uint64_t key) {
    if (cut_.all_below) return true;
    if (key == cut_.key) return equal_++ < cut_.equal_below;
    return (key < cut_.key) != largest_first_;
  }

 private:
  const RankCut& cut_;
  bool largest_first_;
  uint64_t equal_;
};

}  // namespace bm
