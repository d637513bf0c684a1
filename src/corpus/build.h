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
  int64_t shard_parts = -1;  // parts that this shard made or found made; -1: the run was not split
  int64_t articles = 0;      // inputs that are articles
  int64_t kept = 0, rejected = 0, broken = 0, duplicates = 0, contaminated = 0, held_out = 0;
  int64_t other_files = 0;  // no articles by their names
  uint64_t tokens = 0, blocks = 0, dropped_tokens = 0;
  Json stats;  // as in stats.json
};

// Where a tokenizer lies, hashed: of a model folder the tokenizer file only.
Result<StageInput> tokenizer_input(const std::string& path);

// Writes into options.out: articles-*.jsonl.zst, tokens.bin + tokens.idx (packing.h), heldout.jsonl,
// filtered.jsonl.zst, contamination.jsonl (those asked for), ledger.jsonl, stats.json, README.md (data card),
// ATTRIBUTION.txt, manifest.json. Killed and called again it goes on with the first unfinished part.
//
// With --shard i/n only the parts i, i + n, … are made, by as many processes at once as there are shards; a
// run without --shard makes what is missing and puts all together. The bytes are the same for any n.
//
// bad_input: no such input, tokenizer, option; failed: not one article kept, or the disk.
Result<CorpusReport> build_corpus(const CorpusOptions& options, const CommonOptions& common);

}  // namespace bm
