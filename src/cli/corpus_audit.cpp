#include "cli/corpus_input.h"
#include "cli/verb.h"
#include "corpus/audit.h"

namespace bm {
namespace {

CorpusOptions options;
bool per_article = false;

std::string share(int64_t part, int64_t whole) {
  int64_t tenths = whole ? (part * 1000 + whole / 2) / whole : 0;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " %";
}

void show(const AuditReport& sum, size_t articles) {
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const char* fate, const std::map<std::string, AuditTally>& tallies) {
    for (const auto& [rule, tally] : tallies)
      rows.push_back({fate, rule, std::to_string(tally.nodes), std::to_string(tally.characters),
                      share(tally.characters, sum.total.characters)});
  };
  add("in the text", sum.landed);
  add("left out", sum.dropped);
  rows.push_back({"all", std::to_string(articles) + " articles", std::to_string(sum.total.nodes),
                  std::to_string(sum.total.characters), "100.0 %"});
  print_table({"where", "rule", "text nodes", "bytes without spaces", "share"}, rows);
  for (const std::string& problem : sum.problems) print_line(problem);
}

Result<Outcome> run(const Invocation& call) {
  options.inputs = call.arguments_of("INPUT");
  BM_TRY(std::vector<AuditReport> reports, audit_corpus(options, call.common));
  AuditReport sum;
  for (const AuditReport& report : reports) {
    add_audit(sum, report);
    if (per_article && call.common.json) {
      print_line(audit_json(report).dump());
    } else if (per_article) {
      print_line(report.source);
      show(report, 1);
    }
  }
  sum.source = "sum of " + std::to_string(reports.size()) + " articles";
  if (call.common.json)
    print_line(audit_json(sum).dump());
  else
    show(sum, reports.size());
  return sum.problems.empty() ? Outcome::done : Outcome::partial;
}

const RegisterVerb verb{{
    .name = "corpus audit",
    .summary = "where every text node of articles went, by rule",
    .details = "Each text node must land in the text exactly once or be left out under a named rule; "
               "anything else is\n"
               "listed as a problem, and the exit code is 3.",
    .example = "biomistral corpus audit PMC123.xml --per-article",
    .positionals = {corpus_input()},
    .describe =
        [](Fields& fields) {
          fields.add("per-article", per_article, "an account for each article before the sum");
          describe(fields, options.text);
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
