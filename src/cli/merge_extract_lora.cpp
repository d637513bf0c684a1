// merge extract-lora MODEL BASE OUT
#include <cstdio>

#include "cli/verb.h"
#include "merging/extract_lora.h"

namespace bm {
namespace {

ExtractLoraOptions options;

Result<Outcome> run(const Invocation& call) {
  const std::string& out = call.argument("OUT");
  BM_TRY(Json results,
         extract_lora(call.argument("MODEL"), call.argument("BASE"), out, options, call.common));
  if (call.common.json) {
    print_line(results.dump_spaced());
  } else if (call.common.dry_run) {
    print_line("would compare " + std::to_string(results["tensors"].as_uint()) + " tensors and keep rank " +
               std::to_string(options.rank));
  } else {
    char lost[32];
    std::snprintf(lost, sizeof lost, "%.2f", 100 * results["relative_error"].as_double());
    print_line(out + ": " + std::to_string(results["modules"].size()) + " matrices of rank " +
               std::to_string(options.rank) + ", " + std::to_string(results["whole"].size()) +
               " tensors whole; " + lost + " % of the matrices' difference is lost");
  }
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "merge extract-lora",
    .summary = "the difference of two models as a PEFT LoRA adapter",
    .details = "Cuts the difference of each linear layer to its largest singular values, as "
               "mergekit-extract-lora does, and stores "
               "norms and embeddings whole where they differ. merge adapter BASE OUT puts it back.",
    .example = "biomistral merge extract-lora BioMistral-7B Mistral-7B-Instruct-v0.1 lora/ --rank 64",
    .positionals = {{"MODEL", "fine-tuned model"},
                    {"BASE", "the model it was made from"},
                    {"OUT", "folder to write"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
