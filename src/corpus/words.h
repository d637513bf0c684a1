// Text as plain words for comparisons between texts: near-duplicates and benchmark questions.
//
// The rules are those of datatrove's simplify_text with its defaults, so that its signatures can be
// reproduced: lower case, every number one "0", punctuation and white space part words, accents gone (NFD
// without nonspacing marks). Words are what stands between the spaces that remain; datatrove's word
// tokenizer cuts a few of them further ("10mg", "cannot"). Characters of scripts without spaces (Chinese,
// Japanese) are words each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bm {

struct PlainWords {
  std::string text;              // words parted by single spaces
  std::vector<uint32_t> starts;  // byte where each word begins

  size_t count() const { return starts.size(); }
  bool is_number(size_t i) const {
    size_t end = i + 1 < starts.size() ? starts[i + 1] - 1 : text.size();
    return end == starts[i] + 1 && text[starts[i]] == '0';
  }
  // Words first … first + n - 1 as they stand in text.
  std::string_view run(size_t first, size_t n) const {
    size_t end = first + n < starts.size() ? starts[first + n] - 1 : text.size();
    return std::string_view(text).substr(starts[first], end - starts[first]);
  }
};

// Fills `out` anew; its memory is used again.
void plain_words(std::string_view text, PlainWords& out);

// XXH64 with seed 0 (xxHash specification 0.1.1), the hash datatrove takes of a run of words.
uint64_t xxh64(std::string_view bytes);

}  // namespace bm
