#include "base/log.h"
#include "cli/verb.h"
#include "corpus/export.h"

namespace bm {
namespace {

std::string to;

Result<Outcome> run(const Invocation& call) {
  BM_TRY(ExportReport report, export_corpus(call.argument("DIR"), call.argument("OUT"), to, call.common));
  print_line(report.files);
  return Outcome::done;
}

const RegisterVerb verb{{
    .name = "corpus export",
    .summary = "a corpus folder in other tools' layouts",
    .details =
        "ds: datatrove's token files; npy: one NumPy array with a table of documents; jsonl: the records.",
    .example = "biomistral corpus export corpus/ corpus.ds --to ds",
    .positionals = {{.name = "DIR", .help = "folder that corpus build wrote"},
                    {.name = "OUT", .help = "file to write"}},
    .describe =
        [](Fields& fields) {
          fields.add("to", to, "layout", {.choices = {"ds", "npy", "jsonl"}});
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
