#include "tokenizer/regex.h"

#include <limits>

#include "tokenizer/regex_parser.h"
#include "tokenizer/unicode.h"

namespace bm::unicode {

bool Regex::Set::contains_slow(uint32_t c) const {
  auto in_items = [&](uint32_t value) {
    for (const Item& item : items) {
      bool found = false;
      switch (item.kind) {
        case Item::Kind::range:
          found = value >= item.low && value <= item.high;
          break;
        case Item::Kind::categories:
          found = (item.low >> category(value)) & 1u;
          break;
        case Item::Kind::white_space:
          found = is_white_space(value);
          break;
        case Item::Kind::word:
          found = is_word(value);
          break;
      }
      if (found != item.negated) return true;
    }
    return false;
  };
  bool found = in_items(c);
  if (!found && ignore_case) found = in_items(to_lower(c)) || in_items(to_upper(c));
  return found != negated;
}

void Regex::Set::finish() {
  ascii[0] = ascii[1] = 0;
  for (uint32_t c = 0; c < 128; ++c) {
    if (contains_slow(c)) ascii[c / 64] |= uint64_t{1} << (c % 64);
  }
}

bool Regex::Set::contains(uint32_t c) const {
  if (c < 128) return (ascii[c / 64] >> (c % 64)) & 1u;
  return contains_slow(c);
}

Result<Regex> Regex::compile(std::string_view pattern) {
  BM_TRY(auto compiled, detail::compile_regex(pattern));
  Regex regex;
  regex.sets_ = std::move(compiled.sets);
  regex.program_ = std::move(compiled.program);
  return regex;
}

Regex Regex::literal(std::string_view text) {
  Regex regex;
  for (size_t i = 0; i < text.size();) {
    CodePoint c = decode(text, i);
    Set set;
    set.items.push_back({Set::Item::Kind::range, false, c.value, c.value});
    set.finish();
    regex.program_.push_back({.op = Op::one, .set = static_cast<uint32_t>(regex.sets_.size())});
    regex.sets_.push_back(std::move(set));
    i += c.length;
  }
  regex.program_.push_back({.op = Op::match});
  return regex;
}

namespace {

// A place to go back to. A run of one set keeps a single one, which gives back one code point at a time,
// so a run of a million letters costs no memory.
struct Choice {
  enum class Kind : uint8_t { plain, shrink, grow } kind;
  uint32_t pc;
  size_t position, low;  // shrink: positions down to `low` are open
  uint32_t left;         // grow: repetitions still allowed
};

}  // namespace

class RegexMatcher {
 public:
  RegexMatcher(std::string_view text, const std::vector<Regex::Set>& sets,
               const std::vector<Regex::Instruction>& program)
      : text_(text),
        sets_(sets),
        program_(program),
        steps_(100'000 + 64 * static_cast<int64_t>(text.size())) {}

  // Depth-first over the program with an explicit stack.
  bool run(uint32_t pc, size_t position, size_t& end, int depth = 0) {
    size_t base = stack().size();  // choices of the matches around this one stay below
    bool found = depth <= 16 && search(pc, position, end, base, depth);
    stack().resize(base);
    return found;
  }

 private:
  static std::vector<Choice>& stack() {
    thread_local std::vector<Choice> choices;
    return choices;
  }

  bool search(uint32_t pc, size_t position, size_t& end, size_t base, int depth) {
    for (;;) {
      if (--steps_ < 0) return false;
      const Regex::Instruction& at = program_[pc];
      if (at.op == Regex::Op::match) {
        end = position;
        return true;
      }
      if (step(at, pc, position, depth)) continue;
      if (!back(base, pc, position)) return false;
    }
  }

  // One instruction; false when it does not fit.
  bool step(const Regex::Instruction& at, uint32_t& pc, size_t& position, int depth) {
    using Op = Regex::Op;
    switch (at.op) {
      case Op::jump:
        pc = at.low;
        return true;
      case Op::split:
        stack().push_back({Choice::Kind::plain, at.high, position, 0, 0});
        pc = at.low;
        return true;
      case Op::repeat:
        return repeat(at, pc, position);
      case Op::look:
      case Op::atomic: {
        size_t inner_end = 0;
        bool found = run(pc + 1, position, inner_end, depth + 1);
        if (at.op == Op::atomic) position = inner_end;
        pc = at.low;
        return found != at.negated;
      }
      default:
        break;
    }
    ++pc;
    if (at.op == Op::begin) return position == 0;
    if (at.op == Op::end) return position == text_.size();
    if (position >= text_.size()) return false;
    CodePoint c = decode_ascii_fast(text_, position);
    position += c.length;
    return sets_[at.set].contains(c.value);
  }

  bool repeat(const Regex::Instruction& at, uint32_t& pc, size_t& position) {
    const Regex::Set& set = sets_[at.set];
    bool lazy = at.take == Regex::Take::lazy;
    uint32_t wanted = lazy ? at.low : at.high, taken = 0;
    size_t least = position;
    while (taken < wanted && position < text_.size()) {
      CodePoint c = decode_ascii_fast(text_, position);
      if (!set.contains(c.value)) break;
      position += c.length;
      if (++taken == at.low) least = position;
    }
    steps_ -= taken / 8;
    if (taken < at.low) return false;
    if (at.take == Regex::Take::greedy && position > least) {
      stack().push_back({Choice::Kind::shrink, pc + 1, position, least, 0});
    } else if (lazy && at.high > at.low) {
      stack().push_back({Choice::Kind::grow, pc, position, 0, at.high - at.low});
    }
    ++pc;
    return true;
  }

  // Back to the latest open choice; false when there is none above `base`.
  bool back(size_t base, uint32_t& pc, size_t& position) {
    auto& choices = stack();
    for (; choices.size() > base; choices.pop_back()) {
      Choice& choice = choices.back();
      if (choice.kind == Choice::Kind::plain) {
        position = choice.position;
        pc = choice.pc;
        choices.pop_back();
        return true;
      }
      if (choice.kind == Choice::Kind::shrink) {
        if (choice.position <= choice.low) continue;
        position = choice.position = previous(text_, choice.position);
        pc = choice.pc;
        return true;
      }
      if (choice.left == 0 || choice.position >= text_.size()) continue;
      CodePoint c = decode_ascii_fast(text_, choice.position);
      if (!sets_[program_[choice.pc].set].contains(c.value)) continue;
      --choice.left;
      position = choice.position += c.length;
      pc = choice.pc + 1;
      return true;
    }
    return false;
  }

  std::string_view text_;
  const std::vector<Regex::Set>& sets_;
  const std::vector<Regex::Instruction>& program_;
  int64_t steps_;
};

int64_t Regex::match_at(std::string_view text, size_t position) const {
  size_t end = 0;
  if (!RegexMatcher(text, sets_, program_).run(0, position, end)) return -1;
  return static_cast<int64_t>(end - position);
}

std::pair<size_t, size_t> Regex::find(std::string_view text, size_t from) const {
  for (size_t position = from; position < text.size(); position += decode_ascii_fast(text, position).length) {
    int64_t length = match_at(text, position);
    if (length > 0) return {position, position + static_cast<size_t>(length)};
  }
  return {std::string_view::npos, text.size()};
}

}  // namespace bm::unicode
