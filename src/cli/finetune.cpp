// finetune MODEL --data FILE --out DIR
#include "training/finetune.h"

#include "cli/train_report.h"
#include "cli/verb.h"

namespace bm {
namespace {

FinetuneOptions options;

Result<Outcome> run(const Invocation& call) {
  FinetuneOptions chosen = options;
  chosen.model = call.argument("MODEL");
  BM_TRY(TrainReport report, finetune(chosen, call.common));
  print_train_report(report, chosen.out, call.common.json);
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "finetune",
    .summary = "fine-tune a model on examples: LoRA, QLoRA or all parameters",
    .details =
        "Data: JSON lines with prompt and completion, with messages (through the chat template), with text, "
        "or\n"
        "already tokenized; or --tasks medqa --data DIR, the training questions of a benchmark in "
        "BioMistral's "
        "prompt.\n"
        "MODEL may be a PEFT folder, whose adapter is then trained further. OUT/final is a PEFT folder that "
        "loads in\n"
        "PEFT, in evaluate and in `merge adapter`; with --method full a Hugging Face folder. Runs that were "
        "cut "
        "off go on.",
    .example =
        "biomistral finetune model/ --data examples.jsonl --out run/ --load nf4 --lora-rank 16 --lr 2e-4",
    .positionals = {{"MODEL", "model to start from"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
