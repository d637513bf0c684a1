// One file's bytes → an XML tree (pugixml), with what pugixml leaves to its caller: encodings, named
// characters of the JATS DTDs, entities declared in the file, and refusal of what is no XML.
//
//   bytes → encoding (BOM, declaration, sniffed) → UTF-8 → DOCTYPE read and blanked → entities → tree
//
// Nothing is fetched and nothing is expanded through another entity: a "billion laughs" file ends as an
// error at its first reference. Undeclared names that no JATS DTD has are an error too.
#pragma once

#include <memory>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

struct XmlTree {
  std::string buffer;  // the tree points into it
  pugi::xml_document document;
  std::string encoding;            // "UTF-8", "UTF-16LE", "windows-1252", ...
  std::vector<std::string> notes;  // what was repaired or guessed, for the ledger
};

// Errors (bad_input): empty, unknown encoding, bytes that do not fit the declared encoding, not well
// formed (with line), undefined entity, more than one root element.
Result<std::unique_ptr<XmlTree>> parse_xml(std::string bytes);

// The topmost <article> elements: the root, or those inside a wrapper such as <pmc-articleset>.
std::vector<pugi::xml_node> find_articles(const pugi::xml_document& document);

// Name without its prefix: "mml:math" → "math".
inline std::string_view local_name(const char* name) {
  std::string_view whole = name;
  size_t colon = whole.find(':');
  return colon == std::string_view::npos ? whole : whole.substr(colon + 1);
}

// First child with that local name; null node when there is none.
pugi::xml_node child_named(pugi::xml_node parent, std::string_view name);
// Attribute by local name ("href" finds xlink:href); "" when absent.
std::string_view attribute_named(pugi::xml_node node, std::string_view name);
// All text below the node, runs of white space as one space, ends trimmed. Iterative: any depth.
std::string flat_text(pugi::xml_node node);

// Bytes in a named encoding → UTF-8. Used by parse_xml; apart for its tests.
struct Decoded {
  std::string text;
  std::string encoding;
  std::vector<std::string> notes;
};
Result<Decoded> decode_to_utf8(std::string bytes);
// Offset of the first byte that is no valid UTF-8; npos when all is.
size_t first_invalid_utf8(std::string_view text);

// Replaces references to named and declared entities and blanks the DOCTYPE (same length).
Status resolve_entities(std::string& text, std::vector<std::string>& notes);

}  // namespace bm
