// results.md, results.tex and the terminal's table: rows are models, columns tasks, cells mean ± population
// sd of the draws in points, as the paper prints them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "evaluation/results.h"
#include "statistics/summary.h"

namespace bm {
namespace {

struct Column {
  std::string task, label;
};

// The paper's order and headings; other tasks follow in alphabetical order.
const std::vector<std::pair<std::string, std::string>>& paper_columns() {
  static const std::vector<std::pair<std::string, std::string>> columns = {
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
  return columns;
}

struct Table {
  std::string language;
  std::vector<Column> columns;
  std::vector<std::string> rows;                                           // runs
  std::map<std::pair<std::string, std::string>, const RunSummary*> cells;  // run, task
  std::map<std::string, double> average, average_sd;                       // of runs that have every column

  const RunSummary* cell(const std::string& run, const std::string& task) const {
    auto found = cells.find({run, task});
    return found == cells.end() ? nullptr : found->second;
  }
};

std::vector<Table> make_tables(const ResultsSummary& summary) {
  std::map<std::string, Table> by_language;
  for (const auto& run : summary.runs) {
    auto& table = by_language[run.language];
    table.language = run.language;
    table.cells[{run.run, run.task}] = &run;
    if (std::find(table.rows.begin(), table.rows.end(), run.run) == table.rows.end())
      table.rows.push_back(run.run);
  }
  std::vector<Table> tables;
  for (auto& entry : by_language) {
    Table& table = entry.second;
    auto has = [&](const std::string& task) {
      return std::any_of(table.cells.begin(), table.cells.end(),
                         [&](const auto& c) { return c.first.second == task; });
    };
    for (const auto& [task, label] : paper_columns())
      if (has(task)) table.columns.push_back({task, label});
    for (const auto& [key, cell] : table.cells) {
      const std::string& task = key.second;
      if (std::none_of(table.columns.begin(), table.columns.end(),
                       [&](const auto& c) { return c.task == task; }))
        table.columns.push_back({task, task});
    }
    for (const auto& row : table.rows) {
      std::vector<double> means, deviations;
      for (const auto& column : table.columns) {
        if (const auto* cell = table.cell(row, column.task)) {
          means.push_back(cell->mean);
          deviations.push_back(cell->population_sd);
        }
      }
      if (means.size() == table.columns.size()) {
        table.average[row] = mean(means);
        table.average_sd[row] = mean(deviations);
      }
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

// Best of a column as printed: equal figures are all bold.
std::string best_of(const Table& table, const std::string& task) {
  double best = -1;
  for (const auto& row : table.rows) {
    if (task.empty() && table.average.count(row)) best = std::max(best, table.average.at(row));
    if (const auto* cell = task.empty() ? nullptr : table.cell(row, task)) best = std::max(best, cell->mean);
  }
  return format_fixed(best, 1);
}

std::string name_of(const std::string& run) { return run.empty() ? "predictions" : run; }

std::string table_heading(const Table& table) {
  return table.language.empty() ? std::string("Accuracy") : "Accuracy, language " + table.language;
}

std::string escape_latex(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '_' || c == '&' || c == '%' || c == '#' || c == '$' || c == '{' || c == '}') out += '\\';
    if (c == '\\')
      out += "\\textbackslash{}";
    else if (c == '~')
      out += "\\textasciitilde{}";
    else if (c == '^')
      out += "\\textasciicircum{}";
    else
      out += c;
  }
  return out;
}

std::string escape_markdown(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '|' || c == '*' || c == '_') out += '\\';
    out += c;
  }
  return out;
}

void add_markdown_table(std::string& text, const Table& table) {
  text += "## " + table_heading(table) + "\n\n| model |";
  std::string rule = "|---|";
  for (const auto& column : table.columns) {
    text += " " + escape_markdown(column.label) + " |";
    rule += "---:|";
  }
  bool average = table.columns.size() > 1;
  text += average ? " Avg. |\n" + rule + "---:|\n" : "\n" + rule + "\n";
  for (const auto& row : table.rows) {
    text += "| " + escape_markdown(name_of(row)) + " |";
    for (const auto& column : table.columns) {
      const auto* cell = table.cell(row, column.task);
      if (!cell) {
        text += " – |";
        continue;
      }
      std::string figure = format_fixed(cell->mean, 1);
      if (table.rows.size() > 1 && figure == best_of(table, column.task)) figure = "**" + figure + "**";
      text += " " + figure + " ±" + format_fixed(cell->population_sd, 1) + " |";
    }
    if (average) {
      auto found = table.average.find(row);
      std::string figure = found == table.average.end() ? "–" : format_fixed(found->second, 1);
      if (table.rows.size() > 1 && figure == best_of(table, "")) figure = "**" + figure + "**";
      text += " " + figure + " |";
    }
    text += "\n";
  }
  text += "\n";
}

void add_details(std::string& text, const ResultsSummary& summary, const std::vector<FileMetrics>& metrics) {
  text +=
      "## Details\n\n| model | task | language | items | draws | top-1 | letters | 95 % (items resampled) | "
      "chance | ties | "
      "ECE 5 raw | ECE 10 renorm. | Brier | NLL "
      "|\n|---|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n";
  for (const auto& run : summary.runs) {
    const auto& m = metrics[run.files[0]];
    auto calibration = [&](double value, int decimals) {
      return m.has_probabilities ? format_fixed(value, decimals) : "–";
    };
    text +=
        fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} – {} | {} | {} | {} | {} | {} | {} |\n",
                    escape_markdown(name_of(run.run)), escape_markdown(run.task), run.language, run.n,
                    run.files.size(), format_fixed(mean(run.top1_points), 1),
                    format_fixed(mean(run.letters_points), 1), format_fixed(100 * run.bootstrap_95.low, 1),
                    format_fixed(100 * run.bootstrap_95.high, 1), format_fixed(100 * run.chance, 1), run.ties,
                    calibration(100 * m.raw.ece_5, 1), calibration(100 * m.renormalized.ece_10, 1),
                    calibration(m.renormalized.brier, 3), calibration(m.renormalized.nll, 3));
  }
  text +=
      "\nTop-1: the likeliest token of the whole vocabulary is the right letter. Letters: the likeliest of "
      "the item's "
      "letters is. Calibration figures are of the first draw.\n\n";
}

