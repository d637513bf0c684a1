#include "corpus/article_text.h"

#include "base/file.h"
#include "corpus/xml.h"

namespace bm {

namespace {

constexpr int kDeepest = 400;

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }
bool is_characters(pugi::xml_node node) {
  return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata;
}

// Primary subtag in lower case: "pt-BR" → "pt".
std::string language_tag(std::string_view tag) {
  std::string out;
  for (char c : tag) {
    if (c == '-' || c == '_') break;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

// Which of the usual sections one is, by @sec-type or by its title in the languages met most.
std::string_view section_name(pugi::xml_node section) {
  std::string words(attribute_named(section, "sec-type"));
  words += ' ';
  words += flat_text(child_named(section, "title")).substr(0, 60);
  for (char& c : words) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  struct Sign {
    std::string_view part, name;
  };
  static constexpr Sign kSigns[] = {
      {"intro", "introduction"},    {"background", "introduction"}, {"method", "methods"},
      {"material", "methods"},      {"métod", "methods"},           {"experimental", "methods"},
      {"procedure", "methods"},     {"result", "results"},          {"findings", "results"},
      {"discuss", "discussion"},    {"conclu", "conclusions"},      {"case", "case"},
      {"introduc", "introduction"}, {"discus", "discussion"},       {"patients", "methods"}};
  for (const Sign& sign : kSigns)
    if (words.find(sign.part) != std::string::npos) return sign.name;
  return "other";
}

class Scope {
 public:
  Scope(std::string_view& rule, std::string_view value) : rule_(rule), before_(rule) { rule = value; }
  ~Scope() { rule_ = before_; }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  std::string_view& rule_;
  std::string_view before_;
};

}  // namespace

Result<std::string> article_text(pugi::xml_node article, const TextOptions& options, Trace* trace,
                                 std::vector<SectionMark>* sections) {
  ArticleWriter writer(options, trace);
  writer.note_sections(sections);
  writer.article(article);
  std::string text = writer.finish();
  if (writer.too_deep()) return bad_input("elements nested deeper than " + std::to_string(kDeepest));
  return text;
}

std::string inline_text(pugi::xml_node node, const TextOptions& options) {
  ArticleWriter writer(options, nullptr);
  writer.writer().flat(1);
  writer.children(node);
  // Citations are settled at the end of a block; a line of flat text is one.
  return writer.finish();
}

void ArticleWriter::characters(pugi::xml_node node) {
  if (preserve_ > 0)
    writer_.preserved(node.value(), node.internal_object(), rule_);
  else
    writer_.text(node.value(), node.internal_object(), rule_);
}

void ArticleWriter::drop(pugi::xml_node root, std::string_view rule) {
  if (!trace_) return;
  if (is_characters(root))
    trace_->dropped.push_back({root.internal_object(), rule});
  else
    drop_children(root, rule);
}

void ArticleWriter::drop_children(pugi::xml_node root, std::string_view rule) {
  if (!trace_) return;
  pugi::xml_node node = root.first_child();
  while (node) {
    if (is_characters(node)) trace_->dropped.push_back({node.internal_object(), rule});
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && node != root && !node.next_sibling()) node = node.parent();
    if (!node || node == root) break;
    node = node.next_sibling();
  }
}

void ArticleWriter::children(pugi::xml_node node) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) this->node(child);
}

void ArticleWriter::node(pugi::xml_node node) {
  if (is_characters(node)) return characters(node);
  if (!is_element(node)) return;
  if (++depth_ > kDeepest) {
    too_deep_ = true;
  } else {
    element(node);
  }
  --depth_;
}

void ArticleWriter::element(pugi::xml_node node) {
  switch (element_of(node)) {
    case Element::paragraph:
      return paragraph(node);
    case Element::section:
      if (sections_ && path_.empty()) {
        writer_.block_break();
        mark_section(section_name(node));
      }
      return section(node);
    case Element::title:
      return title_line(node);
    case Element::label:
      return line(node);
    case Element::list:
    case Element::def_list:
      return list(node);
    case Element::list_item:
      return list_item(node, "");
    case Element::def_item:
      return def_item(node);
    case Element::term:
      return line(node);
    case Element::block:
      return block(node);
    case Element::line:
      return line(node);
    case Element::speech:
      return speech(node);
    case Element::preformat:
    case Element::code:
      return preformat(node);
    case Element::figure:
      return figure(node);
    case Element::figure_group:
      return captioned(node, options_.figures == "drop" ? "figure" : "");
    case Element::table_wrap:
      return table_wrap(node);
    case Element::table:
      return table(node);
    case Element::table_foot:  // notes on cells that are not there
      return options_.tables == "caption" ? drop(node, "table notes") : block(node);
    case Element::caption:
      return block(node);
    case Element::footnote:
      return footnote(node);
    case Element::footnote_group:
      return section(node);
    case Element::reference_list:
      return drop(node, "literature list");
    case Element::supplement:
      return supplement(node);
    case Element::metadata:
      return drop(node, "metadata");
    case Element::sub_article:
      return sub_article(node);
    case Element::front_stub:
    case Element::front:
      return front(node, false);
    case Element::body:
      writer_.block_break();
      mark_section("other");
      return children(node);
    case Element::back:
      writer_.block_break();
      mark_section("back matter");
      return back(node);
    case Element::floats_group:
      return block(node);
    default:
      return inline_element(node);
  }
}

