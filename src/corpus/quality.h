// Filters by form of the text: the rules of Gopher (Rae et al. 2021, appendix A.1, table A1), as datatrove
// writes them. Each can be asked for by name; none is on by default.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

//   words           fewer than 50 or more than 100,000 words
//   word-length     mean length of a word below 3 or above 10 characters
//   symbols         more than 0.1 "#" or "…" a word
//   bullets         more than 90 % of lines begin with a bullet
//   ellipses        more than 30 % of lines end with an ellipsis
//   letters         fewer than 80 % of words hold a letter
//   stop-words      fewer than two of "the be to of and that have with" (only in English texts)
//   repeated-lines, repeated-paragraphs   more than 30 % of them, or 20 % of the characters in them
//   repeated-words  the commonest run of 2, 3, 4 words makes more than 20, 18, 16 % of the characters, or
//                   runs of 5 … 10 words seen before more than 15 … 10 %
const std::vector<std::string>& quality_rules();

// "gopher" stands for all rules. bad_input: an unknown name.
Result<std::vector<std::string>> expand_quality_rules(const std::vector<std::string>& names);

// The first rule the text breaks, with its figure: "letters: 0.71 of words hold one"; "" when it passes.
std::string broken_quality_rule(std::string_view text, const std::string& language,
                                const std::vector<std::string>& rules);

}  // namespace bm
