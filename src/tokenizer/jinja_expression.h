// Jinja's expressions, by recursive descent. jinja_parser.cpp adds the statements.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja_syntax.h"

namespace bm::jinja {

inline constexpr int deepest_nesting = 100;
inline constexpr int tallest_expression = 200;

class ExpressionParser {
 protected:
  using Kind = Expression::Kind;
  using Type = Token::Type;

  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  Error error(const std::string& what) const {
    return template_error("line " + std::to_string(now().line) + ": " + what);
  }
  bool is_symbol(std::string_view text) const { return now().type == Type::symbol && now().text == text; }
  bool is_name(std::string_view text) const { return now().type == Type::name && now().text == text; }
  bool accept(std::string_view symbol) {
    if (!is_symbol(symbol)) return false;
    next();
    return true;
  }
  bool accept_name(std::string_view name) {
    if (!is_name(name)) return false;
    next();
    return true;
  }
  Status expect(std::string_view symbol) {
    if (!accept(symbol)) return error("expected '" + std::string(symbol) + "'");
    return {};
  }
  Result<std::string> take_name() {
    if (now().type != Type::name) return error("expected a name");
    std::string name = now().text;
    next();
    return name;
  }
  ExpressionPointer make(Kind kind) const {
    auto out = std::make_unique<Expression>();
    out->kind = kind;
    out->line = now().line;
    return out;
  }
  ExpressionPointer constant(Value value) const {
    auto out = make(Kind::constant);
    out->constant = std::move(value);
    return out;
  }
  // Every composite goes through here.
  Result<ExpressionPointer> sized(ExpressionPointer node) const {
    for (const auto& child : node->children) {
      if (child) node->height = std::max(node->height, child->height + 1);
    }
    for (const auto& [name, child] : node->named) node->height = std::max(node->height, child->height + 1);
    if (node->height > tallest_expression) return error("the expression is too long");
    return node;
  }
  struct Depth {
    explicit Depth(int& depth) : depth_(depth) { ++depth_; }
    ~Depth() { --depth_; }
    int& depth_;
  };

  Result<ExpressionPointer> parse_tuple(bool with_condition = true);
  Result<ExpressionPointer> parse_expression();
  Result<ExpressionPointer> join(Kind kind, std::string text, ExpressionPointer left,
                                 ExpressionPointer right) const;
  Result<ExpressionPointer> parse_or();
  Result<ExpressionPointer> parse_and();
  Result<ExpressionPointer> parse_not();
  Result<ExpressionPointer> parse_compare();
  Result<ExpressionPointer> parse_sum();
  Result<ExpressionPointer> parse_concat();
  Result<ExpressionPointer> parse_product();
  Result<ExpressionPointer> parse_power();
  Result<ExpressionPointer> parse_unary(bool with_filter);
  Result<ExpressionPointer> parse_number();
  Result<ExpressionPointer> parse_primary();
  Result<ExpressionPointer> parse_list();
  Result<ExpressionPointer> parse_dict();
  Result<ExpressionPointer> parse_postfix(ExpressionPointer value);
  Result<ExpressionPointer> parse_subscript(ExpressionPointer object);
  Status parse_arguments(Expression& out);
  Result<ExpressionPointer> parse_filter(ExpressionPointer operand, bool first = false);
  Result<ExpressionPointer> parse_test(ExpressionPointer operand);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace bm::jinja
