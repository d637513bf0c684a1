// Named characters of the NLM and JATS DTDs (&alpha;, &nbsp;, &agr;), which articles use without
// declaring them. Nothing is ever fetched: the table is part of the program.
#pragma once

#include <cstddef>
#include <string_view>

namespace bm {

struct NamedCharacter {
  std::string_view name;
  std::string_view utf8;
};
extern const NamedCharacter kNamedCharacters[];
extern const size_t kNamedCharacterCount;

// The character's UTF-8 form; empty when the name is none of them. XML's own five are not among them.
std::string_view named_character(std::string_view name);

}  // namespace bm
