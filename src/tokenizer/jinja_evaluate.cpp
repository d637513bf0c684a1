// Expressions.
#include <algorithm>
#include <cmath>

#include "tokenizer/jinja_render.h"
#include "tokenizer/unicode.h"

namespace bm::jinja {

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size();) {
    size_t length = unicode::decode_ascii_fast(text, i).length;
    out.push_back(text.substr(i, length));
    i += length;
  }
  return out;
}

std::vector<size_t> slice_indices(size_t size, const Value* start, const Value* stop, const Value* step) {
  auto n = static_cast<int64_t>(size);
  auto number = [](const Value* value) { return value && value->is_integer(); };
  int64_t by = number(step) ? std::clamp<int64_t>(step->as_integer(), -n - 1, n + 1) : 1;
  std::vector<size_t> out;
  if (by == 0) return out;
  auto bound = [&](const Value* value, int64_t otherwise) {
    if (!number(value)) return otherwise;
    int64_t at = std::clamp<int64_t>(value->as_integer(), -n - 1, n + 1);
    if (at < 0) at += n;
    return std::clamp<int64_t>(at, by < 0 ? -1 : 0, by < 0 ? n - 1 : n);
  };
  int64_t from = bound(start, by < 0 ? n - 1 : 0), to = bound(stop, by < 0 ? -1 : n);
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) out.push_back(static_cast<size_t>(i));
  return out;
}

Result<bool> contains(const Value& container, const Value& value) {
  if (container.is_string()) {
    if (!value.is_string()) return template_error("'in <string>' needs a string on its left");
    return container.as_string().find(value.as_string()) != std::string::npos;
  }
  if (container.is_list()) {
    for (const Value& item : container.items()) {
      if (item.equals(value)) return true;
    }
    return false;
  }
  if (container.is_dict()) return container.as_dict().find(value) != nullptr;
  if (container.is_undefined()) return false;
  return template_error(std::string("'in' does not work on a value of type ") + container.type_name());
}

namespace {

Result<Value> integer_binary(const std::string& op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &out);
  if (op == "-") overflow = __builtin_sub_overflow(a, b, &out);
  if (op == "*") overflow = __builtin_mul_overflow(a, b, &out);
  if (op == "//" || op == "%") {
    if (b == 0) return template_error("division by zero");
    if (b == -1) {
      overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &out);
    } else {
      int64_t quotient = a / b, rest = a % b;
      if (rest != 0 && (rest < 0) != (b < 0)) {
        --quotient;
        rest += b;
      }
      out = op == "//" ? quotient : rest;
    }
  }
  if (op == "**") {
    if (b < 0) return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
    out = 1;
    bool small = a >= -1 && a <= 1;
    int64_t times = small ? (b == 0 ? 0 : 1 + (b + 1) % 2) : b;
    for (int64_t i = 0; i < times && !overflow; ++i) overflow = __builtin_mul_overflow(out, a, &out);
  }
  if (overflow) return template_error("a number grows too large");
  return Value::integer(out);
}

Result<Value> real_binary(const std::string& op, double a, double b) {
  if (op == "+") return Value::real(a + b);
  if (op == "-") return Value::real(a - b);
  if (op == "*") return Value::real(a * b);
  if (op == "**") return Value::real(std::pow(a, b));
  if (b == 0) return template_error("division by zero");
  if (op == "/") return Value::real(a / b);
  double quotient = std::floor(a / b);
  return Value::real(op == "//" ? quotient : a - b * quotient);
}

}  // namespace

