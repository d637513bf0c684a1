#include "pipeline/run.h"

#include "base/log.h"
#include "cli/verb.h"

namespace bm {
namespace {

const RegisterVerb run_verb{{
    .name = "run",
    .summary = "every stage of a recipe, resumable: corpus, pretrain, merge, quantize, evaluate, report",
    .details = "A recipe is YAML: a base model and a list of stages, each a verb of this program with its "
               "flags as keys.\n"
               "A stage refers to another by name (`model: pretrain`). Each stage gets a folder below OUT. "
               "Run the same\n"
               "command again after an interruption: finished stages are skipped, the one cut off goes on "
               "where it was.",
    .example = "biomistral run recipes/demo.yaml demo-out",
    .positionals = {{"RECIPE", "YAML file"}, {"OUT", "folder for all stages"}},
    .run = [](const Invocation& call) -> Result<Outcome> {
      BM_TRY(RunReport report, run_recipe(call.argument("RECIPE"), call.argument("OUT"), call.common));
      if (call.common.dry_run) return Outcome::done;
      std::vector<std::vector<std::string>> rows;
      for (const StageRun& stage : report.stages)
        rows.push_back({stage.name, stage.verb, format_duration(stage.seconds), stage.folder});
      print_table({"stage", "verb", "time", "folder"}, rows);
      if (!report.report.empty()) print_line("report: " + report.report);
      return Outcome::done;
    },
}};

}  // namespace
}  // namespace bm
