// DOCTYPE and entity references. Of a file's own declarations only those whose text is plain characters
// are taken; parameter entities, external ones and those built from others are never followed.
#include <cstring>
#include <map>

#include "corpus/entities.h"
#include "corpus/xml.h"

namespace bm {

namespace {

constexpr size_t kLongestDeclared = 1024;      // bytes of one entity's text
constexpr size_t kExpansionBudget = 1u << 20;  // bytes that declared entities may add to one file

struct DeclaredEntity {
  std::string text;
  std::string refused;  // why it is not expanded; "" when it is
};
using Declarations = std::map<std::string, DeclaredEntity, std::less<>>;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_name(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_' ||
         c == '.' || c == ':' || static_cast<unsigned char>(c) >= 0x80;
}
bool is_xml_own(std::string_view name) {
  return name == "lt" || name == "gt" || name == "amp" || name == "quot" || name == "apos";
}

// Markup characters stay escaped, for the parser's eyes.
void append_escaped(std::string& out, std::string_view text) {
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
}

// Replacement text of a declared entity in the form it may stand in the document; refused otherwise.
DeclaredEntity plain_value(std::string_view value) {
  DeclaredEntity entity;
  if (value.size() > kLongestDeclared) {
    entity.refused = "its text is longer than " + std::to_string(kLongestDeclared) + " bytes";
    return entity;
  }
  if (value.find('<') != std::string_view::npos) {
    entity.refused = "its text holds markup";
    return entity;
  }
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '&' && value[i] != '%') {
      entity.text += value[i];
      continue;
    }
    size_t end = value.find(';', i);
    std::string_view name =
        end == std::string_view::npos ? std::string_view{} : value.substr(i + 1, end - i - 1);
    if (value[i] == '%' && end == std::string_view::npos) {
      entity.text += '%';
      continue;
    }
    bool character = value[i] == '&' && name.size() > 1 && name[0] == '#';
    if (!character && !(value[i] == '&' && is_xml_own(name))) {
      entity.refused = "it is built from other entities";
      return entity;
    }
    // "&#38;" declared in an entity is an ampersand that would be read again; kept as the character.
    entity.text += '&';
    entity.text += name;
    entity.text += ';';
    i = end;
  }
  return entity;
}

// Reads one declaration that starts at text[at] = "<!ENTITY"; returns the offset past its '>'.
size_t read_entity(std::string_view text, size_t at, Declarations& declarations) {
  size_t i = at + 8;
  auto skip = [&] {
    while (i < text.size() && is_space(text[i])) ++i;
  };
  skip();
  bool parameter = i < text.size() && text[i] == '%';
  if (parameter) {
    ++i;
    skip();
  }
  size_t begin = i;
  while (i < text.size() && is_name(text[i])) ++i;
  std::string name(text.substr(begin, i - begin));
  skip();
  DeclaredEntity entity;
  if (i < text.size() && (text[i] == '"' || text[i] == '\'')) {
    size_t close = text.find(text[i], i + 1);
    if (close == std::string_view::npos) return std::string_view::npos;
    entity = plain_value(text.substr(i + 1, close - i - 1));
    i = close + 1;
  } else {
    entity.refused = "it is external, and nothing is fetched";
    while (i < text.size() && text[i] != '>') {
      if (text[i] == '"' || text[i] == '\'') {
        size_t close = text.find(text[i], i + 1);
        if (close == std::string_view::npos) return std::string_view::npos;
        i = close;
      }
      ++i;
    }
  }
  if (!parameter && !name.empty())
    declarations.emplace(std::move(name), std::move(entity));  // the first one counts
  size_t end = text.find('>', i);
  return end == std::string_view::npos ? end : end + 1;
}

// The DOCTYPE that starts at `at`: fills declarations and returns the offset past it, npos when it does not
// end.
size_t read_doctype(std::string_view text, size_t at, Declarations& declarations) {
  bool inside = false;
  for (size_t i = at + 9; i < text.size();) {
    char c = text[i];
    if (c == '"' || c == '\'') {
      size_t close = text.find(c, i + 1);
      if (close == std::string_view::npos) return close;
      i = close + 1;
    } else if (text.compare(i, 4, "<!--") == 0) {
      size_t close = text.find("-->", i + 4);
      if (close == std::string_view::npos) return close;
      i = close + 3;
    } else if (text.compare(i, 2, "<?") == 0) {
      size_t close = text.find("?>", i + 2);
      if (close == std::string_view::npos) return close;
      i = close + 2;
    } else if (inside && text.compare(i, 8, "<!ENTITY") == 0) {
      i = read_entity(text, i, declarations);
      if (i == std::string_view::npos) return i;
    } else {
      if (c == '[') inside = true;
      if (c == ']') inside = false;
      if (c == '>' && !inside) return i + 1;
      ++i;
    }
  }
  return std::string_view::npos;
}

