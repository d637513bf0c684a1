// merge CONFIG.yaml OUT
#include "merging/merge.h"

#include "base/log.h"
#include "cli/merge_table.h"
#include "cli/verb.h"

namespace bm {
namespace {

MergeOptions options;

Result<Outcome> run(const Invocation& call) {
  MergeOptions chosen = options;
  chosen.config = call.argument("CONFIG");
  chosen.out = call.argument("OUT");
  BM_TRY(MergeReport report, merge(chosen, call.common));
  if (call.common.dry_run) {
    print_merge_plan(report.summary, call.common.json);
  } else if (call.common.json) {
    print_line(report.summary.dump_spaced());
  } else if (report.already_complete) {
    print_line(chosen.out + ": already complete");
  } else {
    print_line(chosen.out + ": " + format_count(report.tensors) + " tensors, " + format_bytes(report.bytes) +
               ", " + format_duration(report.seconds));
  }
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "merge",
    .summary = "merge models as mergekit's YAML says",
    .details = "Takes mergekit's configurations (models, slices or modules; gradients, filters, per-model "
               "parameters) and "
               "mergekit-yaml's flags. Inputs are mapped, one tensor is merged at a time; a merge that was "
               "cut off goes on "
               "where it stood. --mode peer gives mergekit 0.1.5's bits, corrected (the default) computes in "
               "float32 and "
               "rounds once.",
    .example = "biomistral merge slerp.yaml merged/",
    .positionals = {{"CONFIG", "mergekit configuration (YAML)"}, {"OUT", "folder to write"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
