// Lists, definition lists, cross-references, citations and footnotes of ArticleWriter.
#include "base/file.h"
#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm {

namespace {

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }

std::string roman(size_t number) {
  static constexpr std::pair<size_t, const char*> kParts[] = {
      {1000, "m"}, {900, "cm"}, {500, "d"}, {400, "cd"}, {100, "c"}, {90, "xc"}, {50, "l"},
      {40, "xl"},  {10, "x"},   {9, "ix"},  {5, "v"},    {4, "iv"},  {1, "i"}};
  std::string out;
  for (auto [value, digits] : kParts)
    for (; number >= value; number -= value) out += digits;
  return out;
}

std::string alphabetic(size_t number) {
  std::string out;
  for (; number > 0; number = (number - 1) / 26)
    out.insert(out.begin(), static_cast<char>('a' + (number - 1) % 26));
  return out;
}

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

// What stands before the number-th item of a list without labels of its own.
std::string marker_of(std::string_view type, size_t number) {
  number = number < 4000 ? number : 3999;
  if (type == "order" || type == "ordered" || type == "number" || type == "arabic")
    return std::to_string(number) + ". ";
  if (type == "alpha-lower") return alphabetic(number) + ". ";
  if (type == "alpha-upper") return upper(alphabetic(number)) + ". ";
  if (type == "roman-lower") return roman(number) + ". ";
  if (type == "roman-upper") return upper(roman(number)) + ". ";
  if (type == "simple" || type == "none") return "";
  return "- ";
}

bool is_literature(std::string_view type) { return type == "bibr" || type == "bib" || type == "ref"; }
bool is_footnote_mark(std::string_view type) {
  return type == "fn" || type == "table-fn" || type == "aff" || type == "corresp" || type == "author-notes" ||
         type == "author-note" || type == "contrib";
}

// Whether a citation is a number ("12", "3a", "[4, 5]") and neither a name nor a year.
bool is_numeric(std::string_view text) {
  size_t digits = 0, letters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c >= '0' && c <= '9') {
      size_t run = i;
      while (run < text.size() && text[run] >= '0' && text[run] <= '9') ++run;
      std::string_view number = text.substr(i, run - i);
      if (number.size() > 4) return false;
      if (number.size() == 4 && (number[0] == '1' || number[0] == '2')) return false;  // a year
      digits += number.size();
      letters = 0;
      i = run - 1;
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      if (digits == 0 || ++letters > 1) return false;
    } else if (c >= 0xC3 && c < 0xE2) {
      return false;
    } else {
      letters = 0;
    }
  }
  return digits > 0;
}

// Whether all of an element's text stands in superscripts.
bool is_raised(pugi::xml_node node) {
  bool found = false;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (is_element(child)) {
      if (element_of(child) != Element::superscript && !is_raised(child)) return false;
      found = true;
    } else if (!trim(child.value()).empty()) {
      return false;
    }
  }
  return found;
}

bool brings_brackets(std::string_view text) {
  return text.size() >= 2 &&
         ((text.front() == '[' && text.back() == ']') || (text.front() == '(' && text.back() == ')'));
}

}  // namespace

void ArticleWriter::list(pugi::xml_node node) {
  writer_.block_break();
  Heading own = heading_of(node);
  if (own.label || own.title) heading(own);
  std::string_view type = attribute_named(node, "list-type");
  size_t number = 0;
  writer_.soft(1);
  ++list_depth_;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (child == own.label || child == own.title) continue;
    Element kind = is_element(child) ? element_of(child) : Element::inline_run;
    if (kind == Element::list_item)
      list_item(child, marker_of(type, ++number));
    else
      this->node(child);
  }
  --list_depth_;
  writer_.soft(-1);
  writer_.block_break();
}

void ArticleWriter::list_item(pugi::xml_node node, const std::string& marker) {
  writer_.line_break();
  pugi::xml_node label = child_named(node, "label");
  std::string indent(list_depth_ > 1 ? static_cast<size_t>(list_depth_ - 1) * 2 : 0, ' ');
  if (writer_.is_flat()) indent.clear();
  writer_.prefix(indent + (label ? "" : marker));
  if (label) {
    children(label);
    writer_.clear_prefix();
  }
  // The first block of the item stands on the marker's line.
  bool first = true;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (child == label) continue;
    bool opens = is_element(child) && first && label;
    if (opens) first = false;
    if (opens && element_of(child) == Element::paragraph) {
      writer_.space();
      ++in_paragraph_;
      children(child);
      --in_paragraph_;
      writer_.line_break();
      floats();
    } else {
      this->node(child);
    }
  }
  writer_.clear_prefix();
  writer_.line_break();
}

// "term: definition"
void ArticleWriter::def_item(pugi::xml_node node) {
  writer_.line_break();
  bool first = true;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    Element kind = is_element(child) ? element_of(child) : Element::inline_run;
    if (kind == Element::term || kind == Element::label) {
      if (!first) writer_.space();
      first = false;
      children(child);
    } else if (local_name(child.name()) == "def") {
      std::string_view so_far = writer_.written();
      bool marked = so_far.empty() || so_far.back() == ':' || so_far.back() == '=' || so_far.back() == '-' ||
                    so_far.back() == '\n';
      if (!first && !marked) writer_.generated(":");
      writer_.space();
      // Paragraphs of the definition run on from the term; further ones get a line.
      bool opened = false;
      for (pugi::xml_node part = child.first_child(); part; part = part.next_sibling()) {
        if (is_element(part) && element_of(part) == Element::paragraph && !opened) {
          opened = true;
          ++in_paragraph_;
          children(part);
          --in_paragraph_;
        } else {
          this->node(part);
        }
      }
    } else {
      this->node(child);
    }
  }
  writer_.line_break();
  floats();
}

void ArticleWriter::xref(pugi::xml_node node) {
  std::string_view type = attribute_named(node, "ref-type");
  if (is_literature(type)) return citation(node);
  if (is_footnote_mark(type)) {
    if (options_.footnotes == "drop" || type != "fn") return drop(node, "footnote mark");
    return children(node);
  }
  if (options_.cross_references == "drop") return drop(node, "cross-reference");
  children(node);
}

void ArticleWriter::citation(pugi::xml_node node) {
  if (options_.citations == "keep") return children(node);
  std::string content = flat_text(node);
  bool all = options_.citations == "drop" || options_.citations == "mark";
  if (!all && !is_numeric(content)) return children(node);
  bool self_contained = all || is_raised(node) || brings_brackets(content);
  writer_.open_mark();
  children(node);
  writer_.finish_citation(self_contained);
}

void ArticleWriter::footnote(pugi::xml_node node) {
  if (options_.footnotes == "drop") return drop(node, "footnote");
  if (defer(node)) return;
  writer_.block_break();
  writer_.soft(1);
  if (pugi::xml_node label = child_named(node, "label")) {
    children(label);
    writer_.space();
    bool first = true;
    for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
      if (child == label) continue;
      if (is_element(child) && first && element_of(child) == Element::paragraph) {
        first = false;
        children(child);
        writer_.line_break();
      } else {
        this->node(child);
      }
    }
  } else {
    children(node);
  }
  writer_.soft(-1);
  writer_.block_break();
}

}  // namespace bm
