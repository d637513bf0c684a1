#include <algorithm>
#include <charconv>

#include "tokenizer/jinja_syntax.h"

namespace bm::jinja {

namespace {

using Kind = Expression::Kind;
using Type = Token::Type;
constexpr int deepest_nesting = 100;
constexpr int tallest_expression = 200;
constexpr size_t largest_template = 1 << 20;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Body> parse_template() {
    BM_TRY(Body body, parse_body({}));
    if (now().type != Type::end) return error("unexpected end tag");
    return body;
  }

 private:
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

  // ---- statements

  Result<Body> parse_body(std::initializer_list<std::string_view> ends) {
    Depth depth(depth_);
    if (depth_ > deepest_nesting) return error("tags nested too deep");
    Body body;
    for (;;) {
      auto statement = std::make_unique<Statement>();
      statement->line = now().line;
      if (now().type == Type::text) {
        statement->kind = Statement::Kind::text;
        statement->text = now().text;
        next();
      } else if (now().type == Type::variable_begin) {
        next();
        statement->kind = Statement::Kind::print;
        BM_TRY(auto value, parse_tuple());
        statement->expressions.push_back(std::move(value));
        if (now().type != Type::variable_end) return error("expected '}}'");
        next();
      } else if (now().type == Type::block_begin) {
        for (std::string_view end : ends) {
          if (ahead().type == Type::name && ahead().text == end) return body;
        }
        next();
        BM_CHECK_OK(parse_tag(*statement));
      } else {
        if (now().type == Type::end && ends.size() > 0) {
          return error("the template ends before '" + std::string(*(ends.end() - 1)) + "'");
        }
        return body;
      }
      body.push_back(std::move(statement));
    }
  }

  Status end_tag() {
    if (now().type != Type::block_end) return error("expected '%}'");
    next();
    return {};
  }
  // At "{%": takes "{% name %}".
  Status take_end(std::string_view name) {
    next();
    if (!accept_name(name)) return error("expected '" + std::string(name) + "'");
    return end_tag();
  }

  Status parse_tag(Statement& out) {
    BM_TRY(std::string name, take_name());
    if (name == "if") return parse_if(out);
    if (name == "for") return parse_for(out);
    if (name == "set") return parse_set(out);
    if (name == "macro") return parse_macro(out);
    if (name == "call") return parse_call(out);
    if (name == "filter") return parse_filter_block(out);
    if (name == "with") return parse_with(out);
    if (name == "generation") {  // transformers' mark around the assistant's part: no effect on the text
      out.kind = Statement::Kind::block;
      BM_CHECK_OK(end_tag());
      BM_TRY(Body body, parse_body({"endgeneration"}));
      out.bodies.push_back(std::move(body));
      return take_end("endgeneration");
    }
    if (name == "break" || name == "continue") {
      out.kind = name == "break" ? Statement::Kind::stop : Statement::Kind::next;
      if (loops_ == 0) return error("'" + name + "' outside a loop");
      return end_tag();
    }
    return error("the tag '" + name + "' is not supported");
  }

  Status parse_if(Statement& out) {
    out.kind = Statement::Kind::branch;
    bool with_condition = true;
    for (;;) {
      ExpressionPointer condition;
      if (with_condition) {
        BM_TRY(condition, parse_expression());
      }
      BM_CHECK_OK(end_tag());
      out.expressions.push_back(std::move(condition));
      if (with_condition) {
        BM_TRY(Body body, parse_body({"elif", "else", "endif"}));
        out.bodies.push_back(std::move(body));
      } else {
        BM_TRY(Body body, parse_body({"endif"}));
        out.bodies.push_back(std::move(body));
      }
      next();
      if (accept_name("endif")) return end_tag();
      with_condition = is_name("elif");
      next();
    }
  }

  Result<std::vector<std::string>> parse_targets() {
    std::vector<std::string> names;
    bool closed = accept("(");
    do {
      if (!names.empty() && now().type != Type::name) break;  // trailing comma
      BM_TRY(std::string name, take_name());
      names.push_back(std::move(name));
    } while (accept(","));
    if (closed) BM_CHECK_OK(expect(")"));
    return names;
  }

