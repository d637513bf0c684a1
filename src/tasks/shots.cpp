#include "tasks/shots.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/hash.h"
#include "base/random.h"

namespace bm {

Result<ShotScope> parse_shot_scope(std::string_view text) {
  if (text == "item") return ShotScope::item;
  if (text == "task") return ShotScope::task;
  return bad_input("shots are drawn per \"" + std::string(text) + "\"", "use item or task");
}

Result<std::vector<size_t>> draw_shots(const ShotPlan& plan, const std::string& task, const Item& item,
                                       int64_t draw, std::span<const Item> pool) {
  std::string key = "shots\n" + task + "\n" + std::to_string(draw);
  if (plan.scope == ShotScope::item) key += "\n" + item.identifier;
  CounterRandom random(plan.seed, hash64(key));
  size_t wanted = static_cast<size_t>(plan.shots);
  std::vector<size_t> chosen;
  std::unordered_map<size_t, size_t> moved;  // a partial Fisher-Yates shuffle that touches only what it needs
  auto at = [&](size_t i) {
    auto found = moved.find(i);
    return found == moved.end() ? i : found->second;
  };
  for (size_t i = 0; i < pool.size() && chosen.size() < wanted; ++i) {
    size_t j = i + static_cast<size_t>(random.below(i, pool.size() - i));
    size_t picked = at(j);
    moved[j] = at(i);
    if (pool[picked].question == item.question && pool[picked].context == item.context) continue;
    chosen.push_back(picked);
  }
  if (chosen.size() < wanted)
    return bad_input(task + " has " + std::to_string(pool.size()) + " questions to draw shots from, " +
                         std::to_string(wanted) + " are needed beside item " + item.identifier,
                     "ask for fewer with --shots, or add its train or dev file to --data");
  return chosen;
}

HeldOut hold_out(std::vector<Item> items, int64_t count, uint64_t seed, const std::string& task) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<uint64_t> keys;
  for (const auto& item : items) keys.push_back(hash64("held out\n" + task + "\n" + item.identifier, seed));
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::pair(keys[a], a) < std::pair(keys[b], b); });
  std::vector<bool> held(items.size());
  for (size_t i = 0; i < std::min(items.size(), static_cast<size_t>(count)); ++i) held[order[i]] = true;
  HeldOut result;
  for (size_t i = 0; i < items.size(); ++i)
    (held[i] ? result.pool : result.scored).push_back(std::move(items[i]));
  return result;
}

}  // namespace bm
