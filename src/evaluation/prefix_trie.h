// All prompts of a run as a trie over tokens: what prompts share at their start is one path. Equal prompts
// become one. The tokens of a node are computed once; rows of logits are wanted at positions of nodes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/kv_cache.h"

namespace bm {

struct PrefixRequest {
  std::vector<int32_t> tokens;  // not empty
  std::vector<int64_t> rows;    // positions whose logits are wanted, ascending, at least one
};

struct TrieRow {
  int64_t position = 0;
  std::vector<std::pair<size_t, size_t>> wanted;  // (request, its row)
};

struct TrieNode {
  size_t parent = 0;             // node 0 is the root, which has no tokens
  std::vector<size_t> children;  // by ascending tokens
  size_t source = 0;             // a request whose tokens [begin, end) these are
  int64_t begin = 0, end = 0;    // positions
  std::vector<TrieRow> rows;     // ascending
  std::vector<size_t> finished;  // requests that end here
  int64_t pages = 0;             // new pages that computing it takes at most
  int64_t need = 0;              // pages to finish it and all below it, one path at a time
  int64_t tokens() const { return end - begin; }
};

struct PrefixPlan {
  int64_t requests = 0, different = 0;  // prompts, and those that differ
  int64_t tokens = 0;                   // of all prompts
  int64_t computed = 0;                 // to go through the model
  uint64_t least_memory = 0;            // key/value bytes of the most demanding prompt
  size_t largest_request = 0;           // which one that is
  // "240 prompts, 123,456 tokens, of which 100,000 (81 %) are shared: 23,456 to compute"
  std::string text() const;
};

class PrefixTrie {
 public:
  // Nodes longer than `longest` tokens are cut in chains, at multiples of the page.
  PrefixTrie(std::span<const PrefixRequest> requests, int64_t longest);
  const std::vector<TrieNode>& nodes() const { return nodes_; }
  PrefixPlan plan(uint64_t page_bytes) const;

 private:
  void insert(size_t request, int64_t common);
  size_t add_node(size_t parent, size_t source, int64_t begin, int64_t end);
  void split(size_t node, int64_t at);
  void attach(std::span<const size_t> order);
  void fold_small_nodes();
  void cut_long_nodes(int64_t longest);
  void count_pages();

  std::span<const PrefixRequest> requests_;
  std::vector<TrieNode> nodes_;
  std::vector<size_t> path_;      // nodes of the last request inserted, root first
  std::vector<size_t> terminal_;  // where each request ends
  int64_t different_ = 0;
};

}  // namespace bm
