#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <vector>

#include "fixture.h"
#include "report/document.h"
#include "report/report.h"

namespace bm::testing {
namespace {

std::string page_of(const std::string& run, const std::string& ending) {
  TemporaryFolder out;
  ReportOptions options;
  options.runs = {run};
  options.out = out.file("report" + ending);
  Status status = write_report(options);
  EXPECT_TRUE(status.ok()) << status.error().paragraph();
  auto text = read_file(options.out);
  if (const char* keep = std::getenv("REPORT_KEEP"))
    (void)write_file_atomic(std::string(keep) + ending, *text);
  return text.ok() ? *text : "";
}

// Value of an attribute in a tag's text, "" when it has none.
std::string attribute(const std::string& tag, const std::string& name) {
  size_t at = tag.find(" " + name + "=\"");
  if (at == std::string::npos) return {};
  at += name.size() + 3;
  return tag.substr(at, tag.find('"', at) - at);
}

// Every tag closed in order, every & an entity, ids once, links to ids that exist, charts with a label,
// tables with column headers.
void check_well_formed(std::string html) {
  ASSERT_TRUE(starts_with(html, "<!DOCTYPE html>"));
  size_t style = html.find("<style>"), end = html.find("</style>");
  html.erase(style, end + 8 - style);
  for (size_t at = html.find("<script"); at != std::string::npos; at = html.find("<script")) {
    size_t close = html.find("</script>", at);  // what stands in a script is no markup
    ASSERT_NE(close, std::string::npos);
    html.erase(at, close + 9 - at);
  }
  std::vector<std::string> open, links;
  std::map<std::string, int> ids;
  for (size_t at = html.find('<', 1); at != std::string::npos; at = html.find('<', at + 1)) {
    size_t close = html.find('>', at);
    ASSERT_NE(close, std::string::npos);
    std::string tag = html.substr(at + 1, close - at - 1);
    ASSERT_EQ(tag.find('<'), std::string::npos) << tag;
    std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty()) << tag;
      ASSERT_EQ(open.back(), tag.substr(1));
      open.pop_back();
      continue;
    }
    if (std::string id = attribute(tag, "id"); !id.empty()) ++ids[id];
    if (name == "a") links.push_back(attribute(tag, "href"));
    if (name == "svg") {
      EXPECT_NE(attribute(tag, "aria-label"), "");
    }
    if (name == "table") {
      EXPECT_NE(html.substr(at, html.find("</table>", at) - at).find("scope=\"col\""), std::string::npos);
    }
    if (name != "meta" && tag.back() != '/') open.push_back(name);
  }
  EXPECT_TRUE(open.empty()) << open.back();
  for (const auto& [id, count] : ids) EXPECT_EQ(count, 1) << id;
  for (const std::string& link : links) EXPECT_TRUE(link[0] == '#' && ids.contains(link.substr(1))) << link;
  for (size_t at = html.find('&'); at != std::string::npos; at = html.find('&', at + 1)) {
    std::string entity = html.substr(at, html.find(';', at) + 1 - at);
    EXPECT_TRUE(entity == "&amp;" || entity == "&lt;" || entity == "&gt;" || entity == "&quot;" ||
                entity == "&#39;")
        << html.substr(at, 20);
  }
}

