// The last pass of a build: parts → the finished files. Decides duplicates and the held-out articles.
#pragma once

#include <vector>

#include "corpus/build.h"
#include "corpus/part.h"

namespace bm {

Result<CorpusReport> assemble(const std::vector<PartFiles>& parts, const CorpusOptions& options,
                              int64_t vocabulary_size, uint64_t seed);

}  // namespace bm
