// What stats.json and the data card count.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "corpus/build.h"
#include "corpus/contamination.h"
#include "corpus/fates.h"
#include "corpus/packing.h"

namespace bm {

class CorpusCounts {
 public:
  explicit CorpusCounts(const BenchmarkIndex& benchmarks)
      : benchmarks_(benchmarks), met_(benchmarks.items().size(), false) {}

  // A line of the finished ledger; its fate where it has one.
  void add_input(const Json& entry, const Fate* fate);
  // An article whose tokens are in the corpus. `mine`: "kept" of its line in the part's ledger.
  void add_kept(const Json& mine, int64_t tokens);
  // Items of benchmarks found in an article, whatever became of it.
  void add_items(const Json& items);

  Json json(const CorpusOptions& options, const PackingCounts& packing, int64_t vocabulary) const;
  void fill(CorpusReport& report, const PackingCounts& packing) const;

 private:
  struct Tally {
    int64_t articles = 0, words = 0, tokens = 0;
  };
  using Tallies = std::map<std::string, Tally>;
  static Json tallies_json(const Tallies& tallies);
  Json benchmarks_json() const;

  const BenchmarkIndex& benchmarks_;
  std::vector<bool> met_;
  std::map<std::string, int64_t> task_articles_;
  std::map<std::string, int64_t> rejections_;
  Tallies licences_, journals_, years_, languages_, types_, sections_;
  int64_t read_ = 0, kept_ = 0, held_out_ = 0, rejected_ = 0, broken_ = 0, exact_ = 0, near_ = 0,
          contaminated_ = 0, other_files_ = 0, conflicts_ = 0, words_ = 0;
};

// README.md of a corpus folder: what it holds, how it was made, what to know before using it.
std::string data_card(const Json& stats, const CorpusOptions& options, const CommonOptions& common);

}  // namespace bm
