#include "tokenizer/jinja_expression.h"

namespace bm::jinja {

namespace {

constexpr size_t largest_template = 1 << 20;

class Parser : private ExpressionParser {
 public:
  explicit Parser(std::vector<Token> tokens) : ExpressionParser(std::move(tokens)) {}

  Result<Body> parse_template() {
    BM_TRY(Body body, parse_body({}));
    if (now().type != Type::end) return error("unexpected end tag");
    return body;
  }

 private:
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

  int loops_ = 0;
};

}  // namespace

Result<Body> parse(std::string_view source) {
  if (source.size() > largest_template) return template_error("the template is longer than 1 MB");
  BM_TRY(auto tokens, tokenize(source));
  return Parser(std::move(tokens)).parse_template();
}

}  // namespace bm::jinja