void add_pairs(std::string& text, const std::vector<PairTest>& pairs) {
  if (pairs.empty()) return;
  text +=
      "## Differences between models\n\n| task | language | first | second | items | difference | 95 % | p | "
      "p (Holm) | "
      "found with 80 % power from |\n|---|---|---|---|---:|---:|---|---:|---:|---:|\n";
  for (const auto& t : pairs)
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} – {} | {:.4f} | {:.4f}{} | {} |\n",
                        escape_markdown(t.task), t.language, escape_markdown(name_of(t.first)),
                        escape_markdown(name_of(t.second)), t.n, format_fixed(100 * t.difference, 1),
                        format_fixed(100 * t.interval_95.low, 1), format_fixed(100 * t.interval_95.high, 1),
                        t.permutation_p, t.holm_p, t.holm_p < 0.05 ? " \\*" : "",
                        format_fixed(100 * t.detectable, 1));
  text +=
      "\nPoints. p: paired permutation test over items, draws averaged; Holm over all rows; \\* significant "
      "at 5 %.\n\n";
}

void add_drops(std::string& text, const std::vector<LanguageDrop>& drops) {
  if (drops.empty()) return;
  text +=
      "## Other languages against English\n\n| model | task | language | items | difference | 95 % | p "
      "|\n|---|---|---|---:|---:|---|---:|\n";
  for (const auto& [run, t] : drops)
    text += fmt::format("| {} | {} | {} | {} | {} | {} – {} | {:.4f} |\n", escape_markdown(name_of(run)),
                        escape_markdown(t.task), t.first, t.n, format_fixed(100 * t.difference, 1),
                        format_fixed(100 * t.interval_95.low, 1), format_fixed(100 * t.interval_95.high, 1),
                        t.permutation_p);
  text += "\nPoints, the same items asked in both languages; p: paired permutation test over items.\n\n";
}

// TruthfulQA's medical categories stand apart in the paper.
void add_categories(std::string& text, const std::vector<RunSummary>& runs) {
  std::string rows;
  for (const auto& run : runs) {
    if (run.task.rfind("truthfulqa", 0) != 0) continue;
    int64_t items = 0;
    double right = 0;
    for (const char* name : {"Health", "Nutrition", "Psychology"}) {
      auto found = run.categories.find(name);
      if (found == run.categories.end()) continue;
      items += found->second.first;
      right += found->second.second * static_cast<double>(found->second.first);
      rows += fmt::format("| {} | {} | {} | {} | {} |\n", escape_markdown(name_of(run.run)),
                          escape_markdown(run.task), name, found->second.first,
                          format_fixed(100 * found->second.second, 1));
    }
    if (items)
      rows += fmt::format("| {} | {} | the three together | {} | {} |\n", escape_markdown(name_of(run.run)),
                          escape_markdown(run.task), items,
                          format_fixed(100 * right / static_cast<double>(items), 1));
  }
  if (!rows.empty())
    text +=
        "## TruthfulQA, medical categories\n\n| model | task | category | items | accuracy "
        "|\n|---|---|---|---:|---:|\n" +
        rows + "\n";
}