TEST(Report, PageOfAWholeRun) {
  TemporaryFolder folder;
  std::string run = folder.file("stories");
  write_run(run);
  std::string html = page_of(run, ".html");
  check_well_formed(html);
  for (const char* part : {"perplexity on held-out text fell from 897.8 to 66.70 (−92.6 %)",
                           "60 articles were read and 41 kept",
                           "CC BY 4.0",
                           "licence does not allow derivatives",
                           "260,032 parameters",
                           "Loss by step",
                           "MedQA",
                           "PubMedQA",
                           "chance",
                           "33.3",
                           "25.0",
                           "±",
                           "Is confidence to be trusted?",
                           "no multiple of the group of 64",
                           "2.59×",
                           "91.1 %",
                           "Compared with pretrain",
                           "Accuracy among the letters alone",
                           "would write something else",
                           "pretrain (reference)",
                           "31 %",
                           "commit 0123abc",
                           "g++ 12.2.0",
                           "12.5",
                           "Some CPU",
                           "only the first 60 items",
                           "tokens per second",
                           "Recipe of stories"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  EXPECT_EQ(html.find("<script>alert"), std::string::npos) << "text of a stage must not become markup";
  EXPECT_NE(html.find("J &lt;b&gt;Med&lt;/b&gt; &amp; Co"), std::string::npos);
  for (const char* external : {"http://", "https://", "src=", "url(", "@import"})
    EXPECT_EQ(html.find(external), std::string::npos) << external;
}

TEST(Report, ItemBrowserHoldsEveryAnswerAndNoForeignMarkup) {
  ItemBrowser browser{{"a <i>", "b"},
                      {{"medqa (en)", "q1</script><b>x", "A", {{"A", 0.517}, {"B", 0.25}}},
                       {"medqa (en)", "q2", "C", {{"C", 0.9}, {}}}},
                      "A note."};
  std::string html = browser_html(browser);
  size_t from = html.find("application/json\">") + 18, to = html.find("</script>", from);
  auto data = parse_json(html.substr(from, to - from));
  ASSERT_TRUE(data.ok()) << data.error().paragraph();
  EXPECT_EQ((*data)["rows"][0].dump(), R"([0,"q1</script><b>x","A",[["A",0.52],["B",0.25]]])");
  EXPECT_EQ((*data)["rows"][1].dump(), R"([0,"q2","C",[["C",0.9],null]])");
  EXPECT_EQ(html.find("<b>x"), std::string::npos);
  EXPECT_NE(html.find("a &lt;i&gt;"), std::string::npos);
}

TEST(Report, HeatMapAsShadesAndAsTable) {
  HeatMap map{"Languages", "model", {"en", "fr"}, {"m"}, {{60.0, std::nullopt}}, 20, 60, "A note."};
  Document page;
  page.blocks.push_back(map);
  EXPECT_NE(render_html(page).find("style=\"--v:55%\">60.0"), std::string::npos);
  EXPECT_NE(render_markdown(page).find("| m | 60.0 | – |"), std::string::npos);
}

TEST(Report, MarkdownAndLatex) {
  TemporaryFolder folder;
  std::string run = folder.file("stories");
  write_run(run);
  std::string text = page_of(run, ".md");
  EXPECT_NE(text.find("| model | Anatomy | MedQA | PubMedQA | average |"), std::string::npos)
      << text.substr(0, 3000);
  EXPECT_NE(text.find("| chance | 25.0 | 25.0 | 33.3 | 27.8 |"), std::string::npos);
  EXPECT_NE(text.find("\\<script>"), std::string::npos);
  std::string tex = page_of(run, ".tex");
  EXPECT_NE(tex.find("\\begin{document}"), std::string::npos);
  EXPECT_NE(tex.find("dare\\_ties"), std::string::npos);
  EXPECT_NE(tex.find("J <b>Med</b> \\& Co"), std::string::npos);
}

TEST(Report, UnfinishedAndSingleStages) {
  TemporaryFolder folder;
  std::string run = folder.file("stories");
  write_run(run);
  ASSERT_TRUE(remove_all(run + "/awq").ok());
  write_stage(run + "/pretrain", "pretrain", "{}", "null", "running");
  std::string html = page_of(run, ".html");
  check_well_formed(html);
  EXPECT_NE(html.find("Stage awq of the recipe has not run yet."), std::string::npos);
  EXPECT_NE(html.find("pretrain did not finish"), std::string::npos);
  EXPECT_NE(html.find("no held-out text was measured"), std::string::npos);
  check_well_formed(page_of(run + "/slerp", ".html"));
  check_well_formed(page_of(run + "/evaluate", ".html"));
  // Predictions someone else's program wrote, without any manifest.
  ASSERT_TRUE(remove_all(run + "/evaluate/manifest.json").ok());
  EXPECT_NE(page_of(run + "/evaluate", ".html").find("Anatomy"), std::string::npos);
}

TEST(Report, BadInput) {
  TemporaryFolder folder;
  ReportOptions options;
  options.out = folder.file("r.html");
  EXPECT_FALSE(write_report(options).ok());
  options.runs = {folder.file("nothing")};
  EXPECT_FALSE(write_report(options).ok());
  ASSERT_TRUE(make_directories(folder.file("empty")).ok());
  options.runs = {folder.file("empty")};
  EXPECT_FALSE(write_report(options).ok());
  write_text(folder.file("broken/manifest.json"), "{\"verb\": ");
  options.runs = {folder.file("broken")};
  auto status = write_report(options);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().paragraph().find("manifest.json"), std::string::npos);
  write_run(folder.file("run"));
  options.runs = {folder.file("run")};
  options.out = folder.file("r.pdf");
  EXPECT_FALSE(write_report(options).ok());
  EXPECT_FALSE(exists(folder.file("r.html")));
}

// A manifest whose values have other types than expected is read as if they were missing.
TEST(Report, StrangeManifests) {
  TemporaryFolder folder;
  for (const char* results : {"[]",
                              "{\"models\": 3, \"warnings\": {\"a\": 1}, \"left_as_they_are\": [4], "
                              "\"quality\": {}, \"parameters\": \"many\"}",
                              "\"text\"", "{\"bytes_before\": -5, \"bytes_after\": 0}"})
    for (const char* verb : {"corpus", "pretrain", "merge", "quantize", "compare"}) {
      std::string run = folder.file(std::string("run-") + verb);
      write_stage(run, verb, "[1, 2]", results);
      check_well_formed(page_of(run, ".html"));
    }
}

TEST(Document, Numbers) {
  EXPECT_EQ(short_number(1534.2), "1,534");
  EXPECT_EQ(short_number(-2000), "-2,000");
  EXPECT_EQ(short_number(66.7), "66.70");
  EXPECT_EQ(short_number(60), "60");
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.00213), "0.00213");
  EXPECT_EQ(short_number(NAN), "–");
  EXPECT_EQ(fixed_text(-0.04, 1), "0.0");
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(clean_text(std::string("a\x01"
                                   "b\xff",
                                   4)),
            "ab\xEF\xBF\xBD");
}

TEST(Document, ChartsOfStrangeData) {
  LineChart chart{"t", "x", "y", {{"one", {{1, NAN}}, false}}, ""};
  EXPECT_EQ(svg_of(chart), "");
  chart.series[0].points = {{1, 2}};
  EXPECT_NE(svg_of(chart).find("<polyline"), std::string::npos);
  chart.series[0].points = {{1, 2}, {2, 2}, {3, INFINITY}};
  EXPECT_EQ(svg_of(chart).find("inf"), std::string::npos);
  BarChart bars{"t", "", {{"a", "1", NAN, std::nullopt}}, std::nullopt, ""};
  EXPECT_EQ(svg_of(bars).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace bm::testing
