// Text on its way through normalizers and pre-tokenizers, with the place in the original that each
// byte came from when offsets are wanted (the rules are those of Hugging Face tokenizers'
// NormalizedString: a replaced character keeps its place, an inserted one takes its neighbour's).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bm::tokenizer {

struct Span {
  uint32_t begin = 0, end = 0;  // bytes of the original
};

struct AlignedText {
  std::string text;
  std::vector<Span> origin;  // one a byte of text; empty when not tracked
  bool tracked = false;
  size_t original_begin = 0;  // where this text starts in the original

  // A piece of the original that starts there at byte `begin`.
  static AlignedText of(std::string_view piece, size_t begin, bool tracked);

  void append(std::string_view bytes, Span place) {
    text.append(bytes);
    if (tracked) origin.insert(origin.end(), bytes.size(), place);
  }
  // Copies bytes [begin, end) of another text with their places.
  void append_from(const AlignedText& other, size_t begin, size_t end) {
    text.append(other.text, begin, end - begin);
    if (tracked) {
      origin.insert(origin.end(), other.origin.begin() + static_cast<ptrdiff_t>(begin),
                    other.origin.begin() + static_cast<ptrdiff_t>(end));
    }
  }
  Span place(size_t byte) const { return tracked && byte < origin.size() ? origin[byte] : Span{}; }
  AlignedText empty_like() const {
    AlignedText out;
    out.tracked = tracked;
    out.original_begin = original_begin;
    return out;
  }
  void prepend(std::string_view prefix);  // nothing when the text is empty
};

// A text cut into pieces: ranges of bytes, in order, not overlapping.
struct Range {
  size_t begin, end;
};
struct SplitText {
  AlignedText text;
  std::vector<Range> pieces;
  std::string_view piece(size_t i) const {
    return std::string_view(text.text).substr(pieces[i].begin, pieces[i].end - pieces[i].begin);
  }
};

}  // namespace bm::tokenizer
