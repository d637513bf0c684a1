// Jinja's syntax: tokens and trees. Grammar as in Jinja 3.1 (jinja2/lexer.py, parser.py) with
// trim_blocks, lstrip_blocks and the loopcontrols extension, as transformers sets it up.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tokenizer/jinja_value.h"

namespace bm::jinja {

struct Token {
  enum class Type : uint8_t {
    text,
    block_begin,
    block_end,
    variable_begin,
    variable_end,
    name,
    string,
    integer,
    real,
    symbol,
    end,
  } type;
  std::string text;  // decoded, for strings
  int line = 1;
};
Result<std::vector<Token>> tokenize(std::string_view source);

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind : uint8_t {
    constant,
    name,
    list,
    tuple,
    dict,
    attribute,
    item,
    slice,
    call,
    filter,
    test,
    negate,
    plus,
    logical_not,
    logical_and,
    logical_or,
    binary,
    compare,
    concat,
    conditional,
  } kind;
  int line = 1;
  int height = 1;  // of the tree below; bounded, because trees are walked by recursion
  Value constant;
  std::string text;      // name, attribute, filter, test, operator
  bool negated = false;  // test
  // list, tuple: items; dict: key, value, key, value…; item: object, index; slice: object, start, stop, step
  // (null when absent); call: callee, arguments; filter and test: operand (null in filter blocks), arguments;
  // compare: operands; conditional: condition, then, else (may be null).
  std::vector<ExpressionPointer> children;
  std::vector<std::pair<std::string, ExpressionPointer>> named;  // call, filter, test
  std::vector<std::string> operators;                            // compare
};

struct Statement {
  enum class Kind : uint8_t {
    text,
    print,
    branch,
    loop,
    assign,
    assign_block,
    macro,
    call_block,
    filter_block,
    with_block,
    block,
    stop,
    next,
  } kind;
  int line = 1;
  std::string text;                // text; name of a macro
  std::vector<std::string> names;  // targets of for, set, with; parameters of macros
  std::string attribute;           // {% set names[0].attribute = … %}
  bool recursive = false;          // loop
  // print: value; branch: conditions (null = else); loop: iterable, filter (may be null); assign: value;
  // assign_block, filter_block: filter (may be null); macro, call_block: defaults (null = required);
  // with_block: values.
  std::vector<ExpressionPointer> expressions;
  ExpressionPointer call;                                       // call_block
  std::vector<std::vector<std::unique_ptr<Statement>>> bodies;  // branch: one a condition; loop: body, else
};
using Body = std::vector<std::unique_ptr<Statement>>;

Result<Body> parse(std::string_view source);

}  // namespace bm::jinja