void add_orders(std::string& text, const std::vector<OrderSummary>& orders) {
  if (orders.empty()) return;
  text +=
      "## Order of the options\n\n| model | task | language | items | orders | answers that change | "
      "accuracy | position bias |\n"
      "|---|---|---|---:|---:|---:|---|---:|\n";
  for (const auto& o : orders)
    text += fmt::format("| {} | {} | {} | {} | {} | {} % | {} – {} | {} % |\n",
                        escape_markdown(name_of(o.run)), escape_markdown(o.task), o.language, o.items,
                        o.orders, format_fixed(100 * o.changed, 1), format_fixed(100 * o.lowest, 1),
                        format_fixed(100 * o.highest, 1), format_fixed(100 * o.position_bias, 1));
  text +=
      "\nPosition bias: how far the chosen letters' shares are from the right letters' shares (total "
      "variation).\n\n";
}

}  // namespace

std::string results_markdown(const ResultsSummary& summary, const std::vector<PredictionsFile>&,
                             const std::vector<FileMetrics>& metrics) {
  std::string text =
      "# Results\n\nAccuracy in points, mean ± population standard deviation of the draws; Avg. is the plain "
      "mean "
      "of the columns; the best of a column is bold.\n\n";
  for (const auto& table : make_tables(summary)) add_markdown_table(text, table);
  add_details(text, summary, metrics);
  add_pairs(text, summary.pairs);
  add_drops(text, summary.language_drops);
  add_categories(text, summary.runs);
  add_orders(text, summary.orders);
  return text;
}

std::string results_latex(const ResultsSummary& summary) {
  std::string text;
  for (const auto& table : make_tables(summary)) {
    bool average = table.columns.size() > 1;
    text += "% " + table_heading(table) +
            "; mean and population standard deviation of the draws, in points\n\\begin{tabular}{l" +
            std::string(table.columns.size() + (average ? 1 : 0), 'c') + "}\n\\hline\nModel";
    for (const auto& column : table.columns) text += " & " + escape_latex(column.label);
    text += average ? " & Avg. \\\\\n\\hline\n" : " \\\\\n\\hline\n";
    for (const auto& row : table.rows) {
      text += escape_latex(name_of(row));
      for (const auto& column : table.columns) {
        const auto* cell = table.cell(row, column.task);
        if (!cell) {
          text += " & --";
          continue;
        }
        std::string figure = format_fixed(cell->mean, 1);
        bool best = table.rows.size() > 1 && figure == best_of(table, column.task);
        text += " & " + (best ? "\\textbf{" + figure + "}" : figure) + " {\\tiny ±" +
                format_fixed(cell->population_sd, 1) + "}";
      }
      if (average) {
        auto found = table.average.find(row);
        std::string figure = found == table.average.end() ? "--" : format_fixed(found->second, 1);
        bool best = table.rows.size() > 1 && figure == best_of(table, "");
        text += " & " + (best ? "\\textbf{" + figure + "}" : figure);
      }
      text += " \\\\\n";
    }
    text += "\\hline\n\\end{tabular}\n\n";
  }
  return text;
}

std::string results_csv(const ResultsSummary& summary, const std::vector<FileMetrics>& metrics) {
  auto quoted = [](const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string out = "\"";
    for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
  };
  std::string out =
      "model,task,language,items,draws,accuracy,population_sd,low_95,high_95,accuracy_letters,chance,ties,"
      "ece_10_raw,ece_10_letters,brier,nll\n";
  for (const auto& run : summary.runs) {
    const FileMetrics& first = metrics[run.files[0]];
    out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{}", quoted(run.run), quoted(run.task),
                       quoted(run.language), run.n, run.files.size(), run.mean / 100, run.population_sd / 100,
                       run.bootstrap_95.low, run.bootstrap_95.high, mean(run.letters_points) / 100,
                       run.chance, run.ties);
    out += first.has_probabilities
               ? fmt::format(",{},{},{},{}\n", first.raw.ece_10, first.renormalized.ece_10,
                             first.renormalized.brier, first.renormalized.nll)
               : ",,,,\n";
  }
  return out;
}

std::string results_text(const ResultsSummary& summary) {
  std::string text;
  for (const auto& run : summary.runs)
    text += fmt::format("{:<28} {:<28} {:<8} {:>6} items  {:>5} ±{}\n", name_of(run.run), run.task,
                        run.language, run.n, format_fixed(run.mean, 1), format_fixed(run.population_sd, 1));
  return text;
}

}  // namespace bm
