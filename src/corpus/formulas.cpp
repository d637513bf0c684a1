// Formulas of ArticleWriter: MathML to one line of text, TeX without its document wrapper.
#include <algorithm>
#include <array>

#include "base/file.h"
#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm {

namespace {

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }
bool is_characters(pugi::xml_node node) {
  return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata;
}

// First descendant (not below another formula form) of a kind; iterative.
pugi::xml_node find_kind(pugi::xml_node root, Element kind) {
  pugi::xml_node node = root.first_child();
  while (node) {
    if (is_element(node) && element_of(node) == kind) return node;
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && node != root && !node.next_sibling()) node = node.parent();
    if (!node || node == root) break;
    node = node.next_sibling();
  }
  return {};
}

bool inside(pugi::xml_node node, pugi::xml_node ancestor) {
  for (; node; node = node.parent())
    if (node == ancestor) return true;
  return false;
}

size_t element_children(pugi::xml_node node) {
  size_t count = 0;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling())
    count += is_element(child) ? 1 : 0;
  return count;
}

// The formula inside \begin{document}…\end{document}, without its dollars: [begin, end) in the source.
std::pair<size_t, size_t> tex_body(std::string_view source) {
  size_t begin = 0, end = source.size();
  if (size_t at = source.find("\\begin{document}"); at != std::string_view::npos) begin = at + 16;
  if (size_t at = source.find("\\end{document}", begin); at != std::string_view::npos) end = at;
  auto strip = [&] {
    while (begin < end && (source[begin] == ' ' || source[begin] == '\n' || source[begin] == '\t' ||
                           source[begin] == '\r' || source[begin] == '$'))
      ++begin;
    while (end > begin && (source[end - 1] == ' ' || source[end - 1] == '\n' || source[end - 1] == '\t' ||
                           source[end - 1] == '\r' || source[end - 1] == '$'))
      --end;
  };
  strip();
  return {begin, end};
}

// Operators that stand between spaces.
bool is_spaced_operator(std::string_view text) {
  static constexpr std::string_view kSpaced[] = {"=", "<", ">",  "+", "-", "−", "≤", "≥", "≠", "≈", "≡", "∼",
                                                 "~", "∝", "×",  "·", "⋅", "∗", "*", "±", "∓", "→", "←", "↔",
                                                 "⇒", "⇔", "∈",  "∉", "⊂", "⊆", "∩", "∪", "∧", "∨", "≪", "≫",
                                                 "⩽", "⩾", ":=", "≔", "≅", "≃", "⊗", "⊕", "|", "∣", "∘"};
  for (std::string_view candidate : kSpaced)
    if (candidate == text) return true;
  return false;
}

bool is_invisible(std::string_view text) {
  return text == "\u2061" || text == "\u2062" || text == "\u2063" || text == "\u2064";
}

}  // namespace

// formula: inline-formula, disp-formula, alternatives, or a bare math element.
void ArticleWriter::formula(pugi::xml_node node, bool display) {
  if (display) writer_.block_break();
  if (options_.formulas == "drop") {
    drop(node, "formula");
    return;
  }
  pugi::xml_node math_node = element_of(node) == Element::math ? node : find_kind(node, Element::math);
  pugi::xml_node tex_node = element_of(node) == Element::tex_math ? node : find_kind(node, Element::tex_math);
  pugi::xml_node chosen =
      options_.formulas == "tex" ? (tex_node ? tex_node : math_node) : (math_node ? math_node : tex_node);
  std::string_view outer = rule_;
  rule_ = "formula";
  if (options_.formulas == "mark") {
    writer_.generated("[formula]");
    drop(node, "formula");
  } else if (chosen == node) {
    element_of(node) == Element::math ? math(node) : tex(node);
  } else {
    size_t before = writer_.size();
    pugi::xml_node label = child_named(node, "label");
    bool other_text = false;
    for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
      if (child == label) continue;
      Element kind = is_element(child) ? element_of(child) : Element::inline_run;
      if (child == chosen)
        kind == Element::math ? math(child) : tex(child);
      else if (chosen && (kind == Element::math || kind == Element::tex_math))
        drop(child, "other form of the same");
      else if (chosen && kind == Element::alternatives && inside(chosen, child))
        formula(child, false);
      else if (is_element(child) && kind == Element::paragraph)
        children(child);
      else {
        other_text = other_text || is_element(child);
        this->node(child);
      }
    }
    // Only a picture: the mark keeps the sentence whole.
    if (!chosen && other_text && writer_.size() == before && element_of(node) != Element::alternatives)
      writer_.generated("[formula]");
    if (label) {
      writer_.space();
      children(label);
    }
  }
  rule_ = outer;
  if (display) writer_.block_break();
}

