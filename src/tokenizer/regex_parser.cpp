#include "tokenizer/regex_parser.h"

#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "tokenizer/unicode.h"

namespace bm::unicode::detail {
namespace {

using Set = Regex::Set;
using Kind = Set::Item::Kind;
using Op = Regex::Op;
using Take = Regex::Take;
constexpr uint32_t unlimited = std::numeric_limits<uint32_t>::max();
constexpr size_t largest_program = 20'000;
constexpr int deepest_group = 50;

struct Node {
  enum class Type : uint8_t { empty, set, sequence, choice, repeat, look, begin, end } type = Type::empty;
  uint32_t set = 0;
  std::vector<Node> children = {};
  uint32_t low = 1, high = 1;
  Take take = Take::greedy;
  bool negated = false;
};

bool can_be_empty(const Node& node) {
  switch (node.type) {
    case Node::Type::set:
      return false;
    case Node::Type::sequence:
      for (const Node& child : node.children) {
        if (!can_be_empty(child)) return false;
      }
      return true;
    case Node::Type::choice:
      for (const Node& child : node.children) {
        if (can_be_empty(child)) return true;
      }
      return false;
    case Node::Type::repeat:
      return node.low == 0 || can_be_empty(node.children[0]);
    default:
      return true;
  }
}

// Bits of utf8proc's categories: Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So
// Zs Zl Zp Cc Cf Cs Co, in this order.
std::optional<uint32_t> category_mask(std::string_view name) {
  static constexpr std::string_view names[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                               "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                               "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
  uint32_t mask = 0, bit = 1;
  for (std::string_view known : names) {
    if (name == known || (name.size() == 1 && known.substr(0, 1) == name)) mask |= bit;
    bit <<= 1;
  }
  if (mask == 0) return std::nullopt;
  return mask;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern) {}

  Result<CompiledRegex> compile() {
    BM_TRY(Node root, parse_choice(0));
    if (position_ < pattern_.size()) return error("unbalanced )");
    BM_CHECK_OK(emit(root));
    out_.program.push_back({.op = Op::match});
    return std::move(out_);
  }

 private:
  Error error(std::string what) const {
    return bad_input(std::move(what) + " at byte " + std::to_string(position_) +
                     " of the regular expression \"" + std::string(pattern_.substr(0, 200)) + "\"");
  }
  bool more() const { return position_ < pattern_.size(); }
  char peek() const { return pattern_[position_]; }
  bool accept(std::string_view text) {
    if (pattern_.substr(position_, text.size()) != text) return false;
    position_ += text.size();
    return true;
  }

  Result<Node> parse_choice(int depth) {
    if (depth > deepest_group) return error("groups nested too deep");
    Node choice{.type = Node::Type::choice};
    do {
      BM_TRY(Node sequence, parse_sequence(depth));
      choice.children.push_back(std::move(sequence));
    } while (accept("|"));
    if (choice.children.size() == 1) return std::move(choice.children[0]);
    return choice;
  }

  Result<Node> parse_sequence(int depth) {
    Node sequence{.type = Node::Type::sequence};
    while (more() && peek() != '|' && peek() != ')') {
      BM_TRY(Node atom, parse_atom(depth));
      BM_CHECK_OK(parse_quantifier(atom));
      sequence.children.push_back(std::move(atom));
    }
    return sequence;
  }

  Result<Node> parse_group(int depth) {
    Node look{.type = Node::Type::look};
    bool is_look = false, ignore_case = ignore_case_;
    if (accept("?:")) {
    } else if (accept("?i:")) {
      ignore_case = true;
    } else if (accept("?=")) {
      is_look = true;
    } else if (accept("?!")) {
      is_look = look.negated = true;
    } else if (more() && peek() == '?') {
      return error("this kind of group is not supported");
    }
    std::swap(ignore_case, ignore_case_);
    BM_TRY(Node inner, parse_choice(depth + 1));
    std::swap(ignore_case, ignore_case_);
    if (!accept(")")) return error("missing )");
    if (!is_look) return inner;
    look.children.push_back(std::move(inner));
    return look;
  }

  Result<Node> parse_atom(int depth) {
    if (accept("(")) return parse_group(depth);
    if (accept("^")) return Node{.type = Node::Type::begin};
    if (accept("$")) return Node{.type = Node::Type::end};
    Set set;
    set.ignore_case = ignore_case_;
    if (accept("[")) {
      BM_CHECK_OK(parse_set(set));
    } else if (accept(".")) {
      set.items.push_back({Kind::range, false, '\n', '\n'});
      set.negated = true;
    } else {
      if (peek() == '*' || peek() == '+' || peek() == '?') return error("nothing to repeat");
      BM_TRY(Set::Item item, parse_item());
      set.items.push_back(item);
    }
    set.finish();
    Node node{.type = Node::Type::set, .set = static_cast<uint32_t>(out_.sets.size())};
    out_.sets.push_back(std::move(set));
    return node;
  }

  Status parse_set(Set& set) {
    set.negated = accept("^");
    bool first = true;
    while (more() && (peek() != ']' || first)) {
      first = false;
      BM_TRY(Set::Item item, parse_item());
      bool single = item.kind == Kind::range && item.low == item.high && !item.negated;
      if (single && more() && peek() == '-' && position_ + 1 < pattern_.size() &&
          pattern_[position_ + 1] != ']') {
        ++position_;
        BM_TRY(Set::Item last, parse_item());
        if (last.kind != Kind::range || last.low < item.low) return error("bad range in a set");
        item.high = last.low;
      }
      set.items.push_back(item);
    }
    if (!accept("]")) return error("missing ]");
    return {};
  }

  Result<uint32_t> parse_hex(size_t digits) {
    uint32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (!more()) return error("short number");
      char c = peek();
      uint32_t digit = c >= '0' && c <= '9'   ? static_cast<uint32_t>(c - '0')
                       : c >= 'a' && c <= 'f' ? static_cast<uint32_t>(c - 'a') + 10
                       : c >= 'A' && c <= 'F' ? static_cast<uint32_t>(c - 'A') + 10
                                              : 16;
      if (digit == 16) return error("bad hexadecimal digit");
      value = value * 16 + digit;
      ++position_;
    }
    return value;
  }