// What stands in the run of a text.
void ArticleWriter::inline_element(pugi::xml_node node) {
  switch (element_of(node)) {
    case Element::xref:
      return xref(node);
    case Element::superscript:
      return script(node, true);
    case Element::subscript:
      return script(node, false);
    case Element::inline_formula:
      return formula(node, false);
    case Element::display_formula:
      return formula(node, true);
    case Element::math:
    case Element::tex_math:
      return formula(node, false);
    case Element::alternatives:
      return alternatives(node);
    case Element::graphic:
      return drop(node, "picture description");
    case Element::line_break:
      return writer_.line_break();
    default:
      return children(node);
  }
}

// ---- the parts of an article ----

void ArticleWriter::article(pugi::xml_node node) {
  language_ = language_tag(attribute_named(node, "lang"));
  if (language_.empty()) language_ = "en";  // the DTD's default
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (is_element(child) && element_of(child) == Element::front)
      front(child, true);
    else
      this->node(child);
  }
}

void ArticleWriter::front(pugi::xml_node node, bool main_article) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    std::string_view name = local_name(child.name());
    if (is_element(child) && name == "article-meta")
      article_meta(child);
    else if (!main_article && is_element(child) &&
             (name == "title-group" || name == "abstract" || name == "trans-abstract" ||
              name == "article-categories"))
      continue;
    else
      drop(child, "metadata");
  }
  // <front-stub> holds what <article-meta> holds.
  if (!main_article && !child_named(node, "article-meta")) {
    for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
      std::string_view name = local_name(child.name());
      if (name == "title-group")
        title_group(child);
      else if (name == "abstract" || name == "trans-abstract")
        abstracts(child);
      else if (name == "article-categories")
        drop(child, "metadata");
    }
  }
}

void ArticleWriter::title_group(pugi::xml_node node) {
  for (pugi::xml_node part = node.first_child(); part; part = part.next_sibling()) {
    std::string_view name = local_name(part.name());
    if (name == "article-title" || name == "subtitle")
      title_line(part);
    else
      drop(part, starts_with(name, "trans-") ? "translated title" : "metadata");
  }
}

void ArticleWriter::article_meta(pugi::xml_node node) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    std::string_view name = local_name(child.name());
    if (is_element(child) && name == "title-group") {
      title_group(child);
    } else if (is_element(child) && (name == "abstract" || name == "trans-abstract")) {
      abstracts(child);
    } else {
      drop(child, "metadata");
    }
  }
}

void ArticleWriter::abstracts(pugi::xml_node node) {
  if (options_.abstracts == "drop") return drop(node, "abstract");
  std::string language = language_tag(attribute_named(node, "lang"));
  bool own = language.empty() ? local_name(node.name()) == "abstract" : language == language_;
  if (options_.abstracts == "own-language" && !own) return drop(node, "abstract in another language");
  Scope scope(rule_, "abstract");
  writer_.block_break();
  mark_section("abstract");
  section(node);
}

void ArticleWriter::back(pugi::xml_node node) {
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    std::string_view name = local_name(child.name());
    bool appendix = name == "app-group" || name == "app" || name == "glossary" || name == "def-list";
    if (options_.back_matter == "all" || (options_.back_matter == "appendices" && appendix)) {
      Scope scope(rule_, "back matter");
      this->node(child);
    } else {
      drop(child, is_element(child) && element_of(child) == Element::reference_list ? "literature list"
                                                                                    : "back matter");
    }
  }
}

void ArticleWriter::sub_article(pugi::xml_node node) {
  std::string language = language_tag(attribute_named(node, "lang"));
  bool own =
      language.empty() ? attribute_named(node, "article-type") != "translation" : language == language_;
  if (options_.sub_articles == "drop") return drop(node, "sub-article");
  if (options_.sub_articles == "own-language" && !own) return drop(node, "sub-article in another language");
  writer_.block_break();
  children(node);
  writer_.block_break();
}

// ---- titles and sections ----

ArticleWriter::Heading ArticleWriter::heading_of(pugi::xml_node node) const {
  return {child_named(node, "label"), child_named(node, "title")};
}

