// One file's bytes → its articles: text, metadata, licence, or the reason why there is none.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "corpus/article_text.h"
#include "corpus/contamination.h"
#include "corpus/duplicates.h"
#include "corpus/language.h"
#include "corpus/licence.h"
#include "corpus/metadata.h"
#include "corpus/options.h"

namespace bm {

enum class ArticleStatus : uint8_t { kept, rejected, broken, duplicate, contaminated };
std::string_view status_name(ArticleStatus status);

// What became of one input article. Only kept ones have text.
struct ArticleOutcome {
  std::string source;
  ArticleStatus status = ArticleStatus::broken;
  std::string reason;
  std::vector<std::string> notes;  // what was repaired or guessed
  std::string id;
  ArticleMetadata metadata;
  std::vector<std::string> authors;
  Licence licence;
  std::string text;  // of kept ones, and of those a filter rejected
  int64_t words = 0;
  bool filtered = false;  // rejected by what the text is like, not by its licence
  DetectedLanguage detected;
  std::vector<std::string> abstract_languages;            // in order; only where there are several
  std::vector<std::pair<std::string, int64_t>> sections;  // words by section (SectionMark)
  ArticleKeys keys;
  std::vector<ItemMatch> items;  // of benchmarks, found in the text

  // {"id", "text", "metadata": {...}} of interface.md, "corpus"; of kept articles.
  Json record() const;
  // A line of ledger.jsonl: source, status, reason, id and the licence with its evidence.
  Json ledger() const;
};

struct ArticlePolicy {
  TextOptions text;
  std::vector<LicenceKind> licences;
  const LicenceLists* lists = nullptr;
  int64_t min_words = 1;
  uint64_t max_bytes = 0;
  std::vector<std::string> languages, filters;
  bool compare_near = false;  // make signatures
  int64_t near_min_words = 0;
  uint64_t seed = 0;  // of the lots for the held-out articles
  const BenchmarkIndex* benchmarks = nullptr;
};
ArticlePolicy make_policy(const CorpusOptions& options, const LicenceLists* lists,
                          const CorpusSwitches& switches = {}, const BenchmarkIndex* benchmarks = nullptr);

// source: "archive.tar.gz/misc/123.xml". A wrapper with several articles gives "…xml#2" for the second.
std::vector<ArticleOutcome> process_article(std::string bytes, const std::string& source,
                                            const ArticlePolicy& policy);

int64_t count_words(std::string_view text);  // separated by white space

}  // namespace bm