Result<Value> binary(Renderer& renderer, const std::string& op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return template_error("'" + value->undefined_name() + "' is undefined");
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real() || op == "/") return real_binary(op, a.as_double(), b.as_double());
    return integer_binary(op, a.as_integer(), b.as_integer());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    BM_CHECK_OK(renderer.charge(a.as_string().size() + b.as_string().size()));
    return Value::string(a.as_string() + b.as_string());
  }
  if (op == "+" && a.is_list() && b.is_list()) {
    std::vector<Value> items = a.items();
    BM_CHECK_OK(renderer.charge((items.size() + b.items().size()) * sizeof(Value)));
    items.insert(items.end(), b.items().begin(), b.items().end());
    return Value::list(std::move(items));
  }
  if (op == "*" && ((a.is_string() && b.is_integer()) || (a.is_integer() && b.is_string()))) {
    const std::string& text = a.is_string() ? a.as_string() : b.as_string();
    auto times = static_cast<size_t>(
        std::clamp<int64_t>(a.is_string() ? b.as_integer() : a.as_integer(), 0, 1'000'000'000));
    BM_CHECK_OK(renderer.charge(text.size() * times));
    std::string out;
    for (size_t i = 0; i < times && !text.empty(); ++i) out += text;
    return Value::string(std::move(out));
  }
  return template_error(std::string("'") + op + "' does not work on " + a.type_name() + " and " +
                        b.type_name());
}

Result<Arguments> Renderer::evaluate_arguments(const Expression& expression, size_t first) {
  Arguments arguments;
  for (size_t i = first; i < expression.children.size(); ++i) {
    BM_TRY(Value value, evaluate(*expression.children[i]));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, child] : expression.named) {
    BM_TRY(Value value, evaluate(*child));
    arguments.named.emplace_back(name, std::move(value));
  }
  return arguments;
}

// In a filter block or a block assignment the innermost filter has no operand: it takes `operand`.
Result<Value> Renderer::evaluate_filter(const Expression& expression, const Value* operand) {
  Value value;
  if (!expression.children[0]) {
    if (operand) value = *operand;
  } else if (operand && expression.children[0]->kind == Expression::Kind::filter) {
    BM_TRY(value, evaluate_filter(*expression.children[0], operand));
  } else {
    BM_TRY(value, evaluate(*expression.children[0]));
  }
  BM_TRY(Arguments arguments, evaluate_arguments(expression, 1));
  return apply_filter(expression.text, value, arguments);
}

Result<Value> Renderer::evaluate_slice(const Expression& expression) {
  BM_TRY(Value object, evaluate(*expression.children[0]));
  Value parts[3];
  const Value* given[3] = {nullptr, nullptr, nullptr};
  for (size_t i = 0; i < 3; ++i) {
    if (!expression.children[i + 1]) continue;
    BM_TRY(parts[i], evaluate(*expression.children[i + 1]));
    given[i] = &parts[i];
  }
  if (object.is_list()) {
    std::vector<Value> out;
    for (size_t i : slice_indices(object.items().size(), given[0], given[1], given[2]))
      out.push_back(object.items()[i]);
    BM_CHECK_OK(charge(out.size() * sizeof(Value)));
    return Value::list(std::move(out));
  }
  if (object.is_string()) {
    auto list = characters(object.as_string());
    std::string out;
    for (size_t i : slice_indices(list.size(), given[0], given[1], given[2])) out += list[i];
    BM_CHECK_OK(charge(out.size() + list.size()));
    return Value::string(std::move(out));
  }
  return template_error(std::string("a value of type ") + object.type_name() + " cannot be sliced");
}

