// report RUN... --out FILE
#include "report/report.h"

#include "cli/verb.h"

namespace bm {
namespace {

ReportOptions options;

Result<Outcome> run(const Invocation& call) {
  ReportOptions chosen = options;
  chosen.runs = call.arguments_of("RUN");
  if (chosen.out.empty())
    return bad_input("--out is missing", "Name the file to write: --out report.html (or .md, .tex).");
  if (call.common.dry_run) {
    print_line("would write " + chosen.out);
    return Outcome::done;
  }
  BM_CHECK_OK(write_report(chosen));
  print_line(chosen.out);
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "report",
    .summary = "one page out of one or more runs",
    .details = "Reads the folder of `biomistral run`, or folders of single stages, and writes one page that "
               "needs no other file: "
               "the course of training, scores with chance levels and spreads, calibration, merges, "
               "quantized models, sizes, "
               "seeds, hashes and versions. Scores are computed again from the predictions.",
    .example = "biomistral report demo-out/stories --out report.html",
    .positionals = {{"RUN", "run folder, or stage folder", true, true}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