  Status parse_for(Statement& out) {
    out.kind = Statement::Kind::loop;
    BM_TRY(out.names, parse_targets());
    if (!accept_name("in")) return error("expected 'in'");
    BM_TRY(auto iterable, parse_tuple(false));
    out.expressions.push_back(std::move(iterable));
    ExpressionPointer filter;
    if (accept_name("if")) {
      BM_TRY(filter, parse_expression());
    }
    out.expressions.push_back(std::move(filter));
    out.recursive = accept_name("recursive");
    BM_CHECK_OK(end_tag());
    ++loops_;
    auto body = parse_body({"endfor", "else"});
    --loops_;
    if (!body) return std::move(body.error());
    out.bodies.push_back(std::move(*body));
    out.bodies.emplace_back();
    next();
    if (accept_name("else")) {
      BM_CHECK_OK(end_tag());
      BM_TRY(out.bodies[1], parse_body({"endfor"}));
      next();
    }
    if (!accept_name("endfor")) return error("expected 'endfor'");
    return end_tag();
  }

  Status parse_set(Statement& out) {
    BM_TRY(out.names, parse_targets());
    if (accept(".")) {
      BM_TRY(out.attribute, take_name());
      if (out.names.size() != 1) return error("only one attribute can be set at once");
    }
    if (accept("=")) {
      out.kind = Statement::Kind::assign;
      BM_TRY(auto value, parse_tuple());
      out.expressions.push_back(std::move(value));
      return end_tag();
    }
    out.kind = Statement::Kind::assign_block;
    ExpressionPointer filter;
    while (is_symbol("|")) {
      BM_TRY(filter, parse_filter(std::move(filter)));
    }
    out.expressions.push_back(std::move(filter));
    BM_CHECK_OK(end_tag());
    BM_TRY(Body body, parse_body({"endset"}));
    out.bodies.push_back(std::move(body));
    return take_end("endset");
  }

  Status parse_parameters(Statement& out) {
    BM_CHECK_OK(expect("("));
    while (!accept(")")) {
      if (!out.names.empty()) BM_CHECK_OK(expect(","));
      if (accept(")")) break;
      BM_TRY(std::string name, take_name());
      out.names.push_back(std::move(name));
      ExpressionPointer otherwise;
      if (accept("=")) {
        BM_TRY(otherwise, parse_expression());
      }
      out.expressions.push_back(std::move(otherwise));
    }
    return {};
  }

  Status parse_macro(Statement& out) {
    out.kind = Statement::Kind::macro;
    BM_TRY(out.text, take_name());
    BM_CHECK_OK(parse_parameters(out));
    BM_CHECK_OK(end_tag());
    int loops = std::exchange(loops_, 0);
    auto body = parse_body({"endmacro"});
    loops_ = loops;
    if (!body) return std::move(body.error());
    out.bodies.push_back(std::move(*body));
    return take_end("endmacro");
  }

  Status parse_call(Statement& out) {
    out.kind = Statement::Kind::call_block;
    if (is_symbol("(")) BM_CHECK_OK(parse_parameters(out));
    BM_TRY(out.call, parse_expression());
    if (out.call->kind != Kind::call) return error("expected a call");
    BM_CHECK_OK(end_tag());
    BM_TRY(Body body, parse_body({"endcall"}));
    out.bodies.push_back(std::move(body));
    return take_end("endcall");
  }

  Status parse_filter_block(Statement& out) {
    out.kind = Statement::Kind::filter_block;
    BM_TRY(auto filter, parse_filter(nullptr, true));
    while (is_symbol("|")) {
      BM_TRY(filter, parse_filter(std::move(filter)));
    }
    out.expressions.push_back(std::move(filter));
    BM_CHECK_OK(end_tag());
    BM_TRY(Body body, parse_body({"endfilter"}));
    out.bodies.push_back(std::move(body));
    return take_end("endfilter");
  }

