// Merged and quantized models, sizes, and comparisons with a reference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "report/sections.h"

namespace bm {
namespace {

std::string size_text(uint64_t bytes) { return bytes ? format_bytes(bytes) : "–"; }

void merge_rows(const Run& run, Document& page, Facts& facts) {
  ReportTable table{
      "Merged models",
      {text_cell("model"), text_cell("method"), text_cell("mode"), number_cell(std::string("tensors")),
       number_cell(std::string("layers")), text_cell("type"), number_cell(std::string("seed"))},
      {},
      "",
      0};
  std::string names;
  for (const Stage& stage : run.stages) {
    if (stage.verb != "merge") continue;
    const Json& r = stage.results();
    table.rows.push_back({text_cell(stage.name), text_cell(string_of(r["method"])),
                          text_cell(string_of(r["mode"])), number_cell(r["tensors"]),
                          number_cell(r["layers"]), text_cell(string_of(r["dtype"])),
                          number_cell(r["seed"])});
    names += (names.empty() ? "" : ", ") + stage.name + " (" + string_of(r["method"]) + ")";
    for (const Json& warning : r["warnings"].items())
      if (warning.is_string()) facts.warnings.push_back(stage.name + ": " + warning.as_string());
  }
  if (table.rows.empty()) return;
  facts.sentences.push_back("Merged: " + names + ".");
  page.blocks.push_back(Heading{2, "Merged models"});
  page.blocks.push_back(std::move(table));
}

// What was left unquantized, grouped by its reason.
std::vector<std::string> left_alone(const Json& results) {
  std::map<std::string, std::vector<std::string>> reasons;
  for (const Json& entry : results["left_as_they_are"].items())
    reasons[string_of(entry["reason"])].push_back(string_of(entry["module"]));
  std::vector<std::string> lines;
  for (const auto& [reason, modules] : reasons)
    lines.push_back(
        (modules.size() == 1 ? modules[0] : fmt::format("{} linears, e.g. {}", modules.size(), modules[0])) +
        ": " + reason);
  return lines;
}

void quantized_row(const Stage& stage, ReportTable& table, ReportTable& quality) {
  const Json& r = stage.results();
  auto before = number_of(r["bytes_before"]), after = number_of(r["bytes_after"]);
  std::string ratio = before && after && *after > 0 ? fixed_text(*before / *after, 2) + "×" : "–";
  table.rows.push_back(
      {text_cell(stage.name), text_cell(string_of(stage.options()["method"])),
       number_cell(r["quantized_linears"]), number_cell(std::to_string(r["left_as_they_are"].size())),
       number_cell(before ? size_text(static_cast<uint64_t>(*before)) : "–"),
       number_cell(after ? size_text(static_cast<uint64_t>(*after)) : "–"), number_cell(ratio)});
  const Json& q = r["quality"];
  if (!q.is_object()) return;
  auto agreement = number_of(q["top_token_agreement"]);
  quality.rows.push_back(
      {text_cell(stage.name), number_cell(q["perplexity_original"]), number_cell(q["perplexity_quantized"]),
       number_cell(q["kl_mean"]), number_cell(q["kl_99"]), number_cell(q["kl_max"]),
       number_cell(agreement ? fixed_text(100 * *agreement, 1) + " %" : "–"), number_cell(q["tokens"])});
}

void quantized_models(const Run& run, Document& page, Facts& facts) {
  ReportTable table{"Quantized models",
                    {text_cell("model"), text_cell("method"), number_cell(std::string("linears quantized")),
                     number_cell(std::string("left as they are")), number_cell(std::string("before")),
                     number_cell(std::string("after")), number_cell(std::string("smaller"))},
                    {},
                    "Sizes are of the weights; what is not quantized counts on both sides.",
                    0};
  ReportTable quality{"What quantizing lost, measured on a text",
                      {text_cell("model"), number_cell(std::string("perplexity before")),
                       number_cell(std::string("after")), number_cell(std::string("KL, mean")),
                       number_cell(std::string("99 %")), number_cell(std::string("max")),
                       number_cell(std::string("same top token")), number_cell(std::string("tokens"))},
                      {},
                      "KL: divergence of the next-token distributions from the unquantized model's, in nats.",
                      0};
  std::vector<std::string> left;
  for (const Stage& stage : run.stages) {
    if (stage.verb != "quantize") continue;
    quantized_row(stage, table, quality);
    for (const std::string& line : left_alone(stage.results()))
      left.push_back(stage.name + " left as it is: " + line);
    for (const Json& line : stage.results()["unscaled_groups"].items())
      if (line.is_string()) left.push_back(stage.name + " without scaling: " + line.as_string());
    auto before = number_of(stage.results()["bytes_before"]),
         after = number_of(stage.results()["bytes_after"]);
    if (before && after)
      facts.sentences.push_back(
          fmt::format("{}: {} weights went from {} to {}.", stage.name, string_of(stage.options()["method"]),
                      size_text(static_cast<uint64_t>(*before)), size_text(static_cast<uint64_t>(*after))));
  }
  if (table.rows.empty()) return;
  page.blocks.push_back(Heading{2, "Quantized models"});
  page.blocks.push_back(std::move(table));
  if (!left.empty()) page.blocks.push_back(BulletList{left, false});
  for (const std::string& line : left) facts.warnings.push_back(line);
  if (!quality.rows.empty()) page.blocks.push_back(std::move(quality));
}

void sizes(const Run& run, Document& page) {
  BarChart chart{"Size of the weights on disk", "bytes", {}, std::nullopt, ""};
  auto add = [&](const std::string& name, const std::string& path) {
    uint64_t bytes = path.empty() ? 0 : weight_bytes(path);
    if (bytes) chart.bars.push_back({name, format_bytes(bytes), static_cast<double>(bytes), std::nullopt});
  };
  add("base", run.base_model);
  for (const Stage& stage : run.stages) add(stage.name, stage_model(stage));
  if (chart.bars.size() < 2) return;
  for (const auto& bar : chart.bars)
    chart.description += (chart.description.empty() ? "" : "; ") + bar.label + " " + bar.value_text;
  page.blocks.push_back(Heading{2, "Sizes"});
  page.blocks.push_back(std::move(chart));
}

// Rows of a comparison: a list of objects, or an object of objects by name.
std::vector<std::pair<std::string, Json>> comparison_rows(const Json& results) {
  std::vector<std::pair<std::string, Json>> rows;
  const Json& models = results["models"];
  if (models.is_array())
    for (const Json& model : models.items()) {
      std::string name = string_of(model["name"]);
      if (name.empty()) name = string_of(model["model"]);
      rows.emplace_back(name.find('/') == std::string::npos
                            ? name
                            : path_name(ends_with(name, "/final") ? path_parent(name) : name),
                        model);
    }
  for (const Json::Member& member : models.is_object() ? models.members() : std::vector<Json::Member>{})
    rows.emplace_back(member.first, member.second);
  return rows;
}

}  // namespace

void add_models(const Run& run, Document& page, Facts& facts) {
  merge_rows(run, page, facts);
  quantized_models(run, page, facts);
  sizes(run, page);
}

void add_comparison(const Stage& stage, Document& page, Facts&) {
  Json results = stage.results();
  if (auto file = read_json_file(path_join(stage.folder, "compare.json")); file.ok()) results = *file;
  auto rows = comparison_rows(results);
  if (rows.empty()) return;
  std::string reference = string_of(results["reference"]).empty() ? string_of(stage.options()["reference"])
                                                                  : string_of(results["reference"]);
  reference = path_name(ends_with(reference, "/final") ? path_parent(reference) : reference);
  // The reference itself as the first row, from what each comparison says of it.
  Json own = Json::object();
  if (auto perplexity = number_of(rows[0].second["reference_perplexity"])) own.set("perplexity", *perplexity);
  if (own.size() > 0) rows.insert(rows.begin(), {reference + " (reference)", own});
  for (auto& [name, values] : rows)
    if (auto error = number_of(values["weights"]["relative_error"])) values.set("weight_error", 100 * *error);
  std::vector<std::pair<std::string, std::string>> columns = {{"perplexity", "perplexity"},
                                                              {"bits_per_byte", "bits per byte"},
                                                              {"kl_mean", "KL, mean"},
                                                              {"kl_99", "KL, 99 %"},
                                                              {"kl_max", "KL, max"},
                                                              {"top_token_agreement", "same top token"},
                                                              {"weight_error", "weights differ by"}};
  ReportTable table{"Compared with " + reference + " on held-out text", {text_cell("model")}, {}, "", 0};
  std::erase_if(columns, [&](const auto& column) {
    return std::none_of(rows.begin(), rows.end(),
                        [&](const auto& row) { return row.second[column.first].is_number(); });
  });
  for (const auto& column : columns) table.header.push_back(number_cell(column.second));
  BarChart chart{"Perplexity on held-out text (lower is better)", "", {}, std::nullopt, ""};
  for (const auto& [name, values] : rows) {
    std::vector<Cell> row = {text_cell(name)};
    for (const auto& column : columns) {
      auto value = number_of(values[column.first]);
      if (value && column.first == "top_token_agreement")
        row.push_back(number_cell(fixed_text(100 * *value, 1) + " %"));
      else if (value && column.first == "weight_error")
        row.push_back(number_cell(short_number(*value) + " %"));
      else
        row.push_back(number_cell(values[column.first]));
    }
    table.rows.push_back(std::move(row));
    if (auto perplexity = number_of(values["perplexity"]))
      chart.bars.push_back({name, short_number(*perplexity), *perplexity, std::nullopt});
  }
  table.note =
      "KL: divergence of the next-token distributions from the reference's, in nats; weights: root of the "
      "squared differences over that of the squares. " +
      string_of(results["protocol"]);
  page.blocks.push_back(Heading{2, "Models side by side"});
  for (const auto& bar : chart.bars)
    chart.description += (chart.description.empty() ? "" : "; ") + bar.label + " " + bar.value_text;
  if (chart.bars.size() > 1) page.blocks.push_back(std::move(chart));
  page.blocks.push_back(std::move(table));
}

}  // namespace bm
