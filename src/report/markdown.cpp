// The same blocks as Markdown (GitHub's tables) and as LaTeX (booktabs). Charts become their description.
#include <fmt/format.h>

#include "report/document.h"

namespace bm {
namespace {

std::string markdown(std::string_view text) {
  std::string out;
  for (char c : clean_text(text)) {
    if (c == '|' || c == '*' || c == '_' || c == '`' || c == '\\' || c == '[' || c == '<') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string markdown_table(const ReportTable& table) {
  std::string out;
  if (!table.caption.empty()) out += markdown(table.caption) + "\n\n";
  std::vector<Cell> header = table.header;
  if (header.empty() && !table.rows.empty()) header.resize(table.rows[0].size());
  out += "|";
  for (const Cell& cell : header) out += " " + markdown(cell.text) + " |";
  out += "\n|";
  for (const Cell& cell : header) out += cell.number ? "---:|" : "---|";
  for (const auto& row : table.rows) {
    out += "\n|";
    for (const Cell& cell : row)
      out += cell.best ? " **" + markdown(cell.text) + "** |" : " " + markdown(cell.text) + " |";
  }
  out += "\n";
  return table.note.empty() ? out : out + "\n" + markdown(table.note) + "\n";
}

struct MarkdownBlock {
  std::string operator()(const Heading& b) const {
    return std::string(static_cast<size_t>(b.level), '#') + " " + markdown(b.text) + "\n";
  }
  std::string operator()(const Paragraph& b) const { return markdown(b.text) + "\n"; }
  std::string operator()(const BulletList& b) const {
    std::string out;
    for (const std::string& item : b.items)
      out += std::string("* ") + (b.warning ? "**Note:** " : "") + markdown(item) + "\n";
    return out;
  }
  std::string operator()(const ReportTable& b) const { return markdown_table(b); }
  std::string operator()(const HeatMap& b) const { return markdown_table(table_of(b)); }
  std::string operator()(const ItemBrowser&) const { return {}; }
  std::string operator()(const Folded& b) const { return markdown_table(b.table); }
  std::string operator()(const Listing& b) const {
    std::string fence = "```";
    while (b.text.find(fence) != std::string::npos) fence += '`';
    return markdown(b.summary) + "\n\n" + fence + "\n" + clean_text(b.text) + "\n" + fence + "\n";
  }
  std::string operator()(const LineChart& b) const { return markdown(b.title + ". " + b.description) + "\n"; }
  std::string operator()(const BarChart& b) const {
    std::string out = markdown(b.title) + "\n\n";
    for (const auto& bar : b.bars) out += "* " + markdown(bar.label + ": " + bar.value_text) + "\n";
    return out;
  }
  std::string operator()(const ReliabilityRow& b) const {
    std::string out;
    for (const Reliability& d : b.diagrams)
      out += "* " + markdown(d.title) + ": ECE " + fixed_text(100 * d.ece, 1) + " points\n";
    return out;
  }
};

std::string latex(std::string_view text) {
  std::string out;
  for (char c : clean_text(text)) {
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        out += '\\';
        out += c;
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string latex_table(const ReportTable& table) {
  size_t columns =
      table.header.empty() ? (table.rows.empty() ? 0 : table.rows[0].size()) : table.header.size();
  if (columns == 0) return {};
  std::string spec;
  for (size_t i = 0; i < columns; ++i) spec += i < table.header.size() && table.header[i].number ? 'r' : 'l';
  std::string out = "\\begin{table}[ht]\n\\centering\\small\n\\caption{" + latex(table.caption) +
                    "}\n\\begin{tabular}{" + spec + "}\n\\toprule\n";
  auto line = [&](const std::vector<Cell>& row) {
    std::string text;
    for (size_t i = 0; i < row.size(); ++i)
      text += (i ? " & " : "") + (row[i].best ? "\\textbf{" + latex(row[i].text) + "}" : latex(row[i].text));
    return text + " \\\\\n";
  };
  if (!table.header.empty()) out += line(table.header) + "\\midrule\n";
  for (const auto& row : table.rows) out += line(row);
  out += "\\bottomrule\n\\end{tabular}\n";
  if (!table.note.empty()) out += "\n\\footnotesize " + latex(table.note) + "\n";
  return out + "\\end{table}\n";
}

struct LatexBlock {
  std::string operator()(const Heading& b) const {
    return (b.level <= 2 ? "\\section*{" : "\\subsection*{") + latex(b.text) + "}\n";
  }
  std::string operator()(const Paragraph& b) const { return latex(b.text) + "\n"; }
  std::string operator()(const BulletList& b) const {
    if (b.items.empty()) return {};
    std::string out = "\\begin{itemize}\n";
    for (const std::string& item : b.items) out += "\\item " + latex(item) + "\n";
    return out + "\\end{itemize}\n";
  }
  std::string operator()(const ReportTable& b) const { return latex_table(b); }
  std::string operator()(const HeatMap& b) const { return latex_table(table_of(b)); }
  std::string operator()(const ItemBrowser&) const { return {}; }
  std::string operator()(const Folded& b) const { return latex_table(b.table); }
  std::string operator()(const Listing& b) const {
    if (b.text.find("\\end{verbatim}") != std::string::npos) return {};
    return latex(b.summary) + "\n\\begin{verbatim}\n" + clean_text(b.text) + "\n\\end{verbatim}\n";
  }
  std::string operator()(const LineChart& b) const { return latex(b.title + ". " + b.description) + "\n"; }
  std::string operator()(const BarChart& b) const {
    std::string out = latex(b.title) + "\n\\begin{itemize}\n";
    for (const auto& bar : b.bars) out += "\\item " + latex(bar.label + ": " + bar.value_text) + "\n";
    return out + "\\end{itemize}\n";
  }
  std::string operator()(const ReliabilityRow& b) const {
    std::string out = "\\begin{itemize}\n";
    for (const Reliability& d : b.diagrams)
      out += "\\item " + latex(d.title) + ": ECE " + fixed_text(100 * d.ece, 1) + " points\n";
    return out + "\\end{itemize}\n";
  }
};

}  // namespace

std::string render_markdown(const Document& document) {
  std::string out = "# " + markdown(document.title) + "\n\n" + markdown(document.subtitle) + "\n";
  for (const Block& block : document.blocks) out += "\n" + std::visit(MarkdownBlock{}, block);
  return out;
}

std::string render_latex(const Document& document) {
  std::string out =
      "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage[T1]{fontenc}\n\\usepackage{"
      "booktabs}\n"
      "\\usepackage[margin=2.2cm]{geometry}\n\\DeclareUnicodeCharacter{2013}{--}\n\\DeclareUnicodeCharacter{"
      "2192}{\\ensuremath{\\rightarrow}}\n"
      "\\DeclareUnicodeCharacter{2212}{\\ensuremath{-}}\n\\title{" +
      latex(document.title) + "}\n\\date{}\n\\begin{document}\n\\maketitle\n" + latex(document.subtitle) +
      "\n";
  for (const Block& block : document.blocks) out += "\n" + std::visit(LatexBlock{}, block);
  return out + "\\end{document}\n";
}

}  // namespace bm
