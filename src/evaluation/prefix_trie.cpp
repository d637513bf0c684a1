#include "evaluation/prefix_trie.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/log.h"

namespace bm {
namespace {

// A short piece that few prompts share is computed by each of them: cheaper than pages of its own.
constexpr int64_t kSmallNode = 16, kFoldedTokens = 64;

std::vector<size_t> sorted(std::span<const PrefixRequest> requests) {
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const auto &x = requests[a].tokens, &y = requests[b].tokens;
    const auto compared = std::lexicographical_compare_three_way(x.begin(), x.end(), y.begin(), y.end());
    return compared != 0 ? compared < 0 : a < b;
  });
  return order;
}

int64_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

std::string PrefixPlan::text() const {
  const int64_t shared = tokens - computed;
  const auto count = [](int64_t n) { return format_count(static_cast<uint64_t>(n)); };
  return fmt::format(
      "{} prompts{}, {} tokens, of which {} ({:.0f} %) are shared: {} to compute", count(requests),
      different < requests ? fmt::format(" ({} different)", count(different)) : "", count(tokens),
      count(shared), 100.0 * static_cast<double>(shared) / static_cast<double>(std::max<int64_t>(tokens, 1)),
      count(computed));
}

PrefixTrie::PrefixTrie(std::span<const PrefixRequest> requests, int64_t longest) : requests_(requests) {
  nodes_.emplace_back();
  path_ = {0};
  terminal_.resize(requests.size());
  const auto order = sorted(requests);
  for (size_t i = 0; i < order.size(); ++i)
    insert(order[i], i ? common_prefix(requests[order[i - 1]].tokens, requests[order[i]].tokens) : 0);
  fold_small_nodes();
  cut_long_nodes(longest);
  attach(order);
  count_pages();
}

size_t PrefixTrie::add_node(size_t parent, size_t source, int64_t begin, int64_t end) {
  TrieNode node;
  node.parent = parent;
  node.source = source;
  node.begin = begin;
  node.end = end;
  nodes_.push_back(std::move(node));
  nodes_[parent].children.push_back(nodes_.size() - 1);
  return nodes_.size() - 1;
}

// The upper part of a node becomes its parent.
void PrefixTrie::split(size_t node, int64_t at) {
  const size_t parent = nodes_[node].parent;
  TrieNode upper;
  upper.parent = parent;
  upper.source = nodes_[node].source;
  upper.begin = nodes_[node].begin;
  upper.end = at;
  upper.children = {node};
  const size_t index = nodes_.size();
  nodes_.push_back(std::move(upper));
  std::replace(nodes_[parent].children.begin(), nodes_[parent].children.end(), node, index);
  nodes_[node].parent = index;
  nodes_[node].begin = at;
}

// Requests come sorted, so what a request shares with all before it, it shares with the last one.
void PrefixTrie::insert(size_t request, int64_t common) {
  const auto length = static_cast<int64_t>(requests_[request].tokens.size());
  size_t below = 0;  // the node under the last one that is shared whole
  while (nodes_[path_.back()].end > common) {
    below = path_.back();
    path_.pop_back();
  }
  if (below && nodes_[below].begin < common) {
    split(below, common);
    path_.push_back(nodes_.size() - 1);
  }
  if (length > common) path_.push_back(add_node(path_.back(), request, common, length));
  different_ += length > common;
  terminal_[request] = path_.back();
}

// The children of a small node take its tokens over.
void PrefixTrie::fold_small_nodes() {
  std::vector<bool> ends(nodes_.size(), false);  // a request ends there
  for (const size_t node : terminal_) ends[node] = true;
  std::vector<size_t> stack = {0};
  while (!stack.empty()) {
    const size_t at = stack.back();
    stack.pop_back();
    std::vector<size_t> kept;
    for (size_t i = 0; i < nodes_[at].children.size(); ++i) {
      const size_t child = nodes_[at].children[i];
      const TrieNode& c = nodes_[child];
      const auto copies = static_cast<int64_t>(c.children.size());
      if (copies == 0 || ends[child] || c.tokens() >= kSmallNode ||
          c.tokens() * (copies - 1) > kFoldedTokens) {
        kept.push_back(child);
        stack.push_back(child);
        continue;
      }
      for (const size_t grandchild : c.children) {
        nodes_[grandchild].parent = at;
        nodes_[grandchild].begin = c.begin;
      }
      // They are looked at in their turn: an own folded node may have been above another one.
      auto& children = nodes_[at].children;
      children.insert(children.begin() + static_cast<ptrdiff_t>(i) + 1, c.children.begin(), c.children.end());
      nodes_[child].children.clear();
      nodes_[child].end = nodes_[child].begin;
    }
    nodes_[at].children = std::move(kept);
  }
}

void PrefixTrie::cut_long_nodes(int64_t longest) {
  const int64_t step = std::max(longest / kKeyTile, int64_t{1}) * kKeyTile;
  const size_t count = nodes_.size();
  for (size_t i = 1; i < count; ++i)
    while (nodes_[i].tokens() > longest) {
      const int64_t at = (nodes_[i].begin + step) / kKeyTile * kKeyTile;
      if (at <= nodes_[i].begin || at >= nodes_[i].end) break;
      split(i, at);
    }
}

// Every request's rows go to the nodes on its path.
void PrefixTrie::attach(std::span<const size_t> order) {
  for (const size_t request : order) {
    const auto& rows = requests_[request].rows;
    size_t row = rows.size();
    nodes_[terminal_[request]].finished.push_back(request);
    for (size_t at = terminal_[request]; at != 0 && row > 0; at = nodes_[at].parent) {
      TrieNode& node = nodes_[at];
      for (; row > 0 && rows[row - 1] >= node.begin; --row) {
        auto place =
            std::lower_bound(node.rows.begin(), node.rows.end(), rows[row - 1],
                             [](const TrieRow& a, int64_t position) { return a.position < position; });
        if (place == node.rows.end() || place->position != rows[row - 1])
          place = node.rows.insert(place, {rows[row - 1], {}});
        place->wanted.push_back({request, row - 1});
      }
    }
  }
}

void PrefixTrie::count_pages() {
  std::vector<size_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return nodes_[a].end > nodes_[b].end; });
  for (const size_t i : order) {  // children before their parents
    TrieNode& node = nodes_[i];
    if (node.tokens() > 0) node.pages = (node.end + kKeyTile - 1) / kKeyTile - node.begin / kKeyTile;
    int64_t below = 0;
    for (const size_t child : node.children) below = std::max(below, nodes_[child].need);
    node.need = node.pages + below;
  }
}

PrefixPlan PrefixTrie::plan(uint64_t page_bytes) const {
  PrefixPlan plan;
  plan.requests = static_cast<int64_t>(requests_.size());
  plan.different = different_;
  for (const PrefixRequest& request : requests_) plan.tokens += static_cast<int64_t>(request.tokens.size());
  for (const TrieNode& node : nodes_) plan.computed += node.tokens();
  plan.least_memory = static_cast<uint64_t>(nodes_[0].need) * page_bytes;
  for (size_t at = 0; !nodes_[at].children.empty();) {
    const auto& children = nodes_[at].children;
    at = *std::max_element(children.begin(), children.end(),
                           [&](size_t a, size_t b) { return nodes_[a].need < nodes_[b].need; });
    plan.largest_request = nodes_[at].source;
  }
  return plan;
}

}  // namespace bm
