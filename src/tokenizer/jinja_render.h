// Walks a template's tree and writes its text. Work is bounded: steps, bytes made, depth of calls.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tokenizer/jinja_syntax.h"
#include "tokenizer/jinja_value.h"

namespace bm::jinja {

struct Limits {
  int64_t steps = 2'000'000;    // expressions and statements evaluated; a turn of a loop counts ten
  int64_t bytes = 256'000'000;  // of all strings and lists made on the way
  int depth = 60;               // of macro calls and nested bodies
  int expression_depth = 400;   // of expressions being evaluated, through macro calls too
};

class Renderer {
 public:
  explicit Renderer(const Limits& limits = {}) : limits_(limits) {}

  void set_global(std::string name, Value value);
  Result<std::string> render(const Body& body);

  // For builtins: pays for `bytes` of new data.
  Status charge(size_t bytes);
  Result<Value> call(const Value& function, const Arguments& arguments);
  Result<Value> apply_filter(const std::string& name, const Value& operand, const Arguments& arguments);
  Result<bool> apply_test(const std::string& name, const Value& operand, const Arguments& arguments);
  // object.name and object[key]; missing members are undefined.
  Result<Value> attribute(const Value& object, const std::string& name);
  Result<Value> item(const Value& object, const Value& key);
  // What a for loop sees: items of a list, keys of a dict, characters of a string.
  Result<std::vector<Value>> iterate(const Value& value);

 private:
  struct Frame {
    std::vector<std::pair<std::string, Value>> names;
    std::shared_ptr<Frame> parent;
    const Value* find(std::string_view name) const;
    void set(std::string_view name, Value value);
  };
  using FramePointer = std::shared_ptr<Frame>;
  enum class Flow : uint8_t { go, stop, next };

  Result<Flow> run(const Body& body);
  Result<Flow> run_one(const Statement& statement);
  Result<Flow> run_loop(const Statement& statement);
  Result<Flow> run_loop_over(const Statement& statement, std::vector<Value> items, int level);
  Result<Flow> run_with(const Statement& statement);
  Status run_assign(const Statement& statement);
  Status assign(const std::vector<std::string>& names, const Value& value);
  Status run_macro(const Statement& statement);
  Status run_call_block(const Statement& statement);
  Result<std::string> capture(const Body& body, FramePointer frame);
  Value make_macro(const Statement& statement);
  Value make_loop(const std::vector<Value>& items, size_t index, int level, const Value& recurse,
                  const std::shared_ptr<Value>& changed) const;

  Result<Value> evaluate(const Expression& expression);
  Result<Value> evaluate_display(const Expression& expression);
  Result<Value> evaluate_sign(const Expression& expression);
  Result<Value> evaluate_conditional(const Expression& expression);
  Result<Value> evaluate_children(const Expression& expression);
  Result<Value> evaluate_filter(const Expression& expression, const Value* operand);
  Result<Value> evaluate_slice(const Expression& expression);
  Result<Value> evaluate_compare(const Expression& expression);
  Result<Value> evaluate_binary(const Expression& expression);
  Result<Arguments> evaluate_arguments(const Expression& expression, size_t first);

  Status step(int line, int64_t count = 1);

  Limits limits_;
  FramePointer frame_ = std::make_shared<Frame>();
  std::unordered_map<std::string, Value> globals_;
  std::string out_;
  int depth_ = 0, evaluating_ = 0;
};

// Operators, shared by expressions and filters. bad_input for types that do not fit.
Result<Value> binary(Renderer& renderer, const std::string& op, const Value& a, const Value& b);
Result<bool> contains(const Value& container, const Value& value);
// Python's s[start:stop:step] bounds for a sequence of `size`.
std::vector<size_t> slice_indices(size_t size, const Value* start, const Value* stop, const Value* step);
// A string's code points.
std::vector<std::string_view> characters(std::string_view text);

// Methods of strings, lists and dicts: a function bound to the object, or undefined.
Value method(const Value& object, const std::string& name);
void add_builtin_globals(Renderer& renderer);

}  // namespace bm::jinja
