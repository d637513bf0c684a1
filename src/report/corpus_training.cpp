// Corpus statistics and the course of training.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "report/sections.h"

namespace bm {

std::optional<double> number_of(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  double number = value.as_double();
  return std::isfinite(number) ? std::optional<double>(number) : std::nullopt;
}
std::string string_of(const Json& value) { return value.is_string() ? value.as_string() : std::string(); }
Cell text_cell(std::string text) { return {std::move(text), false, false}; }
Cell number_cell(std::string text) { return {std::move(text), true, false}; }
Cell number_cell(const Json& value, int decimals) {
  auto number = number_of(value);
  if (!number) return number_cell(std::string("–"));
  return number_cell(decimals < 0 ? short_number(*number) : fixed_text(*number, decimals));
}

namespace {

std::string count_text(const Json& value) {
  auto number = number_of(value);
  return number && *number >= 0 ? format_count(static_cast<uint64_t>(*number)) : "–";
}

// {name: {"articles", "words", "tokens"}} as rows; the rest of a long list in one row.
ReportTable tally_table(const Json& tallies, const std::string& caption, const std::string& first,
                        size_t limit) {
  ReportTable table{caption,
                    {text_cell(first), number_cell(std::string("articles")),
                     number_cell(std::string("words")), number_cell(std::string("tokens"))},
                    {},
                    "",
                    0};
  double rest[3] = {0, 0, 0};
  size_t others = 0;
  for (const Json::Member& member : tallies.members()) {
    const Json& t = member.second;
    if (table.rows.size() < limit) {
      table.rows.push_back({text_cell(member.first), number_cell(count_text(t["articles"])),
                            number_cell(count_text(t["words"])), number_cell(count_text(t["tokens"]))});
      continue;
    }
    ++others;
    size_t column = 0;
    for (const char* key : {"articles", "words", "tokens"}) rest[column++] += number_of(t[key]).value_or(0);
  }
  if (others)
    table.rows.push_back({text_cell(fmt::format("{} others", others)), number_cell(count_text(Json(rest[0]))),
                          number_cell(count_text(Json(rest[1]))), number_cell(count_text(Json(rest[2])))});
  return table;
}

struct TrainingLog {
  Series loss{"training loss", {}, false}, held_out{"held-out loss", {}, true},
      rate{"learning rate", {}, false};
  double tokens_per_second = 0, clipped = 0;
  size_t steps = 0;
};

TrainingLog read_log(const std::string& folder) {
  TrainingLog log;
  auto before = read_json_file(path_join(folder, "evaluation_before.json"));
  if (before.ok())
    if (auto loss = number_of((*before)["evaluate_loss"])) log.held_out.points.emplace_back(0.0, *loss);
  auto text = read_file(path_join(folder, "metrics.jsonl"));
  if (!text.ok()) return log;
  std::vector<double> rates;
  for (const std::string& line : split(*text, '\n')) {
    auto entry = parse_json(line);
    if (!entry.ok()) continue;
    auto step = number_of((*entry)["step"]);
    if (!step) continue;
    if (auto loss = number_of((*entry)["loss"])) {
      log.loss.points.emplace_back(*step, *loss);
      ++log.steps;
    }
    if (auto loss = number_of((*entry)["evaluate_loss"])) log.held_out.points.emplace_back(*step, *loss);
    if (auto rate = number_of((*entry)["lr"])) log.rate.points.emplace_back(*step, *rate);
    if (auto rate = number_of((*entry)["tokens_per_second"])) rates.push_back(*rate);
  }
  if (!rates.empty()) {
    std::nth_element(rates.begin(), rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2),
                     rates.end());
    log.tokens_per_second = rates[rates.size() / 2];
  }
  return log;
}

void training_facts(const Stage& stage, const TrainingLog& log, Facts& facts) {
  const Json& r = stage.results();
  auto before = number_of(r["first_held_out_perplexity"]), after = number_of(r["last_held_out_perplexity"]);
  std::string model = path_name(string_of(stage.options()["model"]));
  if (auto parameters = number_of(r["parameters"])) facts.parameters = *parameters;
  std::string sentence =
      fmt::format("{}: trained for {} steps on {} tokens", stage.name,
                  count_text(r["steps"].is_number() ? r["steps"] : Json(static_cast<double>(log.steps))),
                  count_text(r["tokens"]));
  if (before && after) {
    double change = 100 * (*after / *before - 1);
    sentence += fmt::format("; perplexity on held-out text {} from {} to {} ({}{} %)",
                            *after < *before ? "fell" : "rose", short_number(*before), short_number(*after),
                            change < 0 ? "−" : "+", fixed_text(std::abs(change), 1));
    if (*after >= *before)
      facts.warnings.push_back(
          stage.name +
          ": perplexity on held-out text did not fall: training did not help on unseen articles.");
  } else {
    facts.warnings.push_back(
        stage.name +
        ": no held-out text was measured, so nothing here says whether training helped on unseen text.");
  }
  facts.sentences.push_back(sentence + ".");
}

}  // namespace

