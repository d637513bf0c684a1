#include <optional>

#include "cli/corpus_input.h"
#include "cli/verb.h"
#include "corpus/extract.h"
#include "formats/jsonl.h"

namespace bm {
namespace {

CorpusOptions options;
std::string ledger_path;

Result<Outcome> run(const Invocation& call) {
  options.inputs = call.arguments_of("INPUT");
  std::optional<JsonlWriter> ledger;
  if (!ledger_path.empty() && !call.common.dry_run) {
    BM_TRY(JsonlWriter writer, JsonlWriter::create(ledger_path));
    ledger.emplace(std::move(writer));
  }
  BM_TRY(ExtractCounts counts,
         extract_corpus(options, call.common, [&](const ArticleOutcome& outcome) -> Status {
           if (ledger) BM_CHECK_OK(ledger->write(outcome.ledger()));
           if (outcome.status == ArticleStatus::kept && !call.common.dry_run)
             print_line(outcome.record().dump());
           return {};
         }));
  if (ledger) BM_CHECK_OK(ledger->commit());
  return counts.broken > 0 ? Outcome::partial : Outcome::done;
}

const RegisterVerb verb{{
    .name = "corpus extract",
    .summary = "articles' XML → clean text as JSON lines",
    .details = "The reading, licence and text rules of corpus build, without tokens: one record an article "
               "on standard\n"
               "output, the ledger in a file if wanted.",
    .example = "biomistral corpus extract articles/ --ledger ledger.jsonl > articles.jsonl",
    .positionals = {corpus_input()},
    .describe =
        [](Fields& fields) {
          fields.add("ledger", ledger_path, "write a line an input here",
                     {.unit = "file", .result_neutral = true});
          describe(fields, options.text);
          describe_selection(fields, options);
          describe_decontamination(fields, options);
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
