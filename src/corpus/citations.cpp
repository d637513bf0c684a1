// Literature citations by number. While a block is written they stand between marks; at its end those
// that would leave readable text behind are taken out with the brackets and commas that held them:
//   "cells [1,2–5]." → "cells."      "reported¹²,¹³ that" → "reported that"      "see ref. 12" stays
#include <algorithm>

#include "corpus/text_writer.h"

namespace bm {

namespace {

constexpr std::string_view kRule = "citation";

bool is_mark(char c) { return c == kCitationOpen || c == kCitationOpenSelf; }
bool is_word(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c >= 0xC3 && c != 0xE2);
}

// Bytes of what may stand between citations of one group at text[i]: , ; dashes, spaces, within brackets
// also "and"; 0 otherwise.
size_t separator_length(std::string_view text, size_t i, bool bracketed) {
  char c = text[i];
  if (c == ' ' || c == ',' || c == ';' || c == '-' || (bracketed && c == '&')) return 1;
  if (bracketed && text.compare(i, 3, "and") == 0) return 3;
  for (std::string_view dash : {"–", "—", "−", "‐", "‑", "‒"})
    if (text.compare(i, dash.size(), dash) == 0) return dash.size();
  return 0;
}

// End of the citation whose opening mark is at text[i] (past its closing mark); npos when unbalanced.
size_t citation_end(std::string_view text, size_t i) {
  size_t close = text.find(kCitationClose, i);
  return close == std::string_view::npos ? close : close + 1;
}

// "[1, 2–5]" or "(3)" at text[i]: the offset past its closing bracket, 0 when it is no such group.
size_t bracket_group(std::string_view text, size_t i) {
  char close = text[i] == '[' ? ']' : ')';
  size_t citations = 0;
  for (size_t k = i + 1; k < text.size();) {
    if (text[k] == close) return citations > 0 ? k + 1 : 0;
    if (is_mark(text[k])) {
      k = citation_end(text, k);
      if (k == std::string_view::npos) return 0;
      ++citations;
    } else if (text[k] >= '0' && text[k] <= '9') {
      ++k;  // a number of the group that is no link
    } else if (size_t length = separator_length(text, k, true)) {
      k += length;
    } else {
      return 0;
    }
  }
  return 0;
}

// Citations after one another with separators between, from text[i]; the offset past the last one.
size_t run_end(std::string_view text, size_t i) {
  size_t end = i;
  for (size_t k = i; k < text.size();) {
    if (is_mark(text[k])) {
      k = citation_end(text, k);
      if (k == std::string_view::npos) return end;
      end = k;
    } else if (size_t length = separator_length(text, k, false)) {
      k += length;
    } else {
      break;
    }
  }
  return end;
}

// A raised group "\x03 … \x04" that holds nothing but citations, brackets and separators: offset past it,
// else 0.
size_t raised_group(std::string_view text, size_t i) {
  for (size_t k = i + 1; k < text.size();) {
    char c = text[k];
    if (c == kRaisedClose) return k + 1;
    if (is_mark(c)) {
      k = citation_end(text, k);
      if (k == std::string_view::npos) return 0;
    } else if ((c >= '0' && c <= '9') || c == '[' || c == ']' || c == '(' || c == ')' || c == '.') {
      ++k;
    } else if (size_t length = separator_length(text, k, true)) {
      k += length;
    } else {
      return 0;
    }
  }
  return 0;
}

// Whether the citation at text[i] stands glued to the word or mark before it, as raised numbers do.
bool is_glued(std::string_view text, size_t block_start, size_t i) {
  if (i == block_start) return false;
  char before = text[i - 1];
  return before != ' ' && before != '\n' && before != '(' && before != '[' && before != '-' &&
         before != '/' && before != '#' &&
         !(i >= 3 && (text.compare(i - 3, 3, "–") == 0 || text.compare(i - 3, 3, "—") == 0));
}

// A number between two sentences ("… dissections. 12 The …"): raised in print, without the markup for it.
bool is_between_sentences(std::string_view text, size_t block_start, size_t i) {
  size_t end = run_end(text, i), before = i;
  while (before > block_start && text[before - 1] == ' ') --before;
  if (before == i || before == block_start || end == i) return false;
  char last = text[before - 1];
  if (last != '.' && last != '!' && last != '?') return false;
  while (end < text.size() && text[end] == ' ') ++end;
  return end == text.size() || (text[end] >= 'A' && text[end] <= 'Z');
}

// End of what is taken out at text[i]: a group in brackets, a raised one, a citation of its own, or one
// glued to the word before; with those that follow it behind commas ("[9], [10]"). 0 = nothing.
size_t removable_end(std::string_view text, size_t block_start, size_t i) {
  size_t end = 0;
  for (size_t k = i; k < text.size();) {
    char c = text[k];
    size_t here = 0;
    if (c == '[' || c == '(')
      here = bracket_group(text, k);
    else if (c == kRaisedOpen)
      here = raised_group(text, k);
    else if (c == kCitationOpenSelf || (c == kCitationOpen && (k > i || is_glued(text, block_start, k) ||
                                                               is_between_sentences(text, block_start, k))))
      here = run_end(text, k);
    if (here == 0) break;
    end = k = here;
    while (k < text.size() && separator_length(text, k, false) > 0) k += separator_length(text, k, false);
    // Only separators that show a list lead on; a space alone may stand before a bracket of another kind.
    if (text.find_first_not_of(' ', end) >= k) break;
  }
  return end;
}

}  // namespace

