#include "corpus/elements.h"

#include <array>
#include <cstddef>

#include "corpus/xml.h"

namespace bm {

namespace {

template <class Kind>
struct Entry {
  std::string_view name;
  Kind kind;
};

// Open-addressed table over a cheap hash of the name; built once.
template <class Kind, size_t kSize>
class NameTable {
 public:
  template <size_t N>
  explicit NameTable(const Entry<Kind> (&entries)[N]) {
    static_assert(N * 2 <= kSize);
    for (const Entry<Kind>& entry : entries) {
      size_t slot = hash(entry.name);
      while (!slots_[slot].name.empty()) slot = (slot + 1) % kSize;
      slots_[slot] = entry;
    }
  }
  Kind find(std::string_view name, Kind otherwise) const {
    if (name.empty()) return otherwise;
    for (size_t slot = hash(name); !slots_[slot].name.empty(); slot = (slot + 1) % kSize)
      if (slots_[slot].name == name) return slots_[slot].kind;
    return otherwise;
  }

 private:
  static size_t hash(std::string_view name) {
    auto at = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(name[i])); };
    return (name.size() * 131 + at(0) * 31 + at(name.size() / 2) * 17 + at(name.size() - 1) * 7) % kSize;
  }
  std::array<Entry<Kind>, kSize> slots_{};
};

using E = Element;
constexpr Entry<Element> kElements[] = {
    {"p", E::paragraph},
    {"sec", E::section},
    {"app", E::section},
    {"app-group", E::section},
    {"glossary", E::section},
    {"boxed-text", E::section},
    {"statement", E::section},
    {"ack", E::section},
    {"notes", E::section},
    {"abstract", E::section},
    {"trans-abstract", E::section},
    {"bio", E::section},
    {"verse-group", E::section},
    {"treatment-sec", E::section},
    {"question-wrap", E::section},
    {"question", E::section},
    {"answer", E::section},
    {"answer-set", E::section},
    {"explanation", E::section},
    {"option", E::section},
    {"floats-wrap", E::floats_group},
    {"title", E::title},
    {"subtitle", E::title},
    {"article-title", E::title},
    {"trans-title", E::title},
    {"label", E::label},
    {"list", E::list},
    {"list-item", E::list_item},
    {"def-list", E::def_list},
    {"def-item", E::def_item},
    {"term", E::term},
    {"disp-quote", E::block},
    {"attrib", E::block},
    {"nomenclature", E::block},
    {"taxon-treatment", E::block},
    {"sig-block", E::block},
    {"sig", E::line},
    {"def", E::block},
    {"address", E::block},
    {"verse-line", E::line},
    {"def-head", E::line},
    {"term-head", E::line},
    {"disp-quote-group", E::block},
    {"block-alternatives", E::alternatives},
    {"speech", E::speech},
    {"preformat", E::preformat},
    {"code", E::code},
    {"fig", E::figure},
    {"chem-struct-wrap", E::figure},
    {"fig-group", E::figure_group},
    {"table-wrap-group", E::figure_group},
    {"table-wrap", E::table_wrap},
    {"table", E::table},
    {"tgroup", E::table},
    {"array", E::table},
    {"table-wrap-foot", E::table_foot},
    {"caption", E::caption},
    {"xref", E::xref},
    {"sup", E::superscript},
    {"sub", E::subscript},
    {"inline-formula", E::inline_formula},
    {"disp-formula", E::display_formula},
    {"disp-formula-group", E::block},
    {"math", E::math},
    {"tex-math", E::tex_math},
    {"alternatives", E::alternatives},
    {"graphic", E::graphic},
    {"inline-graphic", E::graphic},
    {"media", E::graphic},
    {"inline-media", E::graphic},
    {"alt-text", E::graphic},
    {"long-desc", E::graphic},
    {"private-char", E::graphic},
    {"glyph-data", E::graphic},
    {"textual-form", E::inline_run},
    {"fn", E::footnote},
    {"fn-group", E::footnote_group},
    {"ref-list", E::reference_list},
    {"ref", E::reference_list},
    {"supplementary-material", E::supplement},
    {"supplement", E::supplement},
    {"break", E::line_break},
    {"object-id", E::metadata},
    {"sec-meta", E::metadata},
    {"kwd-group", E::metadata},
    {"kwd", E::metadata},
    {"permissions", E::metadata},
    {"custom-meta-group", E::metadata},
    {"custom-meta-wrap", E::metadata},
    {"processing-meta", E::metadata},
    {"subj-group", E::metadata},
    {"contrib-group", E::metadata},
    {"contrib", E::metadata},
    {"author-notes", E::metadata},
    {"aff", E::metadata},
    {"aff-alternatives", E::metadata},
    {"treatment-meta", E::metadata},
    {"history", E::metadata},
    {"pub-history", E::metadata},
    {"issue-title", E::metadata},
    {"page-count", E::metadata},
    {"index-term", E::metadata},
    {"index-term-range-end", E::metadata},
    {"copyright-statement", E::metadata},
    {"license", E::metadata},
    {"sub-article", E::sub_article},
    {"response", E::sub_article},
    {"front-stub", E::front_stub},
    {"front", E::front},
    {"body", E::body},
    {"back", E::back},
    {"floats-group", E::floats_group},
};

using M = MathElement;
constexpr Entry<MathElement> kMathElements[] = {
    {"mi", M::token},
    {"mn", M::token},
    {"mo", M::op},
    {"mtext", M::text},
    {"ms", M::text},
    {"msup", M::sup},
    {"msub", M::sub},
    {"msubsup", M::subsup},
    {"mfrac", M::frac},
    {"msqrt", M::sqrt},
    {"mroot", M::root},
    {"mover", M::over},
    {"munder", M::under},
    {"munderover", M::underover},
    {"mtable", M::table},
    {"mtr", M::table_row},
    {"mlabeledtr", M::table_row},
    {"mtd", M::cell},
    {"mfenced", M::fenced},
    {"mmultiscripts", M::multiscripts},
    {"annotation", M::annotation},
    {"annotation-xml", M::annotation},
    {"mspace", M::space},
    {"semantics", M::semantics},
};

}  // namespace

Element element_of(pugi::xml_node node) {
  static const NameTable<Element, 512> table(kElements);
  return table.find(local_name(node.name()), Element::inline_run);
}

MathElement math_element_of(pugi::xml_node node) {
  static const NameTable<MathElement, 64> table(kMathElements);
  return table.find(local_name(node.name()), MathElement::row);
}

}  // namespace bm
