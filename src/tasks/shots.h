// Which solved questions stand before the tested one. A draw is a pure function of (draw seed, task,
// item identifier or nothing, draw number): it does not depend on the order of items, on --limit or on
// threads. The same identifiers in another language get the same shots.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "tasks/item.h"

namespace bm {

enum class ShotScope { item, task };  // new shots for each item, or one set for the whole task
Result<ShotScope> parse_shot_scope(std::string_view text);

struct ShotPlan {
  int64_t shots = 3;
  int64_t draws = 3;
  uint64_t seed = 42;
  ShotScope scope = ShotScope::item;
};

// Indices into the pool for one item and draw (1-based), in the order they stand in the prompt. Pool
// entries that are the item itself (same question text) are passed over. bad_input when the pool is too
// small.
Result<std::vector<size_t>> draw_shots(const ShotPlan& plan, const std::string& task, const Item& item,
                                       int64_t draw, std::span<const Item> pool);

// Holds `count` items out of the scored set as the pool where a benchmark publishes no other split:
// chosen by seed over the identifiers, both parts keep the file's order.
struct HeldOut {
  std::vector<Item> scored, pool;
};
HeldOut hold_out(std::vector<Item> items, int64_t count, uint64_t seed, const std::string& task);

}  // namespace bm