void TextWriter::finish_citation(bool self_contained) {
  size_t start = take_mark();
  if (start >= out_.size()) return;
  has_citations_ = true;
  bare_begin_ = bare_end_ = 0;
  std::vector<Edit> edits;
  edits.push_back({start, 0, std::string(1, self_contained ? kCitationOpenSelf : kCitationOpen), {}});
  edits.push_back({out_.size(), 0, std::string(1, kCitationClose), {}});
  apply(edits);
}

void TextWriter::remove_citations() {
  std::vector<Edit> edits;
  std::string_view text = out_;
  for (size_t i = block_start_; i < text.size();) {
    size_t end = removable_end(text, block_start_, i);
    if (end == 0) {
      // A citation that stays is stepped over whole, so that its own brackets are not taken for a group,
      // and raised text with other words in it keeps its citations.
      size_t past = std::string_view::npos;
      if (is_mark(text[i])) past = citation_end(text, i);
      if (text[i] == kRaisedOpen) past = text.find(kRaisedClose, i);
      i = past == std::string_view::npos ? i + 1 : past;
      continue;
    }
    size_t begin = i, floor = edits.empty() ? block_start_ : edits.back().at + edits.back().length;
    // "([44]; and data not shown)", "(data not shown; [44])": the comma goes too.
    bool opened = begin > block_start_ && (text[begin - 1] == '(' || text[begin - 1] == '[');
    while (opened && end < text.size() && (text[end] == ',' || text[end] == ';' || text[end] == ' ')) ++end;
    bool closed = end < text.size() && (text[end] == ')' || text[end] == ']');
    while (begin > floor &&
           (text[begin - 1] == ' ' || (closed && (text[begin - 1] == ',' || text[begin - 1] == ';'))))
      --begin;
    if (begin == block_start_)
      while (end < text.size() && text[end] == ' ') ++end;
    bool word_after = end < text.size() && is_word(static_cast<unsigned char>(text[end]));
    bool apart = begin > block_start_ && word_after && text[begin - 1] != '(' && text[begin - 1] != '[' &&
                 text[begin - 1] != '-' && text[begin - 1] != '/';
    std::string replacement =
        citation_mark_.empty() ? (apart ? " " : "")
                               : (begin > block_start_ ? " " : "") + citation_mark_ + (word_after ? " " : "");
    edits.push_back({begin, end - begin, std::move(replacement), kRule});
    i = end;
  }
  apply(edits);
}

// What was not taken out loses its marks; raised text is then written as any other superscript.
void TextWriter::settle_marks() {
  size_t open = 0;
  while ((open = out_.find(kRaisedOpen, block_start_)) != std::string::npos) {
    size_t close = out_.find(kRaisedClose, open);
    if (close == std::string::npos) close = out_.size();
    std::vector<Edit> edits;
    size_t kept = 0;
    for (size_t i = open; i <= close && i < out_.size(); ++i) {
      bool mark =
          is_mark(out_[i]) || out_[i] == kCitationClose || out_[i] == kRaisedOpen || out_[i] == kRaisedClose;
      if (mark)
        edits.push_back({i, 1, "", {}});
      else
        ++kept;
    }
    apply(edits);
    if (kept > 0) script(open, open + kept, true);
  }
  std::vector<Edit> edits;
  for (size_t i = block_start_; i < out_.size(); ++i)
    if (is_mark(out_[i]) || out_[i] == kCitationClose || out_[i] == kRaisedClose)
      edits.push_back({i, 1, "", {}});
  apply(edits);
}

}  // namespace bm
