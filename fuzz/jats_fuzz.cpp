// JATS/NLM XML → text, licence, metadata and the account of an audit.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "corpus/article.h"
#include "corpus/audit.h"
#include "corpus/xml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bm::ArticlePolicy policy = [] {
    bm::CorpusOptions options;
    options.licenses = {"cc0",      "by",       "by-sa",  "by-nd", "pd",     "by-nc",
                        "by-nc-sa", "by-nc-nd", "custom", "none",  "unknown"};
    return bm::make_policy(options, nullptr);
  }();
  std::string bytes(reinterpret_cast<const char*>(data), size);
  for (const bm::ArticleOutcome& outcome : bm::process_article(bytes, "fuzz.xml", policy))
    if (outcome.status == bm::ArticleStatus::kept) (void)outcome.record().dump();
  auto tree = bm::parse_xml(bytes);
  if (!tree.ok()) return 0;
  bm::TextOptions options;
  if (size > 0) {
    options.tables = data[size - 1] & 1 ? "markdown" : "caption";
    options.citations = data[size - 1] & 2 ? "keep" : "drop-numbers";
    options.footnotes = data[size - 1] & 4 ? "after" : "drop";
    options.formulas = data[size - 1] & 8 ? "tex" : "text";
  }
  for (pugi::xml_node article : bm::find_articles((*tree)->document)) {
    auto report = bm::audit_article(article, options);
    if (!report.ok()) continue;
    // Lost or doubled text is as much a failure as a crash.
    for (const std::string& problem : report->problems)
      if (problem.rfind("lost", 0) == 0 || problem.rfind("accounted", 0) == 0) abort();
  }
  return 0;
}
