#include <algorithm>
#include <cctype>
#include <string_view>

#include "tokenizer/jinja_syntax.h"
#include "tokenizer/unicode.h"

namespace bm::jinja {

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    // Newlines become \n; one at the very end is dropped (keep_trailing_newline is off).
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r') {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      } else {
        source_ += source[i];
      }
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      size_t open = find_open();
      BM_CHECK_OK(take_text(open));
      if (open == std::string::npos) break;
      BM_CHECK_OK(take_tag());
    }
    add(Token::Type::end, "");
    return std::move(tokens_);
  }

 private:
  Error error(const std::string& what) const {
    return template_error("line " + std::to_string(line_) + ": " + what);
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  bool starts(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }
  void add(Token::Type type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  void advance(size_t count) {
    for (size_t i = 0; i < count && at_ < source_.size(); ++i) {
      if (source_[at_] == '\n') ++line_;
      ++at_;
    }
  }

  size_t find_open() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      char next = i + 1 < source_.size() ? source_[i + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return std::string::npos;
  }

  // What stands before a tag loses its trailing white space by "{%-", or the blanks of its last line
  // by lstrip_blocks.
  std::string strip_before(std::string text, char kind, char sign) const {
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
      return text;
    }
    if (sign == '+' || kind == '{') return text;
    size_t line = text.rfind('\n') + 1;  // npos + 1 = 0
    if (line == 0 && !line_starting_) return text;
    bool blank = line < text.size();
    for (size_t i = line; i < text.size(); ++i) blank = blank && is_space(text[i]);
    if (blank) text.resize(line);
    return text;
  }

  Status take_text(size_t open) {
    std::string text = source_.substr(at_, open == std::string::npos ? std::string::npos : open - at_);
    size_t length = text.size();
    if (open != std::string::npos) {
      char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
      text = strip_before(std::move(text), source_[open + 1], sign);
    }
    if (!text.empty()) add(Token::Type::text, std::move(text));
    advance(length);
    return {};
  }

  // After a closing mark of `length` characters at at_: eats what the mark says.
  void close(size_t length, bool minus, bool trim_newline) {
    line_starting_ = false;
    advance(length);
    if (minus) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(1);
    } else if (trim_newline && peek() == '\n') {
      advance(1);
    }
    line_starting_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  Status take_tag() {
    char kind = peek(1);
    int start_line = line_;
    bool sign = peek(2) == '-' || peek(2) == '+';
    if (kind == '#') {
      size_t end = source_.find("#}", at_ + 2);
      if (end == std::string::npos) return error("a comment does not end");
      char before = end > at_ + 2 ? source_[end - 1] : '\0';
      advance(end - at_);
      close(2, before == '-', before != '+');
      return {};
    }
    if (kind == '%' && take_raw(sign)) return raw_status_;
    add(kind == '{' ? Token::Type::variable_begin : Token::Type::block_begin, "");
    advance(sign ? 3 : 2);
    std::string closing = kind == '{' ? "}}" : "%}";
    int open = 0;
    for (;;) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(1);
      if (at_ >= source_.size()) {
        line_ = start_line;
        return error("a tag does not end");
      }
      bool signed_end =
          (peek() == '-' || (peek() == '+' && kind == '%')) && source_.compare(at_ + 1, 2, closing) == 0;
      if (open == 0 && (signed_end || starts(closing))) {
        char mark = peek();
        add(kind == '{' ? Token::Type::variable_end : Token::Type::block_end, "");
        close(signed_end ? 3 : 2, mark == '-', kind == '%' && mark != '+');
        return {};
      }
      BM_CHECK_OK(take_token(open));
    }
  }

  // {% raw %}…{% endraw %}; true when there was one (raw_status_ says how it went).
  bool take_raw(bool sign) {
    size_t i = at_ + (sign ? 3 : 2);
    auto skip_spaces = [&](size_t& position) {
      while (position < source_.size() && is_space(source_[position])) ++position;
    };
    skip_spaces(i);
    if (source_.compare(i, 3, "raw") != 0) return false;
    i += 3;
    skip_spaces(i);
    bool minus = i < source_.size() && source_[i] == '-';
    if (minus || (i < source_.size() && source_[i] == '+')) ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    advance(i - at_);
    close(2, minus, false);  // no newline is trimmed here
    for (size_t end = source_.find("{%", at_); end != std::string::npos; end = source_.find("{%", end + 2)) {
      size_t j = end + 2;
      char before = j < source_.size() ? source_[j] : '\0';
      if (before == '-' || before == '+') ++j;
      skip_spaces(j);
      if (source_.compare(j, 6, "endraw") != 0) continue;
      j += 6;
      skip_spaces(j);
      char after = j < source_.size() ? source_[j] : '\0';
      if (after == '-' || after == '+') ++j;
      if (source_.compare(j, 2, "%}") != 0) continue;
      std::string text = strip_before(source_.substr(at_, end - at_), '%', before);
      if (!text.empty()) add(Token::Type::text, std::move(text));
      advance(j - at_);
      close(2, after == '-', after != '+');
      raw_status_ = {};
      return true;
    }
    raw_status_ = error("{% raw %} does not end");
    return true;
  }

  Status take_token(int& open) {
    char c = peek();
    if (c == '"' || c == '\'') return take_string(c);
    if (c >= '0' && c <= '9') return take_number();
    if (std::isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80) {
      size_t end = at_;
      while (end < source_.size()) {
        auto u = static_cast<unsigned char>(source_[end]);
        if (!std::isalnum(u) && u != '_' && u < 0x80) break;
        ++end;
      }
      add(Token::Type::name, source_.substr(at_, end - at_));
      advance(end - at_);
      return {};
    }
    static constexpr std::string_view symbols[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                                   "/",  "%",  "~",  "<",  ">",  "=",  ".", ",", ":",
                                                   "|",  "(",  ")",  "[",  "]",  "{",  "}"};
    for (std::string_view symbol : symbols) {
      if (!starts(symbol)) continue;
      if (symbol == "(" || symbol == "[" || symbol == "{") ++open;
      if (symbol == ")" || symbol == "]" || symbol == "}") {
        if (--open < 0) return error("unexpected '" + std::string(symbol) + "'");
      }
      add(Token::Type::symbol, std::string(symbol));
      advance(symbol.size());
      return {};
    }
    return error(std::string("unexpected character '") + c + "'");
  }

  Status take_number() {
    size_t end = at_;
    bool real = false;
    while (end < source_.size()) {
      char c = source_[end];
      bool digit = (c >= '0' && c <= '9') || c == '_';
      bool fraction =
          c == '.' && !real && end + 1 < source_.size() && source_[end + 1] >= '0' && source_[end + 1] <= '9';
      bool exponent = (c == 'e' || c == 'E') && end + 1 < source_.size() &&
                      (std::isdigit(static_cast<unsigned char>(source_[end + 1])) ||
                       ((source_[end + 1] == '-' || source_[end + 1] == '+') && end + 2 < source_.size() &&
                        std::isdigit(static_cast<unsigned char>(source_[end + 2]))));
      if (exponent) end += 1;
      if (!digit && !fraction && !exponent) break;
      real = real || fraction || exponent;
      ++end;
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    if (text.size() > 30) return error("a number is too long");
    add(real ? Token::Type::real : Token::Type::integer, text);
    advance(end - at_);
    return {};
  }

  // What a backslash and one character stand for; Python keeps both where it knows no such escape.
  static void take_escape(char escape, std::string& text) {
    static constexpr std::string_view names = "ntrabfv0", characters{"\n\t\r\a\b\f\v\0", 8};
    if (size_t at = names.find(escape); at != std::string_view::npos) {
      text += characters[at];
    } else if (escape == '\\' || escape == '\'' || escape == '"') {
      text += escape;
    } else if (escape != '\n') {
      text += '\\';
      text += escape;
    }
  }

  // Python's string escapes.
  Status take_string(char quote) {
    std::string text;
    size_t i = at_ + 1;
    for (;; ++i) {
      if (i >= source_.size()) return error("a string does not end");
      char c = source_[i];
      if (c == quote) break;
      if (c != '\\' || i + 1 >= source_.size()) {
        text += c;
        continue;
      }
      char escape = source_[++i];
      size_t digits = escape == 'x' ? 2 : escape == 'u' ? 4 : escape == 'U' ? 8 : 0;
      if (digits > 0) {
        uint32_t value = 0;
        for (size_t k = 0; k < digits; ++k) {
          auto u = static_cast<unsigned char>(i + 1 < source_.size() ? source_[i + 1] : '\0');
          if (!std::isxdigit(u)) return error("a bad escape in a string");
          value = value * 16 + static_cast<uint32_t>(u <= '9' ? u - '0' : (u | 0x20) - 'a' + 10);
          ++i;
        }
        if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return error("a bad escape in a string");
        unicode::append(text, value);
        continue;
      }
      take_escape(escape, text);
    }
    add(Token::Type::string, std::move(text));
    advance(i + 1 - at_);
    return {};
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  Status raw_status_;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace bm::jinja
