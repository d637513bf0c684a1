// `corpus export`: a finished corpus folder in other tools' layouts.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct ExportReport {
  uint64_t documents = 0, tokens = 0;
  std::string files;  // what was written, in words
};

// to: "ds"    OUT (or OUT.ds): u16/u32 tokens, OUT.ds.index u64 ends of documents, OUT.ds.metadata
// (datatrove)
//     "npy"   OUT (or OUT.npy): one array of tokens; OUT.csv.gz: start,end,id a line, one line a document
//     "jsonl" OUT: {"id","text","metadata"} a line; compressed as its name says (.gz, .zst)
// bad_input: no finished corpus in DIR; OUT exists and --overwrite is not given.
Result<ExportReport> export_corpus(const std::string& corpus, const std::string& out, const std::string& to,
                                   const CommonOptions& common);

}  // namespace bm
