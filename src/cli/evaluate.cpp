// biomistral evaluate MODEL... --tasks LIST --out DIR
#include "evaluation/evaluate.h"

#include "cli/verb.h"

namespace bm {
namespace {

EvaluateOptions options;

Result<Outcome> run(const Invocation& call) {
  options.models = call.arguments_of("MODEL");
  BM_TRY(auto report, evaluate(options, call.common));
  if (call.common.json)
    print_line(report.metrics.dump_pretty());
  else if (!options.from_predictions.empty() && report.out.empty())
    print_line(report.metrics.dump_pretty());
  else
    print(report.table);
  return report.failed_items ? Outcome::partial : Outcome::done;
}

const RegisterVerb evaluate_verb{{
    .name = "evaluate",
    .summary = "the medical question-answering benchmark",
    .details = "Asks multiple-choice questions with few-shot prompts and scores the next token (or lm-eval's "
               "log-likelihoods). "
               "Writes predictions, metrics.json, results.json, .md, .tex and .csv; exit code 3 says "
               "that some rows or "
               "items stand in ledger.jsonl. Interrupted runs resume when the command is given again.\n"
               "--from-predictions DIR scores predictions that are there already (ours, the original's JSON "
               "lists, and some "
               "published layouts); without --out it prints the metrics.",
    .example = "biomistral evaluate base/ merged/ --tasks biomistral --data data/ --shots 3 --draws 3 --out "
               "results/",
    .positionals = {{"MODEL", "model folders, .gguf files or adapters", false, true}},
    .describe = [](Fields& f) { describe(f, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