  Result<Set::Item> parse_property(bool negated) {
    size_t close = pattern_.find('}', position_);
    if (!accept("{") || close == std::string_view::npos) return error("\\p needs {…}");
    std::string_view name = pattern_.substr(position_, close - position_);
    auto mask = category_mask(name);
    if (!mask) return error("\\p{" + std::string(name) + "} is not supported (general categories are)");
    position_ = close + 1;
    return Set::Item{Kind::categories, negated, *mask, 0};
  }

  // One code point, or an escape that stands for a set.
  Result<Set::Item> parse_item() {
    if (!accept("\\")) {
      CodePoint c = decode(pattern_, position_);
      position_ += c.length;
      return Set::Item{Kind::range, false, c.value, c.value};
    }
    if (!more()) return error("lone backslash");
    char c = pattern_[position_++];
    auto one = [](uint32_t value) { return Set::Item{Kind::range, false, value, value}; };
    switch (c) {
      case 'p':
        return parse_property(false);
      case 'P':
        return parse_property(true);
      case 's':
        return Set::Item{Kind::white_space, false, 0, 0};
      case 'S':
        return Set::Item{Kind::white_space, true, 0, 0};
      case 'w':
        return Set::Item{Kind::word, false, 0, 0};
      case 'W':
        return Set::Item{Kind::word, true, 0, 0};
      case 'd':
        return Set::Item{Kind::categories, false, *category_mask("Nd"), 0};
      case 'D':
        return Set::Item{Kind::categories, true, *category_mask("Nd"), 0};
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
      case 'u': {
        size_t close = more() && peek() == '{' ? pattern_.find('}', position_) : std::string_view::npos;
        if (close == std::string_view::npos) {
          BM_TRY(uint32_t value, parse_hex(c == 'x' ? 2 : 4));
          return one(value);
        }
        ++position_;
        if (close - position_ > 6) return error("number too long");
        BM_TRY(uint32_t value, parse_hex(close - position_));
        ++position_;
        return one(value);
      }
      default:
        break;
    }
    if (is_letter(static_cast<unsigned char>(c)) || is_number(static_cast<unsigned char>(c))) {
      return error(std::string("\\") + c + " is not supported");
    }
    return one(static_cast<unsigned char>(c));
  }

  Result<uint32_t> parse_count() {
    uint64_t value = 0;
    size_t start = position_;
    while (more() && peek() >= '0' && peek() <= '9' && value < 100'000) {
      value = value * 10 + static_cast<uint64_t>(peek() - '0');
      ++position_;
    }
    if (position_ == start || value > 1000) return error("bad repetition count");
    return static_cast<uint32_t>(value);
  }

