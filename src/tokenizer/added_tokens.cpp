#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace bm::tokenizer {

void AddedTokenMatcher::add(std::string_view pattern, const AddedToken& token) {
  if (pattern.empty()) return;
  uint32_t at = 0;
  for (char c : pattern) {
    auto byte = static_cast<uint8_t>(c);
    auto& next = nodes_[at].next;
    auto found =
        std::find_if(next.begin(), next.end(), [&](const auto& entry) { return entry.first == byte; });
    if (found != next.end()) {
      at = found->second;
      continue;
    }
    auto made = static_cast<uint32_t>(nodes_.size());
    next.emplace_back(byte, made);
    nodes_.emplace_back();
    at = made;
  }
  first_bytes_[static_cast<uint8_t>(pattern[0])] = true;
  nodes_[at].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  only_special_ = only_special_ && token.special;
}

std::vector<Stretch> AddedTokenMatcher::split(std::string_view text, bool parse_special) const {
  std::vector<Stretch> out;
  size_t done = 0;
  bool nothing_to_find = tokens_.empty() || (only_special_ && !parse_special);
  for (size_t at = 0; !nothing_to_find && at < text.size();) {
    if (!first_bytes_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    int32_t best = -1;
    size_t stop = at;
    uint32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      auto byte = static_cast<uint8_t>(text[i]);
      const auto& next = nodes_[node].next;
      auto found =
          std::find_if(next.begin(), next.end(), [&](const auto& entry) { return entry.first == byte; });
      if (found == next.end()) break;
      node = found->second;
      if (nodes_[node].token >= 0) {
        best = nodes_[node].token;
        stop = i + 1;
      }
    }
    if (best < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(best)];
    size_t start = at;
    at = stop;
    if (token.special && !parse_special) continue;
    if (token.single_word) {
      bool word_before =
          start > 0 && unicode::is_word(unicode::decode(text, unicode::previous(text, start)).value);
      bool word_after = stop < text.size() && unicode::is_word(unicode::decode(text, stop).value);
      if (word_before || word_after) continue;
    }
    while (token.lstrip && start > done) {
      size_t before = unicode::previous(text, start);
      if (before < done || !unicode::is_white_space(unicode::decode(text, before).value)) break;
      start = before;
    }
    while (token.rstrip && stop < text.size()) {
      auto c = unicode::decode(text, stop);
      if (!unicode::is_white_space(c.value)) break;
      stop += c.length;
    }
    if (done < start) out.push_back({done, start, -1});
    out.push_back({start, stop, token.id});
    done = stop;
    at = std::max(at, stop);
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
  return out;
}

}  // namespace bm::tokenizer
