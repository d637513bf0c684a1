// One page out of one or more runs: what was done, with what, and what came of it. Everything is read
// from the stages' folders (manifest.json and the files each verb documents); scores are computed again
// from the predictions.
#pragma once

#include <string>
#include <vector>

#include "base/options.h"
#include "base/result.h"

namespace bm {

struct ReportOptions {
  std::vector<std::string> runs;  // run folders (one folder a stage) or stage folders
  std::string out;                // .html, .md or .tex
  std::string title;              // "" = from the runs' names
};
void describe(Fields& fields, ReportOptions& options);

// bad_input: no stage in a folder, an unknown ending. A stage that did not finish is named on the page.
Status write_report(const ReportOptions& options);

}  // namespace bm
