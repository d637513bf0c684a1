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
        case Item::Kind::range: found = value >= item.low && value <= item.high; break;
        case Item::Kind::categories: found = (item.low >> category(value)) & 1u; break;
        case Item::Kind::white_space: found = is_white_space(value); break;
        case Item::Kind::word: found = is_word(value); break;
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

// Depth-first over the program with an explicit stack. A run of one set keeps a single stack entry
// that gives back one code point at a time, so a run of a million letters costs no memory.
bool Regex::run(std::string_view text, uint32_t pc, size_t position, size_t& end, int64_t& steps,
                int depth) const {
  struct Choice {
    uint32_t pc;
    size_t position, low;  // run: positions down to `low` are open (greedy) or up while the set holds (lazy)
    enum class Kind : uint8_t { plain, shrink, grow } kind;
    uint32_t left;  // grow: repetitions still allowed
  };
  std::vector<Choice> stack;
  if (depth > 16) return false;
  for (;;) {
    bool failed = --steps < 0;
    if (failed) return false;
    const Instruction& at = program_[pc];
    switch (at.op) {
      case Op::match: end = position; return true;
      case Op::begin: failed = position != 0; ++pc; break;
      case Op::end: failed = position != text.size(); ++pc; break;
      case Op::jump: pc = at.low; break;
      case Op::split:
        stack.push_back({at.high, position, 0, Choice::Kind::plain, 0});
        pc = at.low;
        break;
      case Op::one: {
        failed = position >= text.size();
        if (failed) break;
        CodePoint c = decode_ascii_fast(text, position);
        failed = !sets_[at.set].contains(c.value);
        position += c.length;
        ++pc;
        break;
      }
      case Op::repeat: {
        const Set& set = sets_[at.set];
        uint32_t wanted = at.take == Take::lazy ? at.low : at.high;
        size_t least = position;
        uint32_t taken = 0;
        while (taken < wanted && position < text.size()) {
          CodePoint c = decode_ascii_fast(text, position);
          if (!set.contains(c.value)) break;
          position += c.length;
          if (++taken == at.low) least = position;
        }
        steps -= taken / 8;
        failed = taken < at.low;
        if (failed) break;
        ++pc;
        if (at.take == Take::greedy && position > least) {
          stack.push_back({pc, position, least, Choice::Kind::shrink, 0});
        } else if (at.take == Take::lazy && at.high > at.low) {
          stack.push_back({pc - 1, position, 0, Choice::Kind::grow, at.high - at.low});
        }
        break;
      }
      case Op::look:
      case Op::atomic: {
        size_t inner_end = 0;
        bool found = run(text, pc + 1, position, inner_end, steps, depth + 1);
        failed = found == at.negated;
        if (at.op == Op::atomic) position = inner_end;
        pc = at.low;
        break;
      }
    }
    if (!failed) continue;
    // Back to the latest open choice.
    for (;;) {
      if (stack.empty()) return false;
      Choice& choice = stack.back();
      if (choice.kind == Choice::Kind::shrink) {
        if (choice.position <= choice.low) {
          stack.pop_back();
          continue;
        }
        choice.position = previous(text, choice.position);
        position = choice.position;
        pc = choice.pc;
      } else if (choice.kind == Choice::Kind::grow) {
        CodePoint c = choice.position < text.size() ? decode_ascii_fast(text, choice.position) : CodePoint{0, 0, false};
        if (choice.left == 0 || c.length == 0 || !sets_[program_[choice.pc].set].contains(c.value)) {
          stack.pop_back();
          continue;
        }
        --choice.left;
        choice.position += c.length;
        position = choice.position;
        pc = choice.pc + 1;
      } else {
        position = choice.position;
        pc = choice.pc;
        stack.pop_back();
      }
      break;
    }
  }
}

int64_t Regex::match_at(std::string_view text, size_t position) const {
  size_t end = 0;
  int64_t steps = 100'000 + 64 * static_cast<int64_t>(text.size() - position);
  if (!run(text, 0, position, end, steps, 0)) return -1;
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
