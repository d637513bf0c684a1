#include "tokenizer/unicode.h"

#include <utf8proc.h>

namespace bm::unicode {

CodePoint decode(std::string_view text, size_t position) {
  auto byte = [&](size_t i) -> uint32_t {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0u;
  };
  auto continues = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  uint32_t first = byte(0);
  if (first < 0x80) return {first, 1, true};
  if (first >= 0xC2 && first < 0xE0 && continues(1))
    return {((first & 0x1F) << 6) | (byte(1) & 0x3F), 2, true};
  if ((first & 0xF0) == 0xE0 && continues(1) && continues(2)) {
    uint32_t value = ((first & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F);
    if (value >= 0x800 && (value < 0xD800 || value > 0xDFFF)) return {value, 3, true};
  }
  if (first >= 0xF0 && first < 0xF5 && continues(1) && continues(2) && continues(3)) {
    uint32_t value =
        ((first & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F);
    if (value >= 0x10000 && value <= 0x10FFFF) return {value, 4, true};
  }
  return {0xFFFD, 1, false};
}

void append(std::string& out, uint32_t value) {
  auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

std::string encode(uint32_t value) {
  std::string out;
  append(out, value);
  return out;
}

size_t previous(std::string_view text, size_t position) {
  for (size_t length = 1; length <= 4 && length <= position; ++length) {
    if (decode(text, position - length).length == length && decode(text, position - length).valid) {
      return position - length;
    }
  }
  return position - 1;
}

size_t count(std::string_view text) {
  size_t n = 0;
  for (size_t i = 0; i < text.size(); i += decode_ascii_fast(text, i).length) ++n;
  return n;
}

bool is_valid(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    CodePoint c = decode_ascii_fast(text, i);
    if (!c.valid) return false;
    i += c.length;
  }
  return true;
}

// Bytes of the longest prefix at `position` that could begin a valid sequence; at least 1.
static size_t invalid_length(std::string_view text, size_t position) {
  auto byte = [&](size_t i) -> uint32_t {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0u;
  };
  uint32_t first = byte(0), second = byte(1);
  if ((first & 0xF0) == 0xE0) {
    uint32_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return second >= low && second <= high ? 2 : 1;
  }
  if (first >= 0xF0 && first < 0xF5) {
    uint32_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    if (second < low || second > high) return 1;
    return (byte(2) & 0xC0) == 0x80 ? 3 : 2;
  }
  return 1;
}

std::string lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    CodePoint c = decode_ascii_fast(bytes, i);
    if (c.valid) {
      out.append(bytes.substr(i, c.length));
      i += c.length;
    } else {
      out.append(replacement);
      i += invalid_length(bytes, i);
    }
  }
  return out;
}

int category(uint32_t code_point) {
  if (code_point > 0x10FFFF) return UTF8PROC_CATEGORY_CN;
  return static_cast<int>(utf8proc_category(static_cast<utf8proc_int32_t>(code_point)));
}

bool is_letter(uint32_t c) {
  if (c < 0x80) return (c | 0x20u) >= 'a' && (c | 0x20u) <= 'z';
  int k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_number(uint32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  int k = category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool is_white_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(uint32_t c) {
  if (c < 0x80) return is_letter(c) || is_number(c) || c == '_';
  int k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC ||
         c == 0x200C || c == 0x200D;
}

bool is_punctuation(uint32_t c) {
  int k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

uint32_t to_lower(uint32_t c) {
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
uint32_t to_upper(uint32_t c) {
  return static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace bm::unicode
