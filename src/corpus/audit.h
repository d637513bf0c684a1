// `corpus audit`: where every text node of an article went. The list of nodes is made by a walk of its
// own over the XML; each must have landed in the text exactly once or been dropped exactly once under a
// named rule, and what landed must be the node's characters (white space, scripts' characters and the
// marks of tables aside).
#pragma once

#include <map>
#include <pugixml.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/stage.h"
#include "corpus/options.h"

namespace bm {

struct AuditTally {
  int64_t nodes = 0;
  int64_t characters = 0;  // bytes without white space
};

struct AuditReport {
  std::string source;
  std::map<std::string, AuditTally> landed, dropped;
  AuditTally total;
  int64_t white_space_nodes = 0;
  std::vector<std::string> problems;  // lost, twice, changed: with the node's path and its beginning
};

Json audit_json(const AuditReport& report);
void add_audit(AuditReport& sum, const AuditReport& one);

// bad_input: nested too deep. What is wrong with the account stands in problems.
Result<AuditReport> audit_article(pugi::xml_node article, const TextOptions& options);

// Audits all articles of the inputs; the reports in order. Broken files get a report with the problem.
Result<std::vector<AuditReport>> audit_corpus(const CorpusOptions& options, const CommonOptions& common);

}  // namespace bm