void add_corpus(const Stage& stage, Document& page, Facts& facts) {
  Json stats = stage.results();
  if (auto file = read_json_file(path_join(stage.folder, "stats.json")); file.ok()) stats = *file;
  const Json& articles = stats["articles"];
  page.blocks.push_back(Heading{2, "Corpus" + (stage.name == "corpus" ? std::string() : ": " + stage.name)});
  facts.sentences.push_back(fmt::format("{}: {} articles were read and {} kept, {} words or {} tokens.",
                                        stage.name, count_text(articles["read"]),
                                        count_text(articles["kept"]), count_text(stats["words"]),
                                        count_text(stats["tokens"])));
  ReportTable table{
      "What became of the articles", {text_cell("articles"), number_cell(std::string("number"))}, {}, "", 0};
  for (auto [key, label] : {std::pair{"read", "read"},
                            {"kept", "kept"},
                            {"held_out", "held out to measure perplexity"},
                            {"rejected", "rejected"},
                            {"broken", "broken files"},
                            {"duplicate", "duplicates"}})
    if (articles[key].is_number())
      table.rows.push_back({text_cell(label), number_cell(count_text(articles[key]))});
  for (const Json::Member& reason : stats["rejected_for"].members())
    table.rows.push_back({text_cell("rejected: " + reason.first), number_cell(count_text(reason.second))});
  table.note = "Every input has a line in ledger.jsonl with its reason and the evidence for its licence.";
  page.blocks.push_back(std::move(table));
  if (stats["licenses"].size() > 0)
    page.blocks.push_back(tally_table(stats["licenses"], "Licences of the kept articles", "licence", 12));
  if (stats["journals"].size() > 1)
    page.blocks.push_back(
        Folded{"Journals", tally_table(stats["journals"], "Journals of the kept articles", "journal", 30)});
  if (stats["years"].size() > 1)
    page.blocks.push_back(Folded{"Years", tally_table(stats["years"], "Years of publication", "year", 30)});
}

void add_training(const Stage& stage, Document& page, Facts& facts) {
  TrainingLog log = read_log(stage.folder);
  training_facts(stage, log, facts);
  page.blocks.push_back(Heading{2, "Training: " + stage.name});
  const Json &r = stage.results(), &o = stage.options();
  if (!log.loss.points.empty()) {
    LineChart chart{"Loss by step (natural log, per token)", "step", "loss", {log.loss}, ""};
    auto [first_x, first] = log.loss.points.front();
    auto [last_x, last] = log.loss.points.back();
    chart.description = fmt::format("training loss {} at step {}, {} at step {}", short_number(first),
                                    short_number(first_x), short_number(last), short_number(last_x));
    if (!log.held_out.points.empty()) {
      chart.series.push_back(log.held_out);
      chart.description +=
          fmt::format("; held-out loss {} before, {} after", short_number(log.held_out.points.front().second),
                      short_number(log.held_out.points.back().second));
    }
    page.blocks.push_back(std::move(chart));
  }
  ReportTable table{"", {text_cell("quantity"), number_cell(std::string("value"))}, {}, "", 0};
  auto row = [&](const char* label, const Json& value, int decimals = -1) {
    if (value.is_number()) table.rows.push_back({text_cell(label), number_cell(value, decimals)});
  };
  table.caption = "Training in figures";
  row("held-out perplexity before", r["first_held_out_perplexity"]);
  row("held-out perplexity after", r["last_held_out_perplexity"]);
  row("training loss, first step", r["first_loss"]);
  row("training loss, last step", r["last_loss"]);
  row("parameters", r["parameters"]);
  row("steps", r["steps"]);
  row("tokens trained on", r["tokens"]);
  if (log.tokens_per_second > 0) row("tokens per second (median step)", Json(log.tokens_per_second));
  row("sequences in a micro-batch", o["micro-batch"]);
  row("micro-batches a step", o["accumulate"]);
  if (o["lr"].is_number())
    table.rows.push_back(
        {text_cell("learning rate, highest"), number_cell(fmt::format("{:g}", o["lr"].as_double()))});
  if (o["schedule"].is_string())
    table.rows.push_back({text_cell("schedule"), number_cell(o["schedule"].as_string())});
  if (o["precision"].is_string())
    table.rows.push_back({text_cell("precision"), number_cell(o["precision"].as_string())});
  page.blocks.push_back(std::move(table));
}

}  // namespace bm
