#include "corpus/pieces.h"

namespace bm {

namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

}  // namespace

std::vector<std::string_view> cut_pieces(std::string_view text, int64_t words, bool on_spaces) {
  std::vector<std::string_view> pieces;
  if (words <= 0) {
    if (!text.empty()) pieces.push_back(text);
    return pieces;
  }
  size_t begin = 0, end = 0;
  int64_t count = 0;
  for (size_t i = 0; i <= text.size();) {
    size_t start = i;
    if (on_spaces) {
      i = text.find(' ', i);
      if (i == std::string_view::npos) i = text.size();
    } else {
      while (start < text.size() && is_space(text[start])) ++start;
      if (start >= text.size()) break;
      for (i = start; i < text.size() && !is_space(text[i]);) ++i;
    }
    if (count == 0) begin = start;
    end = i++;
    if (++count == words) {
      pieces.push_back(text.substr(begin, end - begin));
      count = 0;
    }
  }
  if (count > 0 && end > begin) pieces.push_back(text.substr(begin, end - begin));
  return pieces;
}

std::vector<int32_t> encode_piece(const Tokenizer& tokenizer, std::string_view piece, bool parse_special) {
  std::vector<int32_t> ids = tokenizer.encode(piece, {.add_special = true, .parse_special = parse_special});
  std::optional<int32_t> eos = tokenizer.eos_id();
  if (eos && (ids.empty() || ids.back() != *eos)) ids.push_back(*eos);
  return ids;
}

}  // namespace bm
