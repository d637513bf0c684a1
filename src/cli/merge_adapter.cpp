#include "model/merge_adapter.h"

#include "base/log.h"
#include "cli/verb.h"

namespace bm {
namespace {

MergeAdapterOptions options;

const RegisterVerb merge_adapter_verb{{
    .name = "merge adapter",
    .summary = "a PEFT LoRA adapter into the weights of its base model",
    .details = "W + s·B·A is computed in float32 and rounded once to the dtype the base stores, as PEFT's "
               "merge_and_unload\n"
               "does; rsLoRA, rank and alpha patterns and DoRA included. A quantized or GGUF base is decoded "
               "first and\n"
               "written as bfloat16, or as --dtype says.",
    .example = "biomistral merge adapter BioMistral-7B my-lora merged",
    .positionals = {{"MODEL", "base model: folder or .gguf"},
                    {"ADAPTER", "folder with adapter_config.json"},
                    {"OUT", "folder to write"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = [](const Invocation& call) -> Result<Outcome> {
      const std::string &model = call.argument("MODEL"), &adapter = call.argument("ADAPTER"),
                        &out = call.argument("OUT");
      StageIdentity identity{.verb = "merge adapter",
                             .options = {},
                             .inputs = {},
                             .seed = call.common.seed_or(0),
                             .mode = call.common.mode};
      Fields fields;
      describe(fields, options);
      identity.options = fields.dump_identity();
      BM_TRY(MergeAdapterReport plan,
             plan_merge_adapter(model, adapter, options));  // refuses before anything is written
      if (call.common.dry_run) {
        print_line("would merge " + std::to_string(plan.merged) + " matrices, replace " +
                   std::to_string(plan.replaced) + " tensors, copy " + std::to_string(plan.copied) + "; " +
                   out + " will take " + format_bytes(plan.bytes));
        return Outcome::done;
      }
      BM_TRY(auto base_input, stage_input("model", model));
      BM_TRY(auto adapter_input, stage_input("adapter", adapter));
      identity.inputs = {base_input, adapter_input};
      BM_TRY(StageFolder folder, StageFolder::open(out, identity, call.common.overwrite));
      if (folder.state() == StageFolder::State::complete) return Outcome::done;
      BM_TRY(MergeAdapterReport report, merge_adapter(model, adapter, out, options));
      BM_CHECK_OK(folder.finish(Json::object({{"merged_tensors", report.merged},
                                              {"replaced_tensors", report.replaced},
                                              {"copied_tensors", report.copied},
                                              {"bytes", report.bytes}})));
      print_line(out + ": " + std::to_string(report.merged) + " matrices merged, " +
                 format_bytes(report.bytes));
      return Outcome::done;
    },
}};

}  // namespace
}  // namespace bm
