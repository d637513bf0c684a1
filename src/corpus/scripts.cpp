// The one rule for superscripts and subscripts:
//   1. punctuation, signs that are raised by habit (®, ™, °, *, †, …) and the endings of ordinal numbers
//   (1st, 2nd) stay as they are;
//   2. a number raised on a number is a power: 10^4, 10^−3, 2^(10/3);
//   3. digits, signs and brackets that Unicode has become its characters: m², cm⁻¹, Ca²⁺, CD4⁺, H₂O, ¹⁴C;
//   4. anything else is marked: x^n, V_max, x_(i,j), e^(−kt).
#include <algorithm>

#include "corpus/text_writer.h"

namespace bm {

namespace {

struct ScriptCharacter {
  std::string_view from, above, below;
};
constexpr ScriptCharacter kCharacters[] = {
    {"0", "⁰", "₀"}, {"1", "¹", "₁"}, {"2", "²", "₂"}, {"3", "³", "₃"}, {"4", "⁴", "₄"},
    {"5", "⁵", "₅"}, {"6", "⁶", "₆"}, {"7", "⁷", "₇"}, {"8", "⁸", "₈"}, {"9", "⁹", "₉"},
    {"+", "⁺", "₊"}, {"-", "⁻", "₋"}, {"−", "⁻", "₋"}, {"–", "⁻", "₋"}, {"‐", "⁻", "₋"},
    {"‑", "⁻", "₋"}, {"=", "⁼", "₌"}, {"(", "⁽", "₍"}, {")", "⁾", "₎"},
};
constexpr std::string_view kRaisedSigns[] = {"®", "™", "©", "℠", "°", "∘", "º", "ª", "*", "∗",
                                             "†", "‡", "§", "¶", "#", "′", "″", "‴", "'", "\"",
                                             "’", "”", "✉", ".", ":", ";", "·", "?", "!"};

size_t character_length(std::string_view text, size_t i) {
  auto c = static_cast<unsigned char>(text[i]);
  size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 1;
  return std::min(length, text.size() - i);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <class Accepts>
bool all_characters(std::string_view text, Accepts accepts) {
  for (size_t i = 0; i < text.size();) {
    size_t length = character_length(text, i);
    if (!accepts(text.substr(i, length))) return false;
    i += length;
  }
  return true;
}

bool is_minus(std::string_view c) { return c == "-" || c == "−" || c == "–" || c == "‐" || c == "‑"; }

// [sign] digits [. or , digits]
bool is_number(std::string_view text) {
  if (text.empty()) return false;
  size_t first = character_length(text, 0);
  if (text[0] == '+' || is_minus(text.substr(0, first))) text.remove_prefix(first);
  return !text.empty() && is_digit(text.front()) && is_digit(text.back()) &&
         all_characters(text, [](std::string_view c) { return is_digit(c[0]) || c == "." || c == ","; });
}

bool has_digit(std::string_view text) { return std::any_of(text.begin(), text.end(), is_digit); }

// Letters and digits of any script, so that no bracket is needed to see where it ends.
bool is_one_word(std::string_view text) {
  if (is_number(text)) return true;
  return all_characters(text, [](std::string_view c) {
    auto b = static_cast<unsigned char>(c[0]);
    bool letter = (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || is_digit(c[0]);
    // Latin, Greek, Cyrillic; not the punctuation, operators and scripts of U+2000 and above.
    return letter || (b >= 0xC3 && b < 0xE2) || c == "\xC2\xB5" || c == "∞";
  });
}

}  // namespace

std::string_view script_character(std::string_view character, bool superscript) {
  for (const ScriptCharacter& entry : kCharacters)
    if (entry.from == character) return superscript ? entry.above : entry.below;
  return {};
}

ScriptForm script_form(std::string_view base, std::string_view content, bool superscript) {
  bool on_number = !base.empty() && is_digit(base.back());
  bool punctuation = all_characters(
      content, [](std::string_view c) { return c == "." || c == "," || c == ":" || c == ";" || c == " "; });
  if (punctuation) return ScriptForm::plain;
  if (superscript) {
    bool signs = all_characters(content, [](std::string_view c) {
      return c == " " || c == "," ||
             std::find(std::begin(kRaisedSigns), std::end(kRaisedSigns), c) != std::end(kRaisedSigns);
    });
    if (signs) return ScriptForm::plain;
    if (on_number && (content == "st" || content == "nd" || content == "rd" || content == "th"))
      return ScriptForm::plain;
    if (on_number && is_number(content)) return ScriptForm::bare;
    if (on_number && has_digit(content) && all_characters(content, [](std::string_view c) {
          return is_digit(c[0]) || c == "." || c == "," || c == "/" || c == " " || is_minus(c) || c == "±";
        }))
      return ScriptForm::bracketed;
  }
  bool mappable = false;
  bool unicode = all_characters(content, [&](std::string_view c) {
    bool mapped = !script_character(c, superscript).empty();
    mappable = mappable || mapped;
    return mapped || c == "," || c == "/" || c == " ";
  });
  if (unicode && mappable) return ScriptForm::unicode;
  return is_one_word(content) ? ScriptForm::bare : ScriptForm::bracketed;
}

}  // namespace bm