void ArticleWriter::tex(pugi::xml_node node) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (!is_characters(child)) {
      drop(child, "markup inside TeX");
      continue;
    }
    std::string_view source = child.value();
    auto [begin, end] = tex_body(source);
    if (begin >= end) {
      drop(child, "white space");
      continue;
    }
    writer_.generated("$");
    writer_.text(source.substr(begin, end - begin), child.internal_object(), "TeX formula");
    writer_.generated("$");
    if (trace_ && !trace_->landings.empty()) {
      Landing& landing = trace_->landings.back();
      landing.cuts.push_back({0, std::string(source.substr(0, begin)), "TeX wrapper"});
      landing.cuts.push_back({landing.end - landing.begin, std::string(source.substr(end)), "TeX wrapper"});
    }
  }
}

// ---- MathML ----

void ArticleWriter::math_children(pugi::xml_node node) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) math(child);
}

// A part that must be seen as one: in brackets unless it is a single token.
void ArticleWriter::math_group(pugi::xml_node node) {
  pugi::xml_node inner = node;
  while (inner && math_element_of(inner) == MathElement::row && element_children(inner) == 1 &&
         !inner.first_child().next_sibling())
    inner = inner.first_child();
  MathElement kind = math_element_of(inner);
  bool single = kind == MathElement::token || kind == MathElement::text || kind == MathElement::fenced ||
                kind == MathElement::sup || kind == MathElement::sub || kind == MathElement::subsup ||
                kind == MathElement::sqrt || kind == MathElement::over || element_children(node) == 0;
  if (!single) writer_.generated("(");
  math(node);
  if (!single) writer_.generated(")");
}

void ArticleWriter::math_script(pugi::xml_node node, bool superscript) {
  writer_.open_mark();
  math(node);
  writer_.finish_script(superscript);
}

// x̄ with a combining character where there is one; else the mark as a script.
void ArticleWriter::math_accent(pugi::xml_node node, bool over) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kAccents = {
      {{"¯", "\u0304"},
       {"‾", "\u0304"},
       {"―", "\u0304"},
       {"_", "\u0304"},
       {"^", "\u0302"},
       {"ˆ", "\u0302"},
       {"~", "\u0303"},
       {"˜", "\u0303"},
       {"∼", "\u0303"},
       {"˙", "\u0307"},
       {".", "\u0307"},
       {"→", "\u20D7"},
       {"⃗", "\u20D7"},
       {"ˇ", "\u030C"}}};
  pugi::xml_node base, mark;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (!is_element(child))
      math(child);
    else if (!base)
      base = child;
    else if (!mark)
      mark = child;
    else
      math(child);
  }
  math(base);
  if (!mark) return;
  std::string text = flat_text(mark);
  for (auto [sign, combining] : kAccents)
    if (over && text == sign && flat_text(base).size() <= 4) {
      writer_.generated(combining);
      return drop(mark, "accent written as a combining character");
    }
  math_script(mark, over);
}

void ArticleWriter::math_operator(pugi::xml_node node) {
  std::string text = flat_text(node);
  if (is_invisible(text)) {
    if (text == "\u2062") writer_.space();
    return drop(node, "invisible operator");
  }
  // A sign at the beginning of a group ("−1", "(−x") belongs to what follows.
  std::string_view so_far = writer_.written();
  bool first = so_far.empty() || so_far.back() == '(' || so_far.back() == '[' || so_far.back() == '\n' ||
               so_far.back() == '^' || so_far.back() == ',';
  pugi::xml_node previous = node.previous_sibling();
  while (previous && !is_element(previous)) previous = previous.previous_sibling();
  bool infix = previous && !first && is_spaced_operator(text) && node.parent() &&
               math_element_of(node.parent()) == MathElement::row;
  if (infix) writer_.space();
  math_children(node);
  if (infix || text == "," || text == ";") writer_.space();
}

