// Figures, tables and supplements of ArticleWriter. Those met inside a paragraph are written after it,
// so that the paragraph's text runs on.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm {

namespace {

constexpr size_t kWidest =
    1000;  // columns of a table, and rows one cell may span; more is a mistake or malice

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }

size_t span_of(pugi::xml_node cell, std::string_view attribute) {
  std::string text(attribute_named(cell, attribute));
  long value = std::strtol(text.c_str(), nullptr, 10);
  return value < 1 ? 1 : std::min(static_cast<size_t>(value), kWidest);
}

bool is_cell(pugi::xml_node node) {
  std::string_view name = local_name(node.name());
  return name == "td" || name == "th" || name == "entry";
}

bool ends_sentence(std::string_view text) {
  return !text.empty() &&
         (text.back() == '.' || text.back() == ':' || text.back() == '|' || text.back() == '!' ||
          text.back() == '?' || text.back() == '\n' || text.back() == ')');
}

}  // namespace

bool ArticleWriter::defer(pugi::xml_node node) {
  if (in_paragraph_ == 0 && !writer_.is_flat()) return false;
  floats_.push_back(node);
  return true;
}

void ArticleWriter::floats() {
  if (in_paragraph_ > 0 || writer_.is_flat() || floats_.empty()) return;
  std::vector<pugi::xml_node> waiting;
  waiting.swap(floats_);
  for (pugi::xml_node node : waiting) this->node(node);
}

// "Figure 1. Title" and the caption's paragraphs below it. kind: the rule under which all of it is
// dropped, "" when it is kept.
void ArticleWriter::captioned(pugi::xml_node node, std::string_view kind) {
  if (!kind.empty()) return drop(node, kind);
  if (defer(node)) return;
  writer_.block_break();
  writer_.soft(1);
  std::string_view outer = rule_;
  rule_ = "caption";
  pugi::xml_node label = child_named(node, "label"), caption = child_named(node, "caption");
  size_t before = writer_.size();
  if (label) {
    writer_.flat(1);
    children(label);
    writer_.flat(-1);
    if (caption && writer_.size() > before && !ends_sentence(writer_.written())) writer_.generated(".");
    writer_.space();
  }
  if (caption) {
    pugi::xml_node first = child_named(caption, "title");
    if (!first) first = child_named(caption, "p");
    for (pugi::xml_node child = caption.first_child(); child; child = child.next_sibling()) {
      if (child != first) {
        this->node(child);
        continue;
      }
      ++in_paragraph_;
      children(child);
      --in_paragraph_;
      writer_.line_break();
    }
  }
  writer_.soft(-1);
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling())
    if (child != label && child != caption) this->node(child);
  rule_ = outer;
  writer_.block_break();
  floats();
}

void ArticleWriter::figure(pugi::xml_node node) {
  captioned(node, options_.figures == "drop" ? "figure" : "");
}

void ArticleWriter::supplement(pugi::xml_node node) {
  captioned(node, options_.supplements == "drop" ? "supplement" : "");
}

void ArticleWriter::table_wrap(pugi::xml_node node) {
  captioned(node, options_.tables == "drop" ? "table" : "");
}

void ArticleWriter::table_rows(pugi::xml_node node, std::vector<pugi::xml_node>& rows, size_t& header_rows) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (!is_element(child)) {
      this->node(child);
      continue;
    }
    std::string_view name = local_name(child.name());
    if (name == "tr" || name == "row") {
      rows.push_back(child);
    } else if (name == "thead" || name == "tbody" || name == "tfoot" || name == "tgroup") {
      table_rows(child, rows, header_rows);
      if (name == "thead") header_rows = rows.size();
    } else {
      this->node(child);
    }
  }
}

void ArticleWriter::empty_cell(TableGrid& grid) {
  if (grid.empty_left > 0) {
    --grid.empty_left;
    if (grid.markdown)
      writer_.generated("  |");
    else if (grid.column > 0)
      writer_.generated("\t");
  }
  ++grid.column;
}

void ArticleWriter::covered_cells(TableGrid& grid) {
  while (grid.column < grid.covered.size() && grid.covered[grid.column] > 0) {
    --grid.covered[grid.column];
    empty_cell(grid);
  }
}

void ArticleWriter::table_row(pugi::xml_node row, TableGrid& grid) {
  if (grid.markdown) writer_.generated("|");
  writer_.flat(1);
  writer_.escape_pipes(grid.markdown);
  grid.column = 0;
  for (pugi::xml_node cell = row.first_child(); cell; cell = cell.next_sibling()) {
    if (!is_element(cell) || !is_cell(cell)) {
      this->node(cell);
      continue;
    }
    covered_cells(grid);
    size_t columns = span_of(cell, "colspan"), rows = span_of(cell, "rowspan");
    if (!attribute_named(cell, "morerows").empty()) rows = span_of(cell, "morerows") + 1;  // OASIS
    if (grid.markdown)
      writer_.generated(" ");
    else if (grid.column > 0)
      writer_.generated("\t");
    children(cell);
    writer_.no_space();
    if (grid.markdown) writer_.generated(" |");
    for (size_t k = 0; k < columns && grid.column < kWidest; ++k) {
      if (grid.column >= grid.covered.size()) grid.covered.resize(grid.column + 1);
      grid.covered[grid.column] = rows - 1;
      if (k == 0)
        ++grid.column;
      else
        empty_cell(grid);
    }
  }
  covered_cells(grid);
  writer_.flat(-1);
  writer_.escape_pipes(false);
}

// One line a row: "| a | b |" with a rule under the head, or cells parted by tabs. A cell over several
// columns or rows is written once, the places it covers stay empty.
void ArticleWriter::table(pugi::xml_node node) {
  bool markdown = options_.tables == "markdown", tsv = options_.tables == "tsv";
  if (!markdown && !tsv) return drop(node, "table cells");
  if (defer(node)) return;
  writer_.block_break();
  std::string_view outer = rule_;
  rule_ = "table cells";
  std::vector<pugi::xml_node> rows;
  size_t header_rows = 0;
  table_rows(node, rows, header_rows);
  if (header_rows == 0 && !rows.empty()) header_rows = 1;
  TableGrid grid;
  grid.markdown = markdown;
  for (size_t r = 0; r < rows.size(); ++r) {
    writer_.line_break();
    table_row(rows[r], grid);
    if (markdown && r + 1 == header_rows) {
      writer_.line_break();
      std::string rule = "|";
      for (size_t k = 0; k < std::max<size_t>(grid.column, 1); ++k) rule += " --- |";
      writer_.generated(rule);
    }
  }
  rule_ = outer;
  writer_.block_break();
  floats();
}

}  // namespace bm
