// Benchmark scores and calibration, computed again from the predictions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "evaluation/results.h"
#include "report/sections.h"

namespace bm {
namespace {

const std::vector<std::pair<std::string, std::string>> kPaperTasks = {
    {"mmlu_clinical_knowledge", "Clinical KG"},
    {"mmlu_medical_genetics", "Medical Genetics"},
    {"mmlu_anatomy", "Anatomy"},
    {"mmlu_professional_medicine", "Pro Medicine"},
    {"mmlu_college_biology", "College Biology"},
    {"mmlu_college_medicine", "College Medicine"},
    {"medqa", "MedQA"},
    {"medqa_5options", "MedQA 5 opts"},
    {"pubmedqa", "PubMedQA"},
    {"medmcqa", "MedMCQA"}};

struct Scores {
  std::vector<std::string> models, tasks;
  std::map<std::pair<std::string, std::string>, const RunSummary*> cells;  // model, task
  const RunSummary* at(const std::string& model, const std::string& task) const {
    auto found = cells.find({model, task});
    return found == cells.end() ? nullptr : found->second;
  }
};

std::string label_of(const std::string& task) {
  for (const auto& [name, label] : kPaperTasks)
    if (name == task) return label;
  return task;
}

// Models in the order of the stage's `names` or `models`, tasks in the paper's order.
Scores arrange(const Stage& stage, const std::vector<RunSummary>& runs, const std::string& language) {
  Scores scores;
  auto add = [](std::vector<std::string>& list, const std::string& item) {
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
  };
  std::vector<std::string> present;
  for (const RunSummary& run : runs)
    if (run.language == language) {
      scores.cells[{run.run, run.task}] = &run;
      add(present, run.run);
    }
  for (const Json& name : stage.options()["names"].items())
    if (name.is_string() && std::find(present.begin(), present.end(), name.as_string()) != present.end())
      add(scores.models, name.as_string());
  for (const std::string& name : present) add(scores.models, name);
  auto has = [&](const std::string& task) {
    return std::any_of(scores.cells.begin(), scores.cells.end(),
                       [&](const auto& cell) { return cell.first.second == task; });
  };
  for (const auto& [task, label] : kPaperTasks)
    if (has(task)) add(scores.tasks, task);
  for (const auto& [key, run] : scores.cells) add(scores.tasks, key.second);
  return scores;
}

struct Average {
  double points = 0, low = 0, high = 0;
  bool whole = true;  // has every task
};

// Plain mean of the tasks; the interval is that of a mean of independent tasks' intervals.
Average average_of(const Scores& scores, const std::string& model) {
  Average out;
  double low = 0, high = 0, count = 0;
  for (const std::string& task : scores.tasks) {
    const RunSummary* run = scores.at(model, task);
    if (!run) {
      out.whole = false;
      continue;
    }
    ++count;
    out.points += run->mean;
    low += std::pow(run->mean - 100 * run->bootstrap_95.low, 2);
    high += std::pow(100 * run->bootstrap_95.high - run->mean, 2);
  }
  if (count == 0) return out;
  out.points /= count;
  out.low = out.points - std::sqrt(low) / count;
  out.high = out.points + std::sqrt(high) / count;
  return out;
}

double chance_of(const Scores& scores, const std::string& task) {
  for (const std::string& model : scores.models)
    if (const RunSummary* run = scores.at(model, task)) return 100 * run->chance;
  return NAN;
}

// Mean accuracy by the rule `letters`: the likeliest of the item's letters, whatever other tokens are
// likelier.
std::optional<ReportTable> letters_table(const Scores& scores, const std::string& caption) {
  ReportTable table{caption,
                    {text_cell("model")},
                    {},
                    "Here the likeliest of the item's own letters counts, even when the model would rather "
                    "write something else: the fair comparison with chance.",
                    1};
  bool differs = false;
  for (const std::string& task : scores.tasks) table.header.push_back(number_cell(label_of(task)));
  std::vector<Cell> chance = {text_cell("chance")};
  for (const std::string& task : scores.tasks)
    chance.push_back(number_cell(fixed_text(chance_of(scores, task), 1)));
  for (const std::string& model : scores.models) {
    std::vector<Cell> row = {text_cell(model.empty() ? "predictions" : model)};
    for (const std::string& task : scores.tasks) {
      const RunSummary* run = scores.at(model, task);
      double sum = 0;
      if (run)
        for (double points : run->letters_points) sum += points;
      double points =
          run && !run->letters_points.empty() ? sum / static_cast<double>(run->letters_points.size()) : NAN;
      differs = differs || (run && std::abs(points - run->mean) > 0.05);
      row.push_back(number_cell(fixed_text(points, 1)));
    }
    table.rows.push_back(std::move(row));
  }
  table.rows.push_back(std::move(chance));
  return differs ? std::optional(std::move(table)) : std::nullopt;
}

std::string rule_text(DecisionRule rule) {
  switch (rule) {
    case DecisionRule::top1:
      return "An answer counts when the likeliest token of the whole vocabulary is the right letter, so a "
             "model that would write something else than a letter scores below chance.";
    case DecisionRule::letters:
      return "An answer counts when the right letter is the likeliest of the item's letters.";
    case DecisionRule::lm_eval:
      return "An answer counts when its text is the likeliest of the choices, as lm-evaluation-harness "
             "scores it.";
  }
  return {};
}

ReportTable score_table(const Scores& scores, const std::string& caption, int64_t draws) {
  ReportTable table{caption, {text_cell("model")}, {}, "", 1};
  for (const std::string& task : scores.tasks) table.header.push_back(number_cell(label_of(task)));
  bool average = scores.tasks.size() > 1;
  if (average) table.header.push_back(number_cell(std::string("average")));
  std::vector<std::string> best;
  for (const std::string& task : scores.tasks) {
    double top = -1;
    for (const std::string& model : scores.models)
      if (const RunSummary* run = scores.at(model, task)) top = std::max(top, run->mean);
    best.push_back(fixed_text(top, 1));
  }
  double top_average = -1;
  for (const std::string& model : scores.models)
    if (Average a = average_of(scores, model); a.whole) top_average = std::max(top_average, a.points);
  for (const std::string& model : scores.models) {
    std::vector<Cell> row = {text_cell(model.empty() ? "predictions" : model)};
    for (size_t t = 0; t < scores.tasks.size(); ++t) {
      const RunSummary* run = scores.at(model, scores.tasks[t]);
      if (!run) {
        row.push_back(number_cell(std::string("–")));
        continue;
      }
      std::string figure = fixed_text(run->mean, 1);
      row.push_back({draws > 1 ? figure + " ± " + fixed_text(run->population_sd, 1) : figure, true,
                     scores.models.size() > 1 && figure == best[t]});
    }
    if (average) {
      Average a = average_of(scores, model);
      row.push_back(
          {a.whole ? fixed_text(a.points, 1) : "–", true,
           a.whole && scores.models.size() > 1 && fixed_text(a.points, 1) == fixed_text(top_average, 1)});
    }
    table.rows.push_back(std::move(row));
  }
  std::vector<Cell> chance = {text_cell("chance")};
  double sum = 0;
  for (const std::string& task : scores.tasks) {
    chance.push_back(number_cell(fixed_text(chance_of(scores, task), 1)));
    sum += chance_of(scores, task);
  }
  if (average) chance.push_back(number_cell(fixed_text(sum / static_cast<double>(scores.tasks.size()), 1)));
  table.rows.push_back(std::move(chance));
  table.note = draws > 1 ? "Accuracy in points: mean ± population standard deviation over the draws of "
                           "shots; the best of a column is bold. Chance: one guess among the options."
                         : "Accuracy in points, one draw of shots (no spread can be given); the best of a "
                           "column is bold. Chance: one guess among the options.";
  return table;
}

// Says whether anything differs from guessing.
void score_facts(const std::string& stage, const Scores& scores, double chance, Facts& facts) {
  size_t above = 0, cells = 0;
  for (const auto& [key, run] : scores.cells) {
    ++cells;
    above += run->bootstrap_95.low > run->chance;
  }
  std::string best;
  double points = -1;
  for (const std::string& model : scores.models)
    if (Average a = average_of(scores, model); a.whole && a.points > points) points = a.points, best = model;
  if (!best.empty())
    facts.sentences.push_back(
        fmt::format("{}: the highest average accuracy is {} points ({}); guessing gives {}.", stage,
                    fixed_text(points, 1), best, fixed_text(chance, 1)));
  if (cells && above * 20 <= cells)
    facts.warnings.push_back(
        fmt::format("{}: {} of {} scores are above chance beyond doubt (95 %): these figures show that the "
                    "machinery runs, not that a model knows medicine.",
                    stage, above == 0 ? "none" : std::to_string(above), cells));
}

BarChart average_chart(const Scores& scores, double chance) {
  BarChart chart{"Average accuracy over the tasks, points",
                 "points",
                 {},
                 std::pair{chance, "chance " + fixed_text(chance, 1)},
                 ""};
  for (const std::string& model : scores.models) {
    Average a = average_of(scores, model);
    if (!a.whole) continue;
    chart.bars.push_back(
        {model.empty() ? "predictions" : model, fixed_text(a.points, 1), a.points, std::pair{a.low, a.high}});
    chart.description += (chart.description.empty() ? "" : "; ") + model + " " + fixed_text(a.points, 1);
  }
  return chart;
}

// Bins of all of a model's files together; answers with letters' probabilities as they are.
std::vector<Reliability> reliabilities(const Scores& scores, const std::vector<PredictionsFile>& files,
                                       const std::vector<FileMetrics>& metrics) {
  std::vector<Reliability> out;
  for (const std::string& model : scores.models) {
    Reliability diagram{model.empty() ? "predictions" : model, {}, 0};
    double total = 0, weighted = 0;
    for (size_t f = 0; f < files.size(); ++f) {
      if (files[f].run != model || !metrics[f].has_probabilities) continue;
      const auto& bins = metrics[f].renormalized.reliability_10;
      if (diagram.bins.empty())
        for (const Bin& bin : bins) diagram.bins.push_back({bin.low, bin.high, 0, 0, 0});
      for (size_t i = 0; i < bins.size() && i < diagram.bins.size(); ++i) {
        auto count = static_cast<double>(bins[i].count);
        auto& sum = diagram.bins[i];
        sum.count += count;
        sum.accuracy += count * bins[i].accuracy.value_or(0);
        sum.confidence += count * bins[i].confidence.value_or(0);
      }
    }
    for (auto& bin : diagram.bins) {
      if (bin.count <= 0) continue;
      bin.accuracy /= bin.count;
      bin.confidence /= bin.count;
      total += bin.count;
      weighted += bin.count * std::abs(bin.accuracy - bin.confidence);
    }
    if (total <= 0) continue;
    diagram.ece = weighted / total;
    out.push_back(std::move(diagram));
  }
  return out;
}

void add_pairs(const std::vector<PairTest>& pairs, Document& page) {
  if (pairs.empty()) return;
  ReportTable table{
      "Differences between models, points",
      {text_cell("task"), text_cell("first"), text_cell("second"), number_cell(std::string("items")),
       number_cell(std::string("difference")), number_cell(std::string("95 %")),
       number_cell(std::string("p")), number_cell(std::string("p, Holm"))},
      {},
      "p: paired permutation test over items, draws averaged; Holm's correction over all rows. Bold: below "
      "0.05 after it.",
      0};
  size_t significant = 0;
  for (const PairTest& t : pairs) {
    significant += t.holm_p < 0.05;
    table.rows.push_back({text_cell(label_of(t.task)),
                          text_cell(t.first),
                          text_cell(t.second),
                          number_cell(std::to_string(t.n)),
                          number_cell(fixed_text(100 * t.difference, 1)),
                          number_cell(fixed_text(100 * t.interval_95.low, 1) + " to " +
                                      fixed_text(100 * t.interval_95.high, 1)),
                          number_cell(fixed_text(t.permutation_p, 4)),
                          {fixed_text(t.holm_p, 4), true, t.holm_p < 0.05}});
  }
  page.blocks.push_back(
      Folded{fmt::format("Differences between models: {} of {} are significant after Holm's correction",
                         significant, pairs.size()),
             std::move(table)});
}

ReportTable calibration_table(const ResultsSummary& summary, const std::vector<FileMetrics>& metrics) {
  ReportTable table{"Calibration by model and task (first draw)",
                    {text_cell("model"), text_cell("task"), number_cell(std::string("items")),
                     number_cell(std::string("confidence")), number_cell(std::string("ECE 10, raw")),
                     number_cell(std::string("ECE 10, letters")), number_cell(std::string("Brier")),
                     number_cell(std::string("NLL")), number_cell(std::string("ties"))},
                    {},
                    "Raw: mass of the whole vocabulary; letters: probabilities over the item's letters "
                    "alone. Brier is summed over letters (0 to 2).",
                    0};
  for (const RunSummary& run : summary.runs) {
    const FileMetrics& m = metrics[run.files[0]];
    if (!m.has_probabilities) continue;
    table.rows.push_back(
        {text_cell(run.run),
         text_cell(label_of(run.task) +
                   (run.language.empty() || run.language == "en" ? "" : " (" + run.language + ")")),
         number_cell(std::to_string(run.n)), number_cell(fixed_text(100 * m.renormalized.mean_confidence, 1)),
         number_cell(fixed_text(100 * m.raw.ece_10, 1)),
         number_cell(fixed_text(100 * m.renormalized.ece_10, 1)),
         number_cell(fixed_text(m.renormalized.brier, 3)), number_cell(fixed_text(m.renormalized.nll, 3)),
         number_cell(std::to_string(run.ties))});
  }
  return table;
}

void evaluation_warnings(const Stage& stage, const std::vector<PredictionsFile>& files, Facts& facts) {
  int64_t truncated = 0, lines = 0;
  for (const PredictionsFile& file : files)
    for (const Prediction& p : file.predictions) truncated += p.truncated_tokens > 0, ++lines;
  if (truncated)
    facts.warnings.push_back(fmt::format(
        "{}: {} of {} prompts were too long for the model and were cut from the left, so they lost shots.",
        stage.name, truncated, lines));
  if (auto limit = number_of(stage.options()["limit"]); limit && *limit > 0)
    facts.warnings.push_back(fmt::format("{}: only the first {} items of each task were asked (--limit).",
                                         stage.name, short_number(*limit)));
  if (auto failed_items = number_of(stage.results()["failed_items"]); failed_items && *failed_items > 0)
    facts.warnings.push_back(fmt::format("{}: {} items failed and stand in ledger.jsonl.", stage.name,
                                         short_number(*failed_items)));
}

}  // namespace

Status add_evaluation(const Stage& stage, Document& page, Facts& facts) {
  BM_TRY(PredictionsFolder folder, read_predictions_folder(stage.folder));
  std::vector<FileMetrics> metrics;
  all_metrics_json(folder.files, metrics);
  ResultsOptions options;
  if (auto rule = parse_rule(string_of(stage.options()["rule"])); rule.ok()) options.rule = *rule;
  if (auto seed = number_of(stage.manifest["seed"])) options.seed = static_cast<uint64_t>(*seed);
  ResultsSummary summary = summarize(folder.files, options);
  page.blocks.push_back(
      Heading{2, "Scores" + (stage.name == "evaluate" ? std::string() : ": " + stage.name)});
  std::vector<std::string> languages;
  int64_t draws = 1;
  for (const RunSummary& run : summary.runs) {
    draws = std::max(draws, static_cast<int64_t>(run.files.size()));
    if (std::find(languages.begin(), languages.end(), run.language) == languages.end())
      languages.push_back(run.language);
  }
  for (const std::string& language : languages) {
    Scores scores = arrange(stage, summary.runs, language);
    double chance = 0;
    for (const std::string& task : scores.tasks)
      chance += chance_of(scores, task) / static_cast<double>(scores.tasks.size());
    std::string suffix =
        language.empty() || (language == "en" && languages.size() == 1) ? "" : ", language " + language;
    page.blocks.push_back(Paragraph{rule_text(options.rule)});
    page.blocks.push_back(score_table(scores, "Accuracy of each model" + suffix, draws));
    if (options.rule == DecisionRule::top1)
      if (auto table = letters_table(scores, "Accuracy among the letters alone" + suffix))
        page.blocks.push_back(std::move(*table));
    if (BarChart chart = average_chart(scores, chance); chart.bars.size() > 1)
      page.blocks.push_back(std::move(chart));
    score_facts(stage.name + suffix, scores, chance, facts);
    if (auto diagrams = reliabilities(scores, folder.files, metrics);
        language == languages.front() && !diagrams.empty()) {
      page.blocks.push_back(Heading{3, "Is confidence to be trusted?"});
      page.blocks.push_back(ReliabilityRow{
          "Bars: share of right answers among those given with that confidence (probability of the chosen "
          "letter among the letters), all tasks together; darker bars hold more answers. "
          "On the dashed diagonal confidence and accuracy agree. ECE: expected calibration error.",
          std::move(diagrams)});
    }
  }
  if (ReportTable table = calibration_table(summary, metrics); !table.rows.empty())
    page.blocks.push_back(Folded{"Calibration figures", std::move(table)});
  add_languages(summary.runs, page);
  add_pairs(summary.pairs, page);
  add_items(folder.files, page);
  evaluation_warnings(stage, folder.files, facts);
  return {};
}

}  // namespace bm
