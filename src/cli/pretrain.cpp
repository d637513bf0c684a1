// pretrain MODEL --data DIR --out DIR
#include "training/pretrain.h"

#include <cmath>
#include <cstdio>

#include "base/log.h"
#include "cli/verb.h"

namespace bm {
namespace {

PretrainOptions options;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string in_words(const PretrainReport& report, const std::string& out) {
  if (report.dry_run)
    return "would take " + format_count(static_cast<uint64_t>(report.steps)) +
           " steps: " + report.summary.dump_spaced();
  std::string text = out + ": " + (report.already_complete ? "already complete, " : "") +
                     format_count(static_cast<uint64_t>(report.steps)) + " steps, " +
                     format_count(report.tokens) + " tokens, loss " + number(report.first_loss) + " → " +
                     number(report.last_loss);
  if (report.first_held_out_loss && report.last_held_out_loss)
    text += ", held-out perplexity " + number(std::exp(*report.first_held_out_loss)) + " → " +
            number(std::exp(*report.last_held_out_loss));
  return text;
}

Result<Outcome> run(const Invocation& call) {
  PretrainOptions chosen = options;
  chosen.model = call.argument("MODEL");
  BM_TRY(PretrainReport report, pretrain(chosen, call.common));
  print_line(call.common.json ? report.summary.dump_spaced() : in_words(report, chosen.out));
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "pretrain",
    .summary = "continue a model's pre-training, all parameters",
    .details =
        "AdamW as transformers' Trainer runs it. Writes OUT/metrics.jsonl (a line a step), "
        "OUT/checkpoints/step-N (a run that was cut "
        "off goes on from the newest whole one, to the same bits) and OUT/final, a Hugging Face folder.",
    .example = "biomistral pretrain model/ --data corpus/ --out run/ --steps 100 --lr 2e-5",
    .positionals = {{"MODEL", "model to start from"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
