// Encodings: byte-order mark, XML declaration, or sniffing (XML 1.0, appendix F); conversion to UTF-8.
#include <iconv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "corpus/xml.h"

namespace bm {

namespace {

// Windows-1252's characters 0x80 to 0x9F; files called Latin-1 use them as often as not, and the
// control characters that ISO-8859-1 has there are never meant.
constexpr std::array<uint16_t, 32> kWindows1252 = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string from_windows1252(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 16);
  for (char byte : bytes) {
    auto c = static_cast<unsigned char>(byte);
    append_utf8(out, c >= 0x80 && c < 0xA0 ? kWindows1252[c - 0x80u] : c);
  }
  return out;
}

Result<std::string> convert(std::string_view bytes, const std::string& name) {
  iconv_t converter = iconv_open("UTF-8", name.c_str());
  if (converter == reinterpret_cast<iconv_t>(-1))
    return bad_input("declares the encoding \"" + name + "\", which is not known here");
  std::string out(bytes.size() * 2 + 64, '\0');
  auto* input = const_cast<char*>(bytes.data());
  size_t left = bytes.size(), done = 0;
  bool failed = false;
  while (left > 0 && !failed) {
    char* output = out.data() + done;
    size_t room = out.size() - done;
    size_t code = iconv(converter, &input, &left, &output, &room);
    done = out.size() - room;
    if (code != static_cast<size_t>(-1)) break;
    if (errno == E2BIG)
      out.resize(out.size() * 2);
    else
      failed = true;
  }
  iconv_close(converter);
  if (failed)
    return bad_input("byte " + std::to_string(bytes.size() - left) + " does not fit the encoding " + name);
  out.resize(done);
  return out;
}

// The value of encoding="..." in the XML declaration; "" without one.
std::string declared_encoding(std::string_view text) {
  if (text.substr(0, 5) != "<?xml") return {};
  std::string_view declaration = text.substr(0, std::min(text.find("?>"), size_t{300}));
  size_t at = declaration.find("encoding");
  if (at == std::string_view::npos) return {};
  size_t open = declaration.find_first_of("\"'", at);
  if (open == std::string_view::npos) return {};
  size_t close = declaration.find(declaration[open], open + 1);
  if (close == std::string_view::npos) return {};
  return std::string(declaration.substr(open + 1, close - open - 1));
}

bool plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 40 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_' || c == '.';
  });
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

// UTF-16 and UTF-32 by their byte-order mark or by where the zeros of "<" stand. Sets the mark's length.
std::string wide_encoding(std::string_view b, size_t& mark) {
  auto at = [&](size_t i) { return i < b.size() ? static_cast<unsigned char>(b[i]) : 0x100u; };
  mark = 0;
  if (at(0) == 0xFF && at(1) == 0xFE && at(2) == 0 && at(3) == 0) return mark = 4, "UTF-32LE";
  if (at(0) == 0 && at(1) == 0 && at(2) == 0xFE && at(3) == 0xFF) return mark = 4, "UTF-32BE";
  if (at(0) == 0xFF && at(1) == 0xFE) return mark = 2, "UTF-16LE";
  if (at(0) == 0xFE && at(1) == 0xFF) return mark = 2, "UTF-16BE";
  if (at(0) == '<' && at(1) == 0 && at(2) != 0) return "UTF-16LE";
  if (at(0) == 0 && at(1) == '<') return "UTF-16BE";
  return {};
}

}  // namespace

size_t first_invalid_utf8(std::string_view text) {
  const auto* s = reinterpret_cast<const unsigned char*>(text.data());
  size_t n = text.size(), i = 0;
  while (i < n) {
    if (i + 8 <= n) {
      uint64_t word;
      std::memcpy(&word, s + i, 8);
      if (!(word & 0x8080808080808080ull)) {
        i += 8;
        continue;
      }
    }
    unsigned char c = s[i];
    if (c < 0x80) {
      ++i;
      continue;
    }
    size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || i + length > n) return i;
    for (size_t k = 1; k < length; ++k)
      if ((s[i + k] & 0xC0) != 0x80) return i;
    if ((c == 0xE0 && s[i + 1] < 0xA0) || (c == 0xED && s[i + 1] > 0x9F) || (c == 0xF0 && s[i + 1] < 0x90) ||
        (c == 0xF4 && s[i + 1] > 0x8F))
      return i;
    i += length;
  }
  return std::string_view::npos;
}

Result<Decoded> decode_to_utf8(std::string bytes) {
  Decoded decoded;
  if (bytes.empty()) return bad_input("the file is empty");
  size_t mark = 0;
  std::string wide = wide_encoding(bytes, mark);
  if (!wide.empty()) {
    BM_TRY(decoded.text, convert(std::string_view(bytes).substr(mark), wide));
    decoded.encoding = wide;
    return decoded;
  }
  bool has_mark = bytes.size() >= 3 && bytes.compare(0, 3, "\xEF\xBB\xBF") == 0;
  if (has_mark) bytes.replace(0, 3, "   ");
  std::string declared = declared_encoding(std::string_view(bytes).substr(has_mark ? 3 : 0));
  std::string name = upper(declared);
  bool utf8 =
      has_mark || name.empty() || name == "UTF-8" || name == "UTF8" || name == "US-ASCII" || name == "ASCII";
  if (utf8) {
    size_t invalid = first_invalid_utf8(bytes);
    if (invalid == std::string::npos) {
      decoded.encoding = "UTF-8";
      decoded.text = std::move(bytes);
      return decoded;
    }
    if (has_mark || !name.empty())
      return bad_input("byte " + std::to_string(invalid) + " is no UTF-8, though the file declares it");
    decoded.notes.push_back("no encoding declared and byte " + std::to_string(invalid) +
                            " is no UTF-8: read as windows-1252");
    name = "WINDOWS-1252";
  }
  if (name == "ISO-8859-1" || name == "LATIN1" || name == "LATIN-1" || name == "WINDOWS-1252" ||
      name == "CP1252") {
    decoded.encoding = "windows-1252";
    decoded.text = from_windows1252(bytes);
    return decoded;
  }
  if (!plain_name(declared)) return bad_input("declares an encoding whose name is no name");
  BM_TRY(decoded.text, convert(bytes, declared));
  decoded.encoding = declared;
  return decoded;
}

}  // namespace bm
