#include "report/report.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/stage.h"
#include "base/system.h"
#include "report/sections.h"

namespace bm {

void add_provenance(const std::vector<Run>& runs, Document& page, Facts& facts) {
  ReportTable stages{"Stages",
                     {text_cell("stage"), text_cell("verb"), text_cell("status"), text_cell("mode"),
                      number_cell(std::string("seed")), number_cell(std::string("time")),
                      number_cell(std::string("peak memory"))},
                     {},
                     "",
                     0};
  ReportTable inputs{"Inputs and their SHA-256",
                     {text_cell("stage"), text_cell("input"), text_cell("path"), text_cell("SHA-256")},
                     {},
                     "",
                     0};
  std::set<std::string> versions;
  page.blocks.push_back(Heading{2, "How it was made"});
  for (const Run& run : runs)
    for (const Stage& stage : run.stages) {
      const Json& m = stage.manifest;
      if (m.is_null()) continue;
      auto memory = number_of(m["peak_memory_bytes"]);
      stages.rows.push_back({text_cell(stage.name), text_cell(stage.verb),
                             text_cell(stage.complete ? "complete" : "not finished"),
                             text_cell(string_of(m["mode"])),
                             number_cell(m["seed"].is_integer() ? m["seed"].dump() : "–"),
                             number_cell(stage.seconds > 0 ? format_duration(stage.seconds) : "–"),
                             number_cell(memory ? format_bytes(static_cast<uint64_t>(*memory)) : "–")});
      for (const Json& input : m["inputs"].items())
        inputs.rows.push_back({text_cell(stage.name), text_cell(string_of(input["role"])),
                               text_cell(string_of(input["path"])), text_cell(string_of(input["sha256"]))});
      std::string commit = string_of(m["commit"]);
      versions.insert(string_of(m["program"]) + " " + string_of(m["version"]) +
                      (commit.empty() ? "" : ", commit " + commit) + ", " + string_of(m["compiler"]));
      if (!stage.complete)
        facts.warnings.push_back(stage.name +
                                 " did not finish: its figures are those of the moment this page was made.");
    }
  std::string made;
  for (const std::string& version : versions) made += (made.empty() ? "" : "; ") + version;
  for (const Run& run : runs)
    if (std::string cpu = string_of(run.manifest["cpu"]); !cpu.empty()) made += "; run on " + cpu;
  if (!made.empty()) page.blocks.push_back(Paragraph{"Made with " + made + "."});
  if (!stages.rows.empty()) page.blocks.push_back(std::move(stages));
  if (!inputs.rows.empty()) page.blocks.push_back(Folded{"Inputs and their hashes", std::move(inputs)});
  for (const Run& run : runs) {
    if (!run.recipe.empty()) page.blocks.push_back(Listing{"Recipe of " + run.name, run.recipe});
    for (const std::string& name : run.missing)
      facts.warnings.push_back("Stage " + name + " of the recipe has not run yet.");
    for (const Stage& stage : run.stages)
      if (stage.options().size() > 0)
        page.blocks.push_back(Listing{"Options of " + stage.name, stage.options().dump_pretty()});
  }
}

namespace {

Result<Document> make_page(const ReportOptions& options) {
  std::vector<Run> runs;
  for (const std::string& folder : options.runs) {
    BM_TRY(Run run, gather_run(folder));
    runs.push_back(std::move(run));
  }
  Document body;
  Facts facts;
  for (const Run& run : runs) {
    for (const Stage& stage : run.stages) {
      if (stage.verb == "corpus" || stage.verb == "corpus build") add_corpus(stage, body, facts);
      if (stage.verb == "pretrain" || stage.verb == "finetune") add_training(stage, body, facts);
    }
    add_models(run, body, facts);
    for (const Stage& stage : run.stages) {
      if (stage.verb == "compare") add_comparison(stage, body, facts);
      if (stage.verb == "evaluate") BM_CHECK_OK(add_evaluation(stage, body, facts).in(stage.folder));
    }
  }
  if (facts.parameters > 0 && facts.parameters < 20e6)
    facts.warnings.insert(facts.warnings.begin(),
                          fmt::format("The model has {} parameters: it can learn to write more like its "
                                      "texts, but it cannot know medicine; "
                                      "read benchmark scores as a test of the machinery.",
                                      short_number(facts.parameters)));
  add_provenance(runs, body, facts);
  Document page;
  page.title = options.title;
  for (const Run& run : runs)
    if (options.title.empty()) page.title += (page.title.empty() ? "" : ", ") + run.name;
  page.subtitle = "biomistral report of " + utc_timestamp();
  page.blocks.push_back(Heading{2, "In short"});
  page.blocks.push_back(BulletList{facts.sentences, false});
  if (!facts.warnings.empty()) {
    page.blocks.push_back(Heading{2, "Read with care"});
    page.blocks.push_back(BulletList{facts.warnings, true});
  }
  for (Block& block : body.blocks) page.blocks.push_back(std::move(block));
  return page;
}

}  // namespace

void describe(Fields& f, ReportOptions& o) {
  f.add("out", o.out, "file to write: .html, .md or .tex", {.unit = "file", .result_neutral = true});
  f.add("title", o.title, "title of the page; default: the runs' names");
}

Status write_report(const ReportOptions& options) {
  if (options.runs.empty()) return bad_input("no run is given", "Give the folder of a run or of its stages.");
  bool html = ends_with(options.out, ".html") || ends_with(options.out, ".htm"),
       markdown = ends_with(options.out, ".md"), tex = ends_with(options.out, ".tex");
  if (!html && !markdown && !tex)
    return bad_input("--out \"" + options.out + "\" has no ending a report knows",
                     "End it in .html, .md or .tex.");
  BM_TRY(Document page, make_page(options));
  return write_file_atomic(options.out, html       ? render_html(page)
                                        : markdown ? render_markdown(page)
                                                   : render_latex(page));
}

}  // namespace bm
