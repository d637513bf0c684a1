#include "tokenizer/jinja_expression.h"

#include <charconv>

namespace bm::jinja {

// a, b, c makes a tuple.
Result<ExpressionPointer> ExpressionParser::parse_tuple(bool with_condition) {
  BM_TRY(auto first, with_condition ? parse_expression() : parse_or());
  if (!is_symbol(",")) return first;
  auto list = make(Kind::tuple);
  list->children.push_back(std::move(first));
  while (accept(",")) {
    bool ends = now().type == Type::block_end || now().type == Type::variable_end || is_symbol(")");
    if (ends) break;
    BM_TRY(auto item, with_condition ? parse_expression() : parse_or());
    list->children.push_back(std::move(item));
  }
  return sized(std::move(list));
}

Result<ExpressionPointer> ExpressionParser::parse_expression() {
  Depth depth(depth_);
  if (depth_ > deepest_nesting) return error("the expression is nested too deep");
  BM_TRY(auto value, parse_or());
  while (accept_name("if")) {
    auto out = make(Kind::conditional);
    BM_TRY(auto condition, parse_or());
    ExpressionPointer otherwise;
    if (accept_name("else")) {
      BM_TRY(otherwise, parse_expression());
    }
    out->children.push_back(std::move(condition));
    out->children.push_back(std::move(value));
    out->children.push_back(std::move(otherwise));
    BM_TRY(value, sized(std::move(out)));
  }
  return value;
}

Result<ExpressionPointer> ExpressionParser::join(Kind kind, std::string text, ExpressionPointer left,
                                                 ExpressionPointer right) const {
  auto out = make(kind);
  out->text = std::move(text);
  out->children.push_back(std::move(left));
  out->children.push_back(std::move(right));
  return sized(std::move(out));
}

Result<ExpressionPointer> ExpressionParser::parse_or() {
  BM_TRY(auto left, parse_and());
  while (accept_name("or")) {
    BM_TRY(auto right, parse_and());
    BM_TRY(left, join(Kind::logical_or, "or", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_and() {
  BM_TRY(auto left, parse_not());
  while (accept_name("and")) {
    BM_TRY(auto right, parse_not());
    BM_TRY(left, join(Kind::logical_and, "and", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_not() {
  Depth depth(depth_);
  if (depth_ > deepest_nesting) return error("the expression is nested too deep");
  if (!accept_name("not")) return parse_compare();
  auto out = make(Kind::logical_not);
  BM_TRY(auto operand, parse_not());
  out->children.push_back(std::move(operand));
  return sized(std::move(out));
}

Result<ExpressionPointer> ExpressionParser::parse_compare() {
  BM_TRY(auto first, parse_sum());
  ExpressionPointer out;
  for (;;) {
    std::string op;
    if (now().type == Type::symbol) {
      for (std::string_view known : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (now().text == known) op = known;
      }
    }
    if (is_name("in")) op = "in";
    if (is_name("not") && ahead().type == Type::name && ahead().text == "in") {
      op = "not in";
      next();
    }
    if (op.empty()) break;
    next();
    if (!out) {
      out = make(Kind::compare);
      out->children.push_back(std::move(first));
    }
    BM_TRY(auto operand, parse_sum());
    out->operators.push_back(std::move(op));
    out->children.push_back(std::move(operand));
  }
  if (out) return sized(std::move(out));
  return first;
}

Result<ExpressionPointer> ExpressionParser::parse_sum() {
  BM_TRY(auto left, parse_concat());
  while (is_symbol("+") || is_symbol("-")) {
    std::string op = now().text;
    next();
    BM_TRY(auto right, parse_concat());
    BM_TRY(left, join(Kind::binary, std::move(op), std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_concat() {
  BM_TRY(auto left, parse_product());
  while (accept("~")) {
    BM_TRY(auto right, parse_product());
    BM_TRY(left, join(Kind::concat, "~", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_product() {
  BM_TRY(auto left, parse_power());
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    std::string op = now().text;
    next();
    BM_TRY(auto right, parse_power());
    BM_TRY(left, join(Kind::binary, std::move(op), std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_power() {
  BM_TRY(auto left, parse_unary(true));
  while (accept("**")) {
    BM_TRY(auto right, parse_unary(true));
    BM_TRY(left, join(Kind::binary, "**", std::move(left), std::move(right)));
  }
  return left;
}

Result<ExpressionPointer> ExpressionParser::parse_unary(bool with_filter) {
  Depth depth(depth_);
  if (depth_ > deepest_nesting) return error("the expression is nested too deep");
  ExpressionPointer out;
  if (is_symbol("-") || is_symbol("+")) {
    out = make(is_symbol("-") ? Kind::negate : Kind::plus);
    next();
    BM_TRY(auto operand, parse_unary(false));
    out->children.push_back(std::move(operand));
    BM_TRY(out, sized(std::move(out)));
  } else {
    BM_TRY(out, parse_primary());
  }
  BM_TRY(out, parse_postfix(std::move(out)));
  while (with_filter) {
    if (is_symbol("|")) {
      BM_TRY(out, parse_filter(std::move(out)));
    } else if (is_name("is")) {
      BM_TRY(out, parse_test(std::move(out)));
    } else if (is_symbol("(")) {
      BM_TRY(out, parse_postfix(std::move(out)));
    } else {
      break;
    }
  }
  return out;
}

Result<ExpressionPointer> ExpressionParser::parse_number() {
  std::string text = now().text;
  const char* end = text.data() + text.size();
  if (now().type == Type::integer) {
    int64_t value = 0;
    auto read = std::from_chars(text.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end) return error("the number " + text + " is too large");
    auto out = constant(Value::integer(value));
    next();
    return out;
  }
  double value = 0;
  auto read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end) return error("the number " + text + " cannot be read");
  auto out = constant(Value::real(value));
  next();
  return out;
}

Result<ExpressionPointer> ExpressionParser::parse_primary() {
  if (now().type == Type::name) {
    auto out = make(Kind::name);
    out->text = now().text;
    const std::string& name = now().text;
    if (name == "true" || name == "True") out = constant(Value::boolean(true));
    if (name == "false" || name == "False") out = constant(Value::boolean(false));
    if (name == "none" || name == "None") out = constant(Value::none());
    next();
    return out;
  }
  if (now().type == Type::string) {
    auto out = make(Kind::constant);
    std::string text;
    for (; now().type == Type::string; next()) text += now().text;
    out->constant = Value::string(std::move(text));
    return out;
  }
  if (now().type == Type::integer || now().type == Type::real) return parse_number();
  if (accept("(")) {
    auto empty = make(Kind::tuple);
    if (accept(")")) return empty;
    BM_TRY(auto inner, parse_tuple());
    BM_CHECK_OK(expect(")"));
    return inner;
  }
  if (accept("[")) return parse_list();
  if (accept("{")) return parse_dict();
  if (now().type == Type::end) return error("the template ends inside an expression");
  return error("unexpected '" + now().text + "'");
}

Result<ExpressionPointer> ExpressionParser::parse_list() {
  auto out = make(Kind::list);
  while (!accept("]")) {
    if (!out->children.empty()) BM_CHECK_OK(expect(","));
    if (accept("]")) break;
    BM_TRY(auto item, parse_expression());
    out->children.push_back(std::move(item));
  }
  return sized(std::move(out));
}

Result<ExpressionPointer> ExpressionParser::parse_dict() {
  auto out = make(Kind::dict);
  while (!accept("}")) {
    if (!out->children.empty()) BM_CHECK_OK(expect(","));
    if (accept("}")) break;
    BM_TRY(auto key, parse_expression());
    BM_CHECK_OK(expect(":"));
    BM_TRY(auto value, parse_expression());
    out->children.push_back(std::move(key));
    out->children.push_back(std::move(value));
  }
  return sized(std::move(out));
}

Result<ExpressionPointer> ExpressionParser::parse_postfix(ExpressionPointer value) {
  for (;;) {
    if (accept(".")) {
      auto out = make(Kind::attribute);
      if (now().type == Type::integer) {
        BM_TRY(auto index, parse_number());
        BM_TRY(value, join(Kind::item, "", std::move(value), std::move(index)));
        continue;
      }
      BM_TRY(out->text, take_name());
      out->children.push_back(std::move(value));
      BM_TRY(value, sized(std::move(out)));
    } else if (accept("[")) {
      BM_TRY(value, parse_subscript(std::move(value)));
    } else if (is_symbol("(")) {
      auto out = make(Kind::call);
      out->children.push_back(std::move(value));
      BM_CHECK_OK(parse_arguments(*out));
      BM_TRY(value, sized(std::move(out)));
    } else {
      return value;
    }
  }
}

Result<ExpressionPointer> ExpressionParser::parse_subscript(ExpressionPointer object) {
  ExpressionPointer parts[3];
  int part = 0;
  bool slice = false;
  while (!is_symbol("]")) {
    if (accept(":")) {
      slice = true;
      if (++part > 2) return error("a slice has at most three parts");
      continue;
    }
    if (parts[part]) return error("expected ']'");
    BM_TRY(parts[part], parse_expression());
  }
  next();
  auto out = make(slice ? Kind::slice : Kind::item);
  out->children.push_back(std::move(object));
  if (!slice && !parts[0]) return error("an index is missing");
  for (int i = 0; i < (slice ? 3 : 1); ++i) out->children.push_back(std::move(parts[i]));
  return sized(std::move(out));
}

Status ExpressionParser::parse_arguments(Expression& out) {
  BM_CHECK_OK(expect("("));
  bool first = true;
  while (!accept(")")) {
    if (!first) BM_CHECK_OK(expect(","));
    first = false;
    if (accept(")")) break;
    if (is_symbol("*") || is_symbol("**")) return error("argument unpacking is not supported");
    if (now().type == Type::name && ahead().type == Type::symbol && ahead().text == "=") {
      std::string name = now().text;
      next();
      next();
      BM_TRY(auto value, parse_expression());
      out.named.emplace_back(std::move(name), std::move(value));
    } else {
      BM_TRY(auto value, parse_expression());
      out.children.push_back(std::move(value));
    }
  }
  return {};
}

Result<ExpressionPointer> ExpressionParser::parse_filter(ExpressionPointer operand, bool first) {
  if (!first) BM_CHECK_OK(expect("|"));
  auto out = make(Kind::filter);
  BM_TRY(out->text, take_name());
  while (accept(".")) {
    BM_TRY(std::string more, take_name());
    out->text += "." + more;
  }
  out->children.push_back(std::move(operand));
  if (is_symbol("(")) BM_CHECK_OK(parse_arguments(*out));
  return sized(std::move(out));
}

Result<ExpressionPointer> ExpressionParser::parse_test(ExpressionPointer operand) {
  next();  // is
  auto out = make(Kind::test);
  out->negated = accept_name("not");
  BM_TRY(out->text, take_name());
  out->children.push_back(std::move(operand));
  if (is_symbol("(")) {
    BM_CHECK_OK(parse_arguments(*out));
    return sized(std::move(out));
  }
  bool literal = now().type == Type::string || now().type == Type::integer || now().type == Type::real ||
                 is_symbol("[") || is_symbol("{");
  bool word = now().type == Type::name;
  for (std::string_view keyword : {"else", "or", "and", "if", "is", "in", "not", "recursive"}) {
    word = word && !is_name(keyword);
  }
  if (literal || word) {
    BM_TRY(auto argument, parse_primary());
    BM_TRY(argument, parse_postfix(std::move(argument)));
    out->children.push_back(std::move(argument));
  }
  return sized(std::move(out));
}

}  // namespace bm::jinja