void ArticleWriter::math_table(pugi::xml_node node) {
  bool first_row = true;
  for (pugi::xml_node row = node.first_child(); row; row = row.next_sibling()) {
    if (!is_element(row)) {
      math(row);
      continue;
    }
    if (!first_row) writer_.generated(";");
    if (!first_row) writer_.space();
    first_row = false;
    bool first_cell = true;
    for (pugi::xml_node cell = row.first_child(); cell; cell = cell.next_sibling()) {
      if (is_element(cell) && !first_cell) writer_.space();
      if (is_element(cell)) first_cell = false;
      math(cell);
    }
  }
}

// base, then pairs of subscript and superscript; after mprescripts the pairs that stand before the base.
void ArticleWriter::math_multiscripts(pugi::xml_node node) {
  size_t position = 0;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (!is_element(child)) {
      math(child);
      continue;
    }
    std::string_view name = local_name(child.name());
    if (name == "mprescripts") {
      position = 1;
      continue;
    }
    if (position == 0)
      math(child);
    else if (name != "none" && name != "mnone")
      math_script(child, position % 2 == 0);
    ++position;
  }
}

// Calls function(child, number) for the elements; text nodes between them (white space) take part in
// the account too.
template <class Function>
void ArticleWriter::each_argument(pugi::xml_node node, Function function) {
  size_t index = 0;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (is_element(child))
      function(child, index++);
    else
      math(child);
  }
}

void ArticleWriter::math_fenced(pugi::xml_node node) {
  // Attributes' characters are the file's: the writer's own marks cannot come from there.
  auto plain = [](std::string_view text) {
    std::string out;
    for (char c : text)
      if (static_cast<unsigned char>(c) > 0x20) out += c;
    return out;
  };
  bool said_separators = !node.attribute("separators").empty();
  std::string separators = plain(node.attribute("separators").value());
  bool ascii = std::all_of(separators.begin(), separators.end(),
                           [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  writer_.generated(node.attribute("open").empty() ? "(" : plain(attribute_named(node, "open")));
  each_argument(node, [&](pugi::xml_node child, size_t i) {
    if (i > 0 && (!said_separators || !ascii))
      writer_.generated(", ");
    else if (i > 0 && !separators.empty())
      writer_.generated(separators.substr(std::min(i, separators.size()) - 1, 1));
    math(child);
  });
  writer_.generated(node.attribute("close").empty() ? ")" : plain(attribute_named(node, "close")));
}

// Elements whose children have places: scripts, fractions, roots.
void ArticleWriter::math_layout(pugi::xml_node node) {
  MathElement kind = math_element_of(node);
  bool fraction = kind == MathElement::frac, root = kind == MathElement::root,
       plain_base = kind == MathElement::underover;
  if (root) writer_.generated("root(");
  each_argument(node, [&](pugi::xml_node child, size_t i) {
    bool raised = kind == MathElement::sup || i == 2;
    if (i == 1 && fraction) writer_.generated("/");
    if (i == 1 && root) writer_.generated(", ");
    if (root || (i == 0 && plain_base))
      math(child);
    else if (i == 0 || fraction)
      math_group(child);
    else
      math_script(child, raised);
  });
  if (root) writer_.generated(")");
}

void ArticleWriter::math(pugi::xml_node node) {
  if (is_characters(node)) return writer_.text(trim(node.value()), node.internal_object(), "formula");
  if (!is_element(node)) return;
  if (++depth_ > 400) {
    too_deep_ = true;
    --depth_;
    return;
  }
  switch (math_element_of(node)) {
    case MathElement::row:
    case MathElement::token:
    case MathElement::semantics:
    case MathElement::table_row:
    case MathElement::cell:
      math_children(node);
      break;
    case MathElement::text:
      children(node);
      break;
    case MathElement::op:
      math_operator(node);
      break;
    case MathElement::sup:
    case MathElement::sub:
    case MathElement::subsup:
    case MathElement::frac:
    case MathElement::root:
    case MathElement::underover:
      math_layout(node);
      break;
    case MathElement::sqrt:
      writer_.generated("√(");
      math_children(node);
      writer_.generated(")");
      break;
    case MathElement::over:
    case MathElement::under:
      math_accent(node, math_element_of(node) == MathElement::over);
      break;
    case MathElement::table:
      math_table(node);
      break;
    case MathElement::fenced:
      math_fenced(node);
      break;
    case MathElement::multiscripts:
      math_multiscripts(node);
      break;
    case MathElement::annotation:
      drop(node, "other form of the same");
      break;
    case MathElement::space:
      writer_.space();
      drop(node, "white space");
      break;
  }
  --depth_;
}

}  // namespace bm
