// Which articles say the same: by number of hashes only, so that memory stays at about 30 bytes an article
// however long they are.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "corpus/minhash.h"

namespace bm {

// One kept article in a part's .keys file.
struct ArticleKeys {
  uint64_t text = 0;  // of its letters and digits: the same for texts that differ in case, signs or spacing
  uint64_t id = 0;
  MinHashBandKeys bands{};  // all 0: not compared as a near-duplicate
  uint64_t lot = 0;         // of the id and the run's seed: decides who is held out
  uint32_t words = 0;
  uint32_t contaminated = 0;  // 1: holds items of a benchmark and will be dropped for it
};
static_assert(sizeof(ArticleKeys) == 144);

// text, id and lot; the rest stays 0.
ArticleKeys article_keys(std::string_view text, std::string_view id, uint64_t seed);

// The keys of all kept articles of a build, in order, read from the parts' files where they lie.
class KeyFiles {
 public:
  Status add(const std::string& path);
  uint32_t size() const { return size_; }
  ArticleKeys at(uint32_t article) const;
  template <class Function>
  void for_each(Function function) const {  // function(index, keys)
    uint32_t index = 0;
    for (const auto& [file, first] : files_)
      for (const ArticleKeys& keys : rows(file)) function(index++, keys);
  }

 private:
  static std::span<const ArticleKeys> rows(const MappedFile& file);
  std::vector<std::pair<MappedFile, uint32_t>> files_;  // and the number of the file's first article
  uint32_t size_ = 0;
};

struct DuplicateRules {
  bool exact = true, near = true;
  bool keep_longest = false;  // else the first
};

// For each article the one that is kept in its place; itself when it stays. Contaminated articles are alone
// and stand for no other. Clusters are closed under "is like" (A like B, B like C: one cluster), as in
// datatrove.
std::vector<uint32_t> find_duplicates(const KeyFiles& keys, const DuplicateRules& rules);

// Why `dropped` is a duplicate of `kept`: "same text", "same id", "9 of 14 bands in common", ….
std::string duplicate_reason(const ArticleKeys& dropped, const ArticleKeys& kept);

}  // namespace bm
