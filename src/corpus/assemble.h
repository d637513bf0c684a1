// The last pass of a build: parts → the finished files.
#pragma once

#include <vector>

#include "corpus/build.h"
#include "corpus/contamination.h"
#include "corpus/part.h"

namespace bm {

struct AssembleWork {
  const CorpusOptions& options;
  const CommonOptions& common;
  CorpusSwitches switches;
  const BenchmarkIndex& benchmarks;
  int64_t vocabulary_size = 0;
  int32_t filler = 0;  // token that fills blocks (best-fit packing)
};

// Files in options.out as build.h lists them. failed: parts that do not fit their ledgers, or the disk.
Result<CorpusReport> assemble(const std::vector<PartFiles>& parts, const AssembleWork& work);

}  // namespace bm
