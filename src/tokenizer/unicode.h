// UTF-8 and Unicode properties, as the tokenizers need them. Positions are byte positions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bm::unicode {

struct CodePoint {
  uint32_t value;   // U+FFFD for an invalid byte
  uint32_t length;  // bytes it takes, at least 1
  bool valid;
};

// The code point at text[position]; position < text.size(). An invalid byte stands alone.
CodePoint decode(std::string_view text, size_t position);
inline CodePoint decode_ascii_fast(std::string_view text, size_t position) {
  auto byte = static_cast<unsigned char>(text[position]);
  if (byte < 0x80) return {byte, 1, true};
  return decode(text, position);
}
void append(std::string& out, uint32_t code_point);
std::string encode(uint32_t code_point);
// Start of the code point before `position` (> 0).
size_t previous(std::string_view text, size_t position);
size_t count(std::string_view text);  // code points
bool is_valid(std::string_view text);

// Bytes → UTF-8 as Rust's from_utf8_lossy and Python's errors="replace" do it: each maximal invalid
// prefix of a sequence becomes one U+FFFD (Unicode standard, section 3.9).
std::string lossy(std::string_view bytes);

// General category as utf8proc numbers them (utf8proc_category_t); U+FFFD for what is no code point.
int category(uint32_t code_point);
bool is_letter(uint32_t code_point);       // \p{L}
bool is_number(uint32_t code_point);       // \p{N}: Nd, Nl, No
bool is_white_space(uint32_t code_point);  // property White_Space
bool is_word(uint32_t code_point);         // \w: letters, marks, decimal digits, letter numbers, connectors
bool is_punctuation(uint32_t code_point);  // \p{P}
uint32_t to_lower(uint32_t code_point);
uint32_t to_upper(uint32_t code_point);

inline constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace bm::unicode