Result<Value> Renderer::evaluate_compare(const Expression& expression) {
  BM_TRY(Value left, evaluate(*expression.children[0]));
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    const std::string& op = expression.operators[i];
    BM_TRY(Value right, evaluate(*expression.children[i + 1]));
    bool holds = false;
    if (op == "==" || op == "!=") {
      holds = left.equals(right) == (op == "==");
    } else if (op == "in" || op == "not in") {
      BM_TRY(bool found, contains(right, left));
      holds = found == (op == "in");
    } else {
      BM_TRY(int order, compare(left, right));
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Result<Value> Renderer::evaluate_binary(const Expression& expression) {
  BM_TRY(Value left, evaluate(*expression.children[0]));
  BM_TRY(Value right, evaluate(*expression.children[1]));
  if (expression.kind == Expression::Kind::concat) {
    std::string text = left.text() + right.text();
    BM_CHECK_OK(charge(text.size()));
    return Value::string(std::move(text));
  }
  return binary(*this, expression.text, left, right);
}

Result<Value> Renderer::evaluate(const Expression& expression) {
  BM_CHECK_OK(step(expression.line));
  if (evaluating_ >= limits_.expression_depth) return template_error("expressions nested too deep");
  ++evaluating_;
  auto value = evaluate_children(expression);
  --evaluating_;
  if (value) return value;
  // Our own messages get the line; what raise_exception says stays as it is.
  constexpr std::string_view prefix = "chat template: ";
  std::string_view what = value.error().what();
  bool ours = what.starts_with(prefix) && !what.substr(prefix.size()).starts_with("line ");
  if (!ours) return value;
  return template_error("line " + std::to_string(expression.line) + ": " +
                        std::string(what.substr(prefix.size())));
}

// [a, b], (a, b) and {a: b}.
Result<Value> Renderer::evaluate_display(const Expression& expression) {
  std::vector<Value> items;
  for (const auto& child : expression.children) {
    BM_TRY(Value item, evaluate(*child));
    items.push_back(std::move(item));
  }
  if (expression.kind == Expression::Kind::list) return Value::list(std::move(items));
  if (expression.kind == Expression::Kind::tuple) return Value::tuple(std::move(items));
  Value out = Value::dict();
  for (size_t i = 0; i + 1 < items.size(); i += 2)
    out.as_dict().set(std::move(items[i]), std::move(items[i + 1]));
  return out;
}

Result<Value> Renderer::evaluate_sign(const Expression& expression) {
  BM_TRY(Value operand, evaluate(*expression.children[0]));
  if (!operand.is_number())
    return template_error(std::string("a sign does not fit a ") + operand.type_name());
  bool minus = expression.kind == Expression::Kind::negate;
  return binary(*this, minus ? "-" : "+", Value::integer(0), operand);
}

Result<Value> Renderer::evaluate_conditional(const Expression& expression) {
  const auto& children = expression.children;
  BM_TRY(Value condition, evaluate(*children[0]));
  if (condition.truth()) return evaluate(*children[1]);
  if (children[2]) return evaluate(*children[2]);
  return Value::undefined("the inline if without else");
}

Result<Value> Renderer::evaluate_children(const Expression& expression) {
  using Kind = Expression::Kind;
  const auto& children = expression.children;
  switch (expression.kind) {
    case Kind::constant:
      return expression.constant;
    case Kind::name: {
      if (const Value* found = frame_->find(expression.text)) return *found;
      auto global = globals_.find(expression.text);
      return global != globals_.end() ? global->second : Value::undefined(expression.text);
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
      return evaluate_display(expression);
    case Kind::attribute: {
      BM_TRY(Value object, evaluate(*children[0]));
      return attribute(object, expression.text);
    }
    case Kind::item: {
      BM_TRY(Value object, evaluate(*children[0]));
      BM_TRY(Value key, evaluate(*children[1]));
      return item(object, key);
    }
    case Kind::slice:
      return evaluate_slice(expression);
    case Kind::call: {
      BM_TRY(Value callee, evaluate(*children[0]));
      BM_TRY(Arguments arguments, evaluate_arguments(expression, 1));
      return call(callee, arguments);
    }
    case Kind::filter:
      return evaluate_filter(expression, nullptr);
    case Kind::test: {
      BM_TRY(Value operand, evaluate(*children[0]));
      BM_TRY(Arguments arguments, evaluate_arguments(expression, 1));
      BM_TRY(bool holds, apply_test(expression.text, operand, arguments));
      return Value::boolean(holds != expression.negated);
    }
    case Kind::negate:
    case Kind::plus:
      return evaluate_sign(expression);
    case Kind::logical_not: {
      BM_TRY(Value operand, evaluate(*children[0]));
      return Value::boolean(!operand.truth());
    }
    case Kind::logical_and:
    case Kind::logical_or: {
      BM_TRY(Value left, evaluate(*children[0]));
      if (left.truth() == (expression.kind == Kind::logical_or)) return left;
      return evaluate(*children[1]);
    }
    case Kind::binary:
    case Kind::concat:
      return evaluate_binary(expression);
    case Kind::compare:
      return evaluate_compare(expression);
    case Kind::conditional:
      return evaluate_conditional(expression);
  }
  return Value();
}

}  // namespace bm::jinja
