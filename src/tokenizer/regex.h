// The regular expressions that tokenizer.json files use to split text: a backtracking matcher over
// UTF-8 with Unicode categories. Own code because std::regex knows no Unicode, and because its work is
// bounded: a match attempt takes at most 100,000 steps and 64 per byte of text, then it fails.
//
// Syntax: literals, escapes, . ^ $, [sets] with ranges and \p{..} \s \d \w, (groups), (?:..), (?i:..),
// (?=..) (?!..), alternation, ? * + {n,m}, each greedy, lazy (?) or possessive (+).
// Alternatives are tried in order (leftmost-first), as Oniguruma and PCRE do.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace bm::unicode {

class Regex {
 public:
  // bad_input names the position in the pattern and what is not supported.
  static Result<Regex> compile(std::string_view pattern);
  // A pattern that matches this text and nothing else.
  static Regex literal(std::string_view text);

  // Length of the match that starts at `position`, or -1.
  int64_t match_at(std::string_view text, size_t position) const;
  // First match at or after `from`, never empty: [begin, end); begin = npos when there is none.
  std::pair<size_t, size_t> find(std::string_view text, size_t from) const;

  // One set of code points; ASCII is answered from a bit map.
  struct Set {
    struct Item {
      enum class Kind : uint8_t { range, categories, white_space, word } kind;
      bool negated;
      uint32_t low, high;  // range; low = mask of categories
    };
    std::vector<Item> items;
    bool negated = false, ignore_case = false;
    uint64_t ascii[2] = {0, 0};
    bool contains(uint32_t code_point) const;
    bool contains_slow(uint32_t code_point) const;
    void finish();
  };
  enum class Op : uint8_t { one, repeat, split, jump, look, atomic, begin, end, match };
  enum class Take : uint8_t { greedy, lazy, possessive };
  struct Instruction {
    Op op;
    Take take = Take::greedy;
    bool negated = false;  // look
    uint32_t set = 0;      // one, repeat
    uint32_t low = 0,
             high = 0;  // repeat: counts; split: first and second target; jump, look, atomic: low = target
  };

 private:
  std::vector<Set> sets_;
  std::vector<Instruction> program_;
};

}  // namespace bm::unicode