  Status parse_with(Statement& out) {
    out.kind = Statement::Kind::with_block;
    while (now().type != Type::block_end) {
      if (!out.names.empty()) BM_CHECK_OK(expect(","));
      BM_TRY(std::string name, take_name());
      out.names.push_back(std::move(name));
      BM_CHECK_OK(expect("="));
      BM_TRY(auto value, parse_expression());
      out.expressions.push_back(std::move(value));
    }
    BM_CHECK_OK(end_tag());
    BM_TRY(Body body, parse_body({"endwith"}));
    out.bodies.push_back(std::move(body));
    return take_end("endwith");
  }

  // ---- expressions

  // a, b, c makes a tuple.
  Result<ExpressionPointer> parse_tuple(bool with_condition = true) {
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

  Result<ExpressionPointer> parse_expression() {
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

  Result<ExpressionPointer> join(Kind kind, std::string text, ExpressionPointer left, ExpressionPointer right) const {
    auto out = make(kind);
    out->text = std::move(text);
    out->children.push_back(std::move(left));
    out->children.push_back(std::move(right));
    return sized(std::move(out));
  }

  Result<ExpressionPointer> parse_or() {
    BM_TRY(auto left, parse_and());
    while (accept_name("or")) {
      BM_TRY(auto right, parse_and());
      BM_TRY(left, join(Kind::logical_or, "or", std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_and() {
    BM_TRY(auto left, parse_not());
    while (accept_name("and")) {
      BM_TRY(auto right, parse_not());
      BM_TRY(left, join(Kind::logical_and, "and", std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_not() {
    Depth depth(depth_);
    if (depth_ > deepest_nesting) return error("the expression is nested too deep");
    if (!accept_name("not")) return parse_compare();
    auto out = make(Kind::logical_not);
    BM_TRY(auto operand, parse_not());
    out->children.push_back(std::move(operand));
    return sized(std::move(out));
  }

  Result<ExpressionPointer> parse_compare() {
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

  Result<ExpressionPointer> parse_sum() {
    BM_TRY(auto left, parse_concat());
    while (is_symbol("+") || is_symbol("-")) {
      std::string op = now().text;
      next();
      BM_TRY(auto right, parse_concat());
      BM_TRY(left, join(Kind::binary, std::move(op), std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_concat() {
    BM_TRY(auto left, parse_product());
    while (accept("~")) {
      BM_TRY(auto right, parse_product());
      BM_TRY(left, join(Kind::concat, "~", std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_product() {
    BM_TRY(auto left, parse_power());
    while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
      std::string op = now().text;
      next();
      BM_TRY(auto right, parse_power());
      BM_TRY(left, join(Kind::binary, std::move(op), std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_power() {
    BM_TRY(auto left, parse_unary(true));
    while (accept("**")) {
      BM_TRY(auto right, parse_unary(true));
      BM_TRY(left, join(Kind::binary, "**", std::move(left), std::move(right)));
    }
    return left;
  }

  Result<ExpressionPointer> parse_unary(bool with_filter) {
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

  Result<ExpressionPointer> parse_number() {
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

  Result<ExpressionPointer> parse_primary() {
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

  Result<ExpressionPointer> parse_list() {
    auto out = make(Kind::list);
    while (!accept("]")) {
      if (!out->children.empty()) BM_CHECK_OK(expect(","));
      if (accept("]")) break;
      BM_TRY(auto item, parse_expression());
      out->children.push_back(std::move(item));
    }
    return sized(std::move(out));
  }

  Result<ExpressionPointer> parse_dict() {
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

  Result<ExpressionPointer> parse_postfix(ExpressionPointer value) {
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

  Result<ExpressionPointer> parse_subscript(ExpressionPointer object) {
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

  Status parse_arguments(Expression& out) {
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

  Result<ExpressionPointer> parse_filter(ExpressionPointer operand, bool first = false) {
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

  Result<ExpressionPointer> parse_test(ExpressionPointer operand) {
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

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Result<Body> parse(std::string_view source) {
  if (source.size() > largest_template) return template_error("the template is longer than 1 MB");
  BM_TRY(auto tokens, tokenize(source));
  return Parser(std::move(tokens)).parse_template();
}

}  // namespace bm::jinja
