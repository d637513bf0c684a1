// One <article> → plain text (docs/corpus.md, "From XML to text").
#pragma once

#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "corpus/elements.h"
#include "corpus/options.h"
#include "corpus/text_writer.h"

namespace bm {

// Where a top-level section's text begins: "abstract", "introduction", "methods", "results", "discussion",
// "conclusions", "case", "other", "back matter"; "title" before the first one.
struct SectionMark {
  size_t begin = 0;  // bytes in the text
  std::string_view name;
};

// Title, abstracts, body, then what the options keep of the rest; blocks parted by blank lines. With a
// trace every text node of the article is accounted for. bad_input: nested deeper than 400 elements.
Result<std::string> article_text(pugi::xml_node article, const TextOptions& options, Trace* trace = nullptr,
                                 std::vector<SectionMark>* sections = nullptr);

// The text of one element as it would stand in running text, on one line (titles, journal names).
std::string inline_text(pugi::xml_node node, const TextOptions& options);

class ArticleWriter {
 public:
  ArticleWriter(const TextOptions& options, Trace* trace) : options_(options), writer_(trace), trace_(trace) {
    if (options.citations == "mark") writer_.set_citation_mark("[REF]");
  }
  void article(pugi::xml_node node);
  void children(pugi::xml_node node);
  std::string finish() { return writer_.finish(); }
  bool too_deep() const { return too_deep_; }
  TextWriter& writer() { return writer_; }
  void note_sections(std::vector<SectionMark>* sections) { sections_ = sections; }

 private:
  struct Heading {
    pugi::xml_node label, title;
  };
  struct TableGrid {
    bool markdown = false;
    std::vector<size_t> covered;  // rows still covered by a cell above, per column
    size_t column = 0;
    size_t empty_left = 100000;  // empty places one table may write; more is malice
  };

  void node(pugi::xml_node node);
  void element(pugi::xml_node node);
  void inline_element(pugi::xml_node node);
  void characters(pugi::xml_node node);
  void drop(pugi::xml_node node, std::string_view rule);
  void drop_children(pugi::xml_node node, std::string_view rule);

  void front(pugi::xml_node node, bool main_article);
  void title_group(pugi::xml_node node);
  void article_meta(pugi::xml_node node);
  void abstracts(pugi::xml_node node);
  void back(pugi::xml_node node);
  void sub_article(pugi::xml_node node);

  Heading heading_of(pugi::xml_node node) const;
  void heading(const Heading& heading);
  void section(pugi::xml_node node);
  void mark_section(std::string_view name);
  void title_line(pugi::xml_node node);
  void paragraph(pugi::xml_node node);
  void block(pugi::xml_node node);
  void line(pugi::xml_node node);
  void list(pugi::xml_node node);
  void list_item(pugi::xml_node node, const std::string& marker);
  void def_item(pugi::xml_node node);
  void speech(pugi::xml_node node);
  void preformat(pugi::xml_node node);
  void script(pugi::xml_node node, bool superscript);
  void xref(pugi::xml_node node);
  void citation(pugi::xml_node node);
  void footnote(pugi::xml_node node);
  void alternatives(pugi::xml_node node);

  // floats.cpp
  bool defer(pugi::xml_node node);
  void floats();
  void captioned(pugi::xml_node node, std::string_view kind);
  void figure(pugi::xml_node node);
  void table_wrap(pugi::xml_node node);
  void supplement(pugi::xml_node node);
  void table(pugi::xml_node node);
  void table_row(pugi::xml_node row, TableGrid& grid);
  void empty_cell(TableGrid& grid);
  void covered_cells(TableGrid& grid);
  void table_rows(pugi::xml_node node, std::vector<pugi::xml_node>& rows, size_t& header_rows);

  // formulas.cpp
  void formula(pugi::xml_node node, bool display);
  void tex(pugi::xml_node node);
  void math(pugi::xml_node node);
  void math_layout(pugi::xml_node node);
  void math_fenced(pugi::xml_node node);
  template <class Function>
  void each_argument(pugi::xml_node node, Function function);
  void math_children(pugi::xml_node node);
  void math_script(pugi::xml_node node, bool superscript);
  void math_group(pugi::xml_node node);
  void math_accent(pugi::xml_node node, bool over);
  void math_operator(pugi::xml_node node);
  void math_table(pugi::xml_node node);
  void math_multiscripts(pugi::xml_node node);

  const TextOptions& options_;
  TextWriter writer_;
  Trace* trace_;
  std::vector<SectionMark>* sections_ = nullptr;
  std::string_view rule_ = "paragraph";
  std::string language_;
  std::vector<std::string> path_;       // titles of the open sections
  std::vector<pugi::xml_node> floats_;  // met inside a paragraph, written after it
  int in_paragraph_ = 0;
  int list_depth_ = 0;
  int preserve_ = 0;
  int depth_ = 0;
  bool too_deep_ = false;
};

}  // namespace bm
