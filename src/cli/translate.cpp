// biomistral translate --tasks LIST --to fr,de --endpoint URL --out DIR
#include "translation/translate.h"

#include <fmt/format.h>

#include "cli/verb.h"

namespace bm {
namespace {

TranslateOptions options;

Result<Outcome> run(const Invocation& call) {
  BM_TRY(auto report, translate(options, call.common));
  if (call.common.dry_run) return Outcome::done;
  if (call.common.json) {
    print_line(report.cost.dump_pretty());
  } else {
    print_line(fmt::format(
        "{} items translated, {} failed, {} doubtful; {} calls, {} + {} tokens, cost {:.4f}",
        report.cost["translated"].as_int(), report.cost["failed"].as_int(), report.cost["doubtful"].as_int(),
        report.cost["calls"].as_int(), report.cost["prompt_tokens"].as_int(),
        report.cost["completion_tokens"].as_int(), report.cost["cost"].as_double()));
    if (report.failed) print_line("give the same command again to ask once more for those that failed");
  }
  return report.failed || report.broken ? Outcome::partial : Outcome::done;
}

const RegisterVerb translate_verb{{
    .name = "translate",
    .summary = "the benchmark's items into other languages",
    .details =
        "Asks an OpenAI-style endpoint for each item's question, options and context as JSON and checks the "
        "replies: letters, numbers, units, negations, language, options that became equal. What is refused "
        "is asked again with the reason; a failed item never stops the run.\n"
        "Writes <task>.<language>.jsonl for `evaluate --items`, ledger.jsonl (every call with tokens and "
        "cost, every failed item), cache.jsonl and cost.json. The same command resumes and asks only for "
        "what is missing; exit code 3 says that items failed. The key is read from the environment and "
        "never stored.",
    .example = "biomistral translate --tasks medqa --to fr,de --data data/ --endpoint "
               "http://localhost:8000/v1 --model NAME --out translated/",
    .positionals = {},
    .describe = [](Fields& f) { describe(f, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
