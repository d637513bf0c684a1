// Text → pieces → token sequences (paper.md 1: pieces of 1,000 words, BOS … EOS each).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "corpus/options.h"
#include "tokenizer/tokenizer.h"

namespace bm {

// Consecutive cuts of `words` words; 0 = the whole text. With on_spaces a word is what stands between
// single spaces, line ends included (Python's text.split(" ")), and joining the pieces with one space
// gives the text back; else words are separated by any white space, which is left out between pieces.
std::vector<std::string_view> cut_pieces(std::string_view text, int64_t words, bool on_spaces);

// What the tokenizer's own post-processing gives (BOS where it has one), and EOS at the end where it has one.
std::vector<int32_t> encode_piece(const Tokenizer& tokenizer, std::string_view piece, bool parse_special);

}  // namespace bm
