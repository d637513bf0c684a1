// The elements of NLM 2.x/3.0, JATS 1.0-1.4, MathML and the OASIS table model that decide how text is
// read. Those not named here are inline: their text runs on.
#pragma once

#include <cstdint>
#include <pugixml.hpp>
#include <string_view>

namespace bm {

enum class Element : uint8_t {
  inline_run,  // everything unknown or purely typographic
  paragraph,
  section,  // sec, app, glossary, boxed text, statement, ...: children with a title of their own
  title,
  label,
  list,
  list_item,
  def_list,
  def_item,
  term,
  block,  // quotes, verse, attributions, ...: breaks before and after
  line,   // verse-line, term-head, ...: a line of its own
  speech,
  preformat,
  code,
  figure,
  figure_group,
  table_wrap,
  table,
  table_foot,
  caption,
  xref,
  superscript,
  subscript,
  inline_formula,
  display_formula,
  math,
  tex_math,
  alternatives,
  graphic,  // graphic, media, alt-text, long-desc: pictures and their descriptions
  footnote,
  footnote_group,
  reference_list,
  supplement,
  line_break,
  metadata,  // identifiers, keywords, permissions: described by the record, not part of the text
  sub_article,
  front_stub,
  body,
  back,
  front,
  floats_group,
};

Element element_of(pugi::xml_node node);

// MathML presentation elements.
enum class MathElement : uint8_t {
  row,
  token,
  op,
  text,
  sup,
  sub,
  subsup,
  frac,
  sqrt,
  root,
  over,
  under,
  underover,
  table,
  table_row,
  cell,
  fenced,
  multiscripts,
  annotation,
  space,
  semantics,
};
MathElement math_element_of(pugi::xml_node node);

}  // namespace bm
