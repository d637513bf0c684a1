// One part of a build on disk (OUT/parts/): made by one pass over one archive, kept until all are there.
//
//   part-00000.records.jsonl.zst    one record a line, of the kept articles
//   part-00000.filtered.jsonl.zst   the same of those that a filter rejected (with filters only)
//   part-00000.tokens               the kept ones' sequences, i32 little-endian, one after the other
//   part-00000.keys                 one ArticleKeys (duplicates.h) a kept article
//   part-00000.ledger.jsonl         one line an input; written last: a part with this file is whole
//
// A ledger line of a part: {"ledger": {…}, "kept": {…} or null}; "kept" holds what the last pass needs.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "base/log.h"
#include "corpus/article.h"
#include "corpus/inputs.h"
#include "corpus/options.h"
#include "tokenizer/tokenizer.h"

namespace bm {

struct PartFiles {
  std::string ledger, records, filtered, tokens, keys;
  bool complete() const;
};
PartFiles part_files(const std::string& folder, size_t part);

struct PartWork {
  ArticlePolicy policy;
  CorpusSwitches switches;
  int64_t piece_words = 1000;
  const Tokenizer* tokenizer = nullptr;
  int64_t limit = -1;  // articles still allowed; -1 = no limit
};

// Reads the part, writes its files. Returns the number of articles read. `progress` counts bytes of the
// input files. Errors: writing fails, or the stop was asked for (then nothing of the part remains).
Result<int64_t> make_part(const InputPart& input, const PartFiles& files, const PartWork& work,
                          Progress& progress, uint64_t bytes_before);

// Articles of a finished part, for --limit.
Result<int64_t> count_part(const PartFiles& files);

// The outcome of an input that gave no bytes: broken, or no article by its name.
ArticleOutcome outcome_without_bytes(const RawArticle& raw);
inline constexpr std::string_view kNoArticle = "no article by its name";

}  // namespace bm
