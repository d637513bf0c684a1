// One file's bytes → its articles: text, metadata, licence, or the reason why there is none.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
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
  std::string text;
  int64_t words = 0;
  std::string
      content_key;  // 32 hex digits: the same for texts that differ in case, punctuation or spacing only

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
};
ArticlePolicy make_policy(const CorpusOptions& options, const LicenceLists* lists);

// source: "archive.tar.gz/misc/123.xml". A wrapper with several articles gives "…xml#2" for the second.
std::vector<ArticleOutcome> process_article(std::string bytes, const std::string& source,
                                            const ArticlePolicy& policy);

int64_t count_words(std::string_view text);  // separated by white space

}  // namespace bm
