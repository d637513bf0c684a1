// pretrain MODEL --data DIR --out DIR
#include "training/pretrain.h"

#include "cli/train_report.h"
#include "cli/verb.h"

namespace bm {
namespace {

PretrainOptions options;

Result<Outcome> run(const Invocation& call) {
  PretrainOptions chosen = options;
  chosen.model = call.argument("MODEL");
  BM_TRY(PretrainReport report, pretrain(chosen, call.common));
  print_train_report(report, chosen.out, call.common.json);
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
