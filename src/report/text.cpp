#include <fmt/format.h>

#include <cmath>

#include "base/log.h"
#include "base/system.h"
#include "report/document.h"

namespace bm {

std::string clean_text(std::string_view text) {
  std::string out;
  for (char c : to_utf8_safe(text))
    if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (char c : clean_text(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string fixed_text(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  std::string text = fmt::format("{:.{}f}", value, decimals);
  // "-0.0" says no more than "0.0".
  return text.find_first_of("123456789") == std::string::npos && text[0] == '-' ? text.substr(1) : text;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "–";
  double size = std::abs(value);
  bool whole = size == std::floor(size);
  if ((size >= 1000 || whole) && size < 1e15)
    return (value < 0 ? "-" : "") + format_count(static_cast<uint64_t>(std::llround(size)));
  if (size >= 100) return fmt::format("{:.1f}", value);
  if (size >= 1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

}  // namespace bm
