#include "corpus/xml.h"

#include <algorithm>

namespace bm {

namespace {

size_t line_of(std::string_view text, size_t offset) {
  offset = std::min(offset, text.size());
  return 1 + static_cast<size_t>(
                 std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }

}  // namespace

Result<std::unique_ptr<XmlTree>> parse_xml(std::string bytes) {
  BM_TRY(Decoded decoded, decode_to_utf8(std::move(bytes)));
  auto tree = std::make_unique<XmlTree>();
  tree->encoding = std::move(decoded.encoding);
  tree->notes = std::move(decoded.notes);
  tree->buffer = std::move(decoded.text);
  BM_CHECK_OK(resolve_entities(tree->buffer, tree->notes));
  constexpr unsigned kFlags = pugi::parse_escapes | pugi::parse_eol | pugi::parse_cdata |
                              pugi::parse_ws_pcdata | pugi::parse_wconv_attribute;
  // Parsing in place overwrites the buffer, so the line is only known when the tree is not wanted anyway:
  // markup characters that pugixml turns into ends of strings are never line ends.
  pugi::xml_parse_result result = tree->document.load_buffer_inplace(tree->buffer.data(), tree->buffer.size(),
                                                                     kFlags, pugi::encoding_utf8);
  if (!result) {
    size_t offset = result.offset > 0 ? static_cast<size_t>(result.offset) : 0;
    return bad_input("not well-formed XML: " + std::string(result.description()))
        .in("line " + std::to_string(line_of(tree->buffer, offset)));
  }
  size_t roots = 0;
  for (pugi::xml_node node : tree->document.children()) roots += is_element(node) ? 1 : 0;
  if (roots == 0) return bad_input("holds no XML element");
  if (roots > 1) return bad_input("holds " + std::to_string(roots) + " root elements, XML has one");
  return tree;
}

std::vector<pugi::xml_node> find_articles(const pugi::xml_document& document) {
  std::vector<pugi::xml_node> found;
  pugi::xml_node node = document.first_child();
  while (node) {
    bool article = is_element(node) && local_name(node.name()) == "article";
    if (article) found.push_back(node);
    if (!article && node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && !node.next_sibling()) node = node.parent();
    if (node) node = node.next_sibling();
  }
  return found;
}

pugi::xml_node child_named(pugi::xml_node parent, std::string_view name) {
  for (pugi::xml_node node = parent.first_child(); node; node = node.next_sibling())
    if (is_element(node) && local_name(node.name()) == name) return node;
  return {};
}

std::string_view attribute_named(pugi::xml_node node, std::string_view name) {
  for (pugi::xml_attribute attribute = node.first_attribute(); attribute;
       attribute = attribute.next_attribute())
    if (local_name(attribute.name()) == name) return attribute.value();
  return {};
}

std::string flat_text(pugi::xml_node root) {
  std::string text;
  pugi::xml_node node = root.first_child();
  bool space = false;
  while (node) {
    if (node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata) {
      for (const char* c = node.value(); *c; ++c) {
        if (*c == ' ' || *c == '\n' || *c == '\t' || *c == '\r') {
          space = !text.empty();
        } else {
          if (space) text += ' ';
          space = false;
          text += *c;
        }
      }
    }
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && node != root && !node.next_sibling()) node = node.parent();
    if (!node || node == root) break;
    node = node.next_sibling();
  }
  return text;
}

}  // namespace bm
