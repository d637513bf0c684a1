// `corpus extract`: the same reading and judging as a build, up to clean text, one article after another.
#pragma once

#include <functional>

#include "base/stage.h"
#include "corpus/article.h"
#include "corpus/options.h"

namespace bm {

struct ExtractCounts {
  int64_t articles = 0, kept = 0, rejected = 0, broken = 0, duplicates = 0;
};

// Calls take(outcome) for every input in order, duplicates marked; its error ends the run.
Result<ExtractCounts> extract_corpus(const CorpusOptions& options, const CommonOptions& common,
                                     const std::function<Status(const ArticleOutcome&)>& take);

}  // namespace bm