void ArticleWriter::title_line(pugi::xml_node node) {
  writer_.block_break();
  writer_.flat(1);
  {
    Scope scope(rule_, "title");
    children(node);
  }
  writer_.flat(-1);
  writer_.block_break();
}

// "2.1 Patients" on a line of its own; with the titles above it, or as a Markdown heading, if wanted.
void ArticleWriter::heading(const Heading& heading) {
  if (options_.section_titles == "drop") {
    drop(heading.label, "section title");
    drop(heading.title, "section title");
    return;
  }
  if (!heading.label && !heading.title) return;
  writer_.block_break();
  std::string prefix;
  if (options_.section_titles == "path")
    for (size_t i = 0; i + 1 < path_.size(); ++i)
      if (!path_[i].empty()) prefix += path_[i] + " > ";
  if (options_.section_titles == "markdown")
    prefix = std::string(std::min<size_t>(path_.size() + 1, 6), '#') + " ";
  writer_.prefix(std::move(prefix));
  writer_.flat(1);
  Scope scope(rule_, "title");
  children(heading.label);
  writer_.space();
  children(heading.title);
  writer_.flat(-1);
  writer_.clear_prefix();
  writer_.block_break();
}

// A title and what follows. A title of which nothing follows (all of its figures or statements were
// left out by an option) goes too.
void ArticleWriter::section(pugi::xml_node node) {
  writer_.block_break();
  TextWriter::State before = writer_.save();
  Heading own = heading_of(node);
  path_.push_back(own.title && options_.section_titles == "path" ? flat_text(own.title) : std::string());
  heading(own);
  size_t after_heading = writer_.size();
  bool has_content = false;
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (child == own.label || child == own.title) continue;
    has_content = has_content || is_element(child);
    this->node(child);
  }
  path_.pop_back();
  writer_.block_break();
  if (has_content && writer_.size() == after_heading && after_heading > before.size)
    writer_.roll_back(before, "title of a section left empty");
}

// What is written from here on belongs to that section. A mark behind which nothing stands gives way.
void ArticleWriter::mark_section(std::string_view name) {
  if (!sections_) return;
  while (!sections_->empty() && sections_->back().begin >= writer_.size()) sections_->pop_back();
  if (writer_.size() > 0 && sections_->empty()) sections_->push_back({0, "title"});
  sections_->push_back({writer_.size(), name});
}

void ArticleWriter::paragraph(pugi::xml_node node) {
  writer_.block_break();
  ++in_paragraph_;
  children(node);
  --in_paragraph_;
  writer_.block_break();
  floats();
}

void ArticleWriter::block(pugi::xml_node node) {
  writer_.block_break();
  children(node);
  writer_.block_break();
}

void ArticleWriter::line(pugi::xml_node node) {
  writer_.line_break();
  children(node);
  writer_.line_break();
}

void ArticleWriter::preformat(pugi::xml_node node) {
  std::string_view content = node.child_value();
  bool own_lines = element_of(node) == Element::preformat || content.find('\n') != std::string_view::npos;
  if (own_lines) writer_.block_break();
  ++preserve_;
  children(node);
  --preserve_;
  if (own_lines) writer_.block_break();
}

// "Dr. Smith: Good morning."
void ArticleWriter::speech(pugi::xml_node node) {
  writer_.block_break();
  pugi::xml_node speaker = child_named(node, "speaker");
  if (speaker) {
    children(speaker);
    if (!ends_with(writer_.written(), ":")) writer_.generated(":");
    writer_.space();
  }
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (child == speaker) continue;
    if (is_element(child) && element_of(child) == Element::paragraph) {
      children(child);
      writer_.line_break();
    } else {
      this->node(child);
    }
  }
  writer_.block_break();
}

// ---- inline elements ----

void ArticleWriter::script(pugi::xml_node node, bool superscript) {
  writer_.open_mark();
  children(node);
  writer_.finish_script(superscript);
}

// Of several forms of the same thing the first that is text: MathML, TeX, a table, a textual form.
void ArticleWriter::alternatives(pugi::xml_node node) {
  pugi::xml_node chosen;
  for (pugi::xml_node child = node.first_child(); child && !chosen; child = child.next_sibling())
    if (is_element(child) && element_of(child) != Element::graphic) chosen = child;
  bool math = chosen && (element_of(chosen) == Element::math || element_of(chosen) == Element::tex_math);
  if (math) return formula(node, false);
  for (pugi::xml_node child = node.first_child(); child; child = child.next_sibling()) {
    if (child == chosen)
      this->node(child);
    else
      drop(child, is_characters(child) ? "white space" : "other form of the same");
  }
}

}  // namespace bm