// Where the document's DOCTYPE starts: only comments, processing instructions and white space before it.
size_t find_doctype(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (is_space(text[i])) {
      ++i;
    } else if (text.compare(i, 2, "<?") == 0) {
      size_t close = text.find("?>", i);
      if (close == std::string_view::npos) return close;
      i = close + 2;
    } else if (text.compare(i, 4, "<!--") == 0) {
      size_t close = text.find("-->", i);
      if (close == std::string_view::npos) return close;
      i = close + 3;
    } else {
      return text.compare(i, 9, "<!DOCTYPE") == 0 ? i : std::string_view::npos;
    }
  }
  return std::string_view::npos;
}

// Name of the reference at text[at] = '&'; "" when it is no reference by name.
std::string_view reference_name(std::string_view text, size_t at) {
  size_t i = at + 1;
  while (i < text.size() && i - at < 80 && is_name(text[i])) ++i;
  return i < text.size() && text[i] == ';' ? text.substr(at + 1, i - at - 1) : std::string_view{};
}

// Offset of the first reference that XML itself does not define; npos when there is none.
size_t first_foreign_reference(std::string_view text) {
  size_t at = text.find('&');
  while (at != std::string_view::npos) {
    std::string_view name = reference_name(text, at);
    if (!name.empty() && name[0] != '#' && !is_xml_own(name)) return at;
    at = text.find('&', at + 1);
  }
  return at;
}

Status append_reference(std::string& out, std::string_view name, const Declarations& declarations,
                        size_t line, size_t& budget) {
  auto declared = declarations.find(name);
  if (declared != declarations.end() && declared->second.refused.empty()) {
    if (declared->second.text.size() > budget)
      return bad_input("entities declared in the file grow it by more than 1 MB: not expanded");
    budget -= declared->second.text.size();
    out += declared->second.text;
    return {};
  }
  if (std::string_view character = named_character(name); !character.empty()) {
    append_escaped(out, character);
    return {};
  }
  std::string shown = "&" + std::string(name) + ";";
  if (declared != declarations.end())
    return bad_input("entity " + shown + " is not expanded: " + declared->second.refused)
        .in("line " + std::to_string(line));
  return bad_input("undefined entity " + shown).in("line " + std::to_string(line));
}

// Length of the CDATA section, comment or processing instruction at `at`, 0 when there is none.
size_t opaque_length(std::string_view text, size_t at) {
  auto until = [&](std::string_view end, size_t from) {
    size_t close = text.find(end, at + from);
    return close == std::string_view::npos ? text.size() - at : close + end.size() - at;
  };
  if (text.compare(at, 4, "<!--") == 0) return until("-->", 4);
  if (text.compare(at, 9, "<![CDATA[") == 0) return until("]]>", 9);
  if (text.compare(at, 2, "<?") == 0) return until("?>", 2);
  return 0;
}

}  // namespace

Status resolve_entities(std::string& text, std::vector<std::string>& notes) {
  Declarations declarations;
  size_t doctype = find_doctype(text);
  if (doctype != std::string::npos) {
    size_t end = read_doctype(text, doctype, declarations);
    if (end == std::string::npos) return bad_input("the DOCTYPE does not end: the file is cut off");
    for (size_t i = doctype; i < end; ++i)
      if (text[i] != '\n') text[i] = ' ';
  }
  size_t foreign = first_foreign_reference(text);
  if (foreign == std::string::npos) return {};
  std::string out;
  out.reserve(text.size() + 4096);
  size_t budget = kExpansionBudget, replaced = 0, line = 1;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '<') {
      if (size_t length = opaque_length(text, i)) {
        for (size_t k = 0; k < length; ++k) line += text[i + k] == '\n' ? 1 : 0;
        out.append(text, i, length);
        i += length;
        continue;
      }
    }
    std::string_view name = text[i] == '&' ? reference_name(text, i) : std::string_view{};
    if (!name.empty() && name[0] != '#' && !is_xml_own(name)) {
      BM_CHECK_OK(append_reference(out, name, declarations, line, budget));
      ++replaced;
      i += name.size() + 2;
      continue;
    }
    line += text[i] == '\n' ? 1 : 0;
    out += text[i++];
  }
  if (replaced) notes.push_back(std::to_string(replaced) + " named entities resolved");
  text = std::move(out);
  return {};
}

}  // namespace bm