  Status parse_quantifier(Node& atom) {
    while (more()) {
      Node repeat{.type = Node::Type::repeat};
      if (accept("?")) {
        repeat.low = 0;
      } else if (accept("*")) {
        repeat.low = 0;
        repeat.high = unlimited;
      } else if (accept("+")) {
        repeat.high = unlimited;
      } else if (accept("{")) {
        BM_TRY(repeat.low, parse_count());
        repeat.high = repeat.low;
        if (accept(",")) {
          repeat.high = unlimited;
          if (more() && peek() != '}') {
            BM_TRY(repeat.high, parse_count());
          }
        }
        if (!accept("}") || repeat.high < repeat.low) return error("bad repetition");
      } else {
        return {};
      }
      if (accept("?")) {
        repeat.take = Take::lazy;
      } else if (accept("+")) {
        repeat.take = Take::possessive;
      }
      if (repeat.high == unlimited && can_be_empty(atom))
        return error("endless repetition of an empty match");
      repeat.children.push_back(std::move(atom));
      atom = std::move(repeat);
    }
    return {};
  }

  uint32_t here() const { return static_cast<uint32_t>(out_.program.size()); }

  Status emit(const Node& node) {
    if (out_.program.size() > largest_program) return error("the expression is too large");
    switch (node.type) {
      case Node::Type::empty:
        break;
      case Node::Type::begin:
        out_.program.push_back({.op = Op::begin});
        break;
      case Node::Type::end:
        out_.program.push_back({.op = Op::end});
        break;
      case Node::Type::set:
        out_.program.push_back({.op = Op::one, .set = node.set});
        break;
      case Node::Type::sequence:
        for (const Node& child : node.children) BM_CHECK_OK(emit(child));
        break;
      case Node::Type::look: {
        uint32_t start = here();
        out_.program.push_back({.op = Op::look, .negated = node.negated});
        BM_CHECK_OK(emit(node.children[0]));
        out_.program.push_back({.op = Op::match});
        out_.program[start].low = here();
        break;
      }
      case Node::Type::choice:
        return emit_choice(node);
      case Node::Type::repeat:
        return emit_repeat(node);
    }
    return {};
  }

  Status emit_choice(const Node& node) {
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i < node.children.size(); ++i) {
      if (i + 1 == node.children.size()) {
        BM_CHECK_OK(emit(node.children[i]));
        break;
      }
      uint32_t split = here();
      out_.program.push_back({.op = Op::split, .low = split + 1});
      BM_CHECK_OK(emit(node.children[i]));
      jumps.push_back(here());
      out_.program.push_back({.op = Op::jump});
      out_.program[split].high = here();
    }
    for (uint32_t jump : jumps) out_.program[jump].low = here();
    return {};
  }

  Status emit_repeat(const Node& node) {
    const Node& child = node.children[0];
    if (child.type == Node::Type::set) {
      out_.program.push_back(
          {.op = Op::repeat, .take = node.take, .set = child.set, .low = node.low, .high = node.high});
      return {};
    }
    uint32_t atomic = here();
    if (node.take == Take::possessive) out_.program.push_back({.op = Op::atomic});
    for (uint32_t i = 0; i < node.low; ++i) BM_CHECK_OK(emit(child));
    auto split = [&](uint32_t at, uint32_t inside, uint32_t after) {
      bool lazy = node.take == Take::lazy;
      out_.program[at].low = lazy ? after : inside;
      out_.program[at].high = lazy ? inside : after;
    };
    if (node.high == unlimited) {
      uint32_t start = here();
      out_.program.push_back({.op = Op::split});
      BM_CHECK_OK(emit(child));
      out_.program.push_back({.op = Op::jump, .low = start});
      split(start, start + 1, here());
    } else {
      std::vector<uint32_t> splits;
      for (uint32_t i = node.low; i < node.high; ++i) {
        splits.push_back(here());
        out_.program.push_back({.op = Op::split});
        BM_CHECK_OK(emit(child));
      }
      for (uint32_t at : splits) split(at, at + 1, here());
    }
    if (node.take == Take::possessive) {
      out_.program.push_back({.op = Op::match});
      out_.program[atomic].low = here();
    }
    return {};
  }

  std::string_view pattern_;
  size_t position_ = 0;
  bool ignore_case_ = false;
  CompiledRegex out_;
};

}  // namespace

Result<CompiledRegex> compile_regex(std::string_view pattern) { return Parser(pattern).compile(); }

}  // namespace bm::unicode::detail
