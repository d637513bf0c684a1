// What becomes of each kept article when all parts are there: duplicate, contaminated, held out, or kept.
// About 30 bytes an article in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "corpus/duplicates.h"
#include "corpus/part.h"

namespace bm {

enum class Fate : uint8_t { kept, duplicate, contaminated, held_out };

class Fates {
 public:
  // Articles are numbered in the order of the parts and of their lines.
  static Result<Fates> decide(const std::vector<PartFiles>& parts, const CorpusOptions& options,
                              const CorpusSwitches& switches);
  Fate of(uint32_t article) const { return fates_[article]; }
  uint32_t size() const { return static_cast<uint32_t>(fates_.size()); }
  // "same text as in/a.xml": why an article with the fate `duplicate` is one.
  Result<std::string> duplicate_reason_of(uint32_t article);

 private:
  Status index_sources();
  KeyFiles keys_;
  std::vector<Fate> fates_;
  std::vector<uint32_t> same_as_;
  std::vector<std::string> ledgers_;
  std::vector<MappedFile> lines_;  // the parts' ledgers, when a source is asked for
  std::vector<uint64_t> starts_;   // where each article's line begins, the files put one after the other
};

}  // namespace bm
