// Benchmark questions inside articles: runs of 13 words (by the rules of words.h) that an item and an article
// share. An item's context, question, options and answers are looked for each by itself; a text shorter
// than the run cannot be looked for and is counted as such; nor is a run looked for in which more than a
// third of the words are numbers ("0 to 0 0 to 0 and": rows of figures are alike everywhere).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "corpus/options.h"
#include "corpus/words.h"

namespace bm {

// One item met in one article.
struct ItemMatch {
  uint32_t item = 0;    // index into BenchmarkIndex::items()
  uint32_t shared = 0;  // different runs found
  uint32_t of = 0;      // different runs the item has
  std::string passage;  // the first run found, as plain words
};

class BenchmarkIndex {
 public:
  struct ItemName {
    std::string task, identifier, language;
    uint32_t runs = 0;  // 0: too short to be looked for
  };

  // The tasks' files, as `evaluate` finds them. bad_input: unknown task, files not found.
  static Result<BenchmarkIndex> load(const CorpusOptions& options);

  bool empty() const { return items_.empty(); }
  const std::vector<ItemName>& items() const { return items_; }
  const std::vector<std::string>& files() const { return files_; }
  // Items that share a run with the text, those with most runs first.
  std::vector<ItemMatch> find(const PlainWords& words) const;

  void add(ItemName name, const std::vector<std::string_view>& texts);  // then finish()
  void finish();
  explicit BenchmarkIndex(int64_t run_words = 13) : run_words_(static_cast<size_t>(run_words)) {}

 private:
  struct Posting {
    uint64_t hash = 0;
    uint32_t item = 0;
    bool operator<(const Posting& o) const { return hash != o.hash ? hash < o.hash : item < o.item; }
    bool operator==(const Posting&) const = default;
  };
  template <class Function>
  void for_each_run(const PlainWords& words, Function function) const;  // function(index, hash)
  size_t run_words_;
  std::vector<ItemName> items_;
  std::vector<std::string> files_;
  std::vector<Posting> postings_;  // sorted by hash
  std::vector<uint64_t> bits_;     // one bit a hash's upper bits: most runs of an article end here
  std::vector<uint32_t> buckets_;  // first posting by the hash's top bits
  unsigned bucket_shift_ = 63, bit_shift_ = 63;
};

}  // namespace bm
