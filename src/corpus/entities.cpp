#include "corpus/entities.h"

#include <algorithm>

namespace bm {

std::string_view named_character(std::string_view name) {
  const NamedCharacter* end = kNamedCharacters + kNamedCharacterCount;
  const NamedCharacter* found = std::lower_bound(
      kNamedCharacters, end, name,
      [](const NamedCharacter& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != end && found->name == name ? found->utf8 : std::string_view{};
}

}  // namespace bm
