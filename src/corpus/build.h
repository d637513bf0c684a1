// `corpus build`: articles' XML → clean, licensed, deduplicated, tokenized text (docs/corpus.md).
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "base/stage.h"
#include "corpus/options.h"

namespace bm {

struct CorpusReport {
  bool already_complete = false;
  bool dry_run = false;
  int64_t articles = 0;  // inputs that are articles
  int64_t kept = 0, rejected = 0, broken = 0, duplicates = 0, held_out = 0;
  int64_t other_files = 0;  // no articles by their names
  uint64_t tokens = 0, blocks = 0, dropped_tokens = 0;
  Json stats;  // as in stats.json
};

// Writes into options.out: articles-*.jsonl.zst, tokens.bin + tokens.idx (sequences = pieces, documents =
// articles), heldout.jsonl, ledger.jsonl, stats.json, ATTRIBUTION.txt, manifest.json. Killed and called
// again it goes on with the first unfinished part. bad_input: no such input, tokenizer, option;
// failed: not one article kept, or the disk.
// Where a tokenizer lies, hashed: of a model folder the tokenizer file only.
Result<StageInput> tokenizer_input(const std::string& path);

Result<CorpusReport> build_corpus(const CorpusOptions& options, const CommonOptions& common);

}  // namespace bm
