#include "tokenizer/jinja_render.h"

#include <algorithm>
#include <cmath>

#include "tokenizer/unicode.h"

namespace bm::jinja {

const Value* Renderer::Frame::find(std::string_view name) const {
  for (const auto& [key, value] : names) {
    if (key == name) return &value;
  }
  return parent ? parent->find(name) : nullptr;
}

void Renderer::Frame::set(std::string_view name, Value value) {
  for (auto& [key, old] : names) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(std::string(name), std::move(value));
}

void Renderer::set_global(std::string name, Value value) {
  globals_.insert_or_assign(std::move(name), std::move(value));
}

Status Renderer::step(int line, int64_t count) {
  limits_.steps -= count;
  if (limits_.steps >= 0) return {};
  return template_error("line " + std::to_string(line) + ": the template runs too long");
}

Status Renderer::charge(size_t bytes) {
  limits_.bytes -= static_cast<int64_t>(std::min<size_t>(bytes, size_t{1} << 60));
  if (limits_.bytes >= 0) return {};
  return template_error("the template makes too much text");
}

Result<std::string> Renderer::render(const Body& body) {
  BM_TRY(Flow flow, run(body));
  (void)flow;
  return std::move(out_);
}

Result<Renderer::Flow> Renderer::run(const Body& body) {
  if (depth_ >= limits_.depth) return template_error("macros or blocks call each other too deep");
  ++depth_;
  for (const auto& statement : body) {
    auto flow = run_one(*statement);
    if (!flow || *flow != Flow::go) {
      --depth_;
      return flow;
    }
  }
  --depth_;
  return Flow::go;
}

Result<Renderer::Flow> Renderer::run_one(const Statement& statement) {
  BM_CHECK_OK(step(statement.line));
  using Kind = Statement::Kind;
  switch (statement.kind) {
    case Kind::text:
      BM_CHECK_OK(charge(statement.text.size()));
      out_ += statement.text;
      return Flow::go;
    case Kind::print: {
      BM_TRY(Value value, evaluate(*statement.expressions[0]));
      std::string text = value.text();
      BM_CHECK_OK(charge(text.size()));
      out_ += text;
      return Flow::go;
    }
    case Kind::branch:
      for (size_t i = 0; i < statement.bodies.size(); ++i) {
        if (statement.expressions[i]) {
          BM_TRY(Value condition, evaluate(*statement.expressions[i]));
          if (!condition.truth()) continue;
        }
        return run(statement.bodies[i]);
      }
      return Flow::go;
    case Kind::loop:
      return run_loop(statement);
    case Kind::block:
      return run(statement.bodies[0]);
    case Kind::stop:
      return Flow::stop;
    case Kind::next:
      return Flow::next;
    case Kind::assign:
    case Kind::assign_block:
      BM_CHECK_OK(run_assign(statement));
      return Flow::go;
    case Kind::macro:
      BM_CHECK_OK(run_macro(statement));
      return Flow::go;
    case Kind::call_block:
      BM_CHECK_OK(run_call_block(statement));
      return Flow::go;
    case Kind::filter_block: {
      BM_TRY(std::string text, capture(statement.bodies[0], frame_));
      Value operand = Value::string(std::move(text));
      BM_TRY(Value value, evaluate_filter(*statement.expressions[0], &operand));
      out_ += value.text();
      return Flow::go;
    }
    case Kind::with_block:
      return run_with(statement);
  }
  return Flow::go;
}

Result<Renderer::Flow> Renderer::run_with(const Statement& statement) {
  auto frame = std::make_shared<Frame>();
  frame->parent = frame_;
  for (size_t i = 0; i < statement.names.size(); ++i) {
    BM_TRY(Value value, evaluate(*statement.expressions[i]));
    frame->set(statement.names[i], std::move(value));
  }
  std::swap(frame_, frame);
  auto flow = run(statement.bodies[0]);
  std::swap(frame_, frame);
  return flow;
}

Result<std::string> Renderer::capture(const Body& body, FramePointer frame) {
  std::string saved = std::move(out_);
  out_.clear();
  std::swap(frame_, frame);
  auto flow = run(body);
  std::swap(frame_, frame);
  std::string text = std::move(out_);
  out_ = std::move(saved);
  if (!flow) return std::move(flow.error());
  return text;
}

Status Renderer::assign(const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) {
    frame_->set(names[0], value);
    return {};
  }
  BM_TRY(auto items, iterate(value));
  if (items.size() != names.size()) {
    return template_error("cannot take " + std::to_string(items.size()) + " values apart into " +
                          std::to_string(names.size()) + " names");
  }
  for (size_t i = 0; i < names.size(); ++i) frame_->set(names[i], items[i]);
  return {};
}

Status Renderer::run_assign(const Statement& statement) {
  Value value;
  if (statement.kind == Statement::Kind::assign) {
    BM_TRY(value, evaluate(*statement.expressions[0]));
  } else {
    auto frame = std::make_shared<Frame>();
    frame->parent = frame_;
    BM_TRY(std::string text, capture(statement.bodies[0], frame));
    value = Value::string(std::move(text));
    if (statement.expressions[0]) {
      Value operand = value;
      BM_TRY(value, evaluate_filter(*statement.expressions[0], &operand));
    }
  }
  if (statement.attribute.empty()) return assign(statement.names, value);
  const Value* target = frame_->find(statement.names[0]);
  if (!target || !target->is_dict() || !target->as_dict().assignable) {
    return template_error("line " + std::to_string(statement.line) +
                          ": only attributes of a namespace can be set");
  }
  target->as_dict().set(Value::string(statement.attribute), std::move(value));
  return {};
}

Value Renderer::make_macro(const Statement& statement) {
  FramePointer defined_in = frame_;
  const Statement* macro = &statement;
  return Value::function(
      [macro, defined_in](Renderer& renderer, const Arguments& arguments) -> Result<Value> {
        auto frame = std::make_shared<Frame>();
        frame->parent = defined_in;
        if (arguments.positional.size() > macro->names.size()) {
          return template_error("macro '" + macro->text + "' takes at most " +
                                std::to_string(macro->names.size()) + " arguments");
        }
        for (size_t i = 0; i < macro->names.size(); ++i) {
          const Value* given = arguments.get(i, macro->names[i]);
          if (given) {
            frame->set(macro->names[i], *given);
          } else if (macro->expressions[i]) {
            FramePointer saved = renderer.frame_;
            renderer.frame_ = frame;
            auto value = renderer.evaluate(*macro->expressions[i]);
            renderer.frame_ = saved;
            if (!value) return std::move(value.error());
            frame->set(macro->names[i], std::move(*value));
          } else {
            frame->set(macro->names[i], Value::undefined(macro->names[i]));
          }
        }
        if (const Value* caller = arguments.get(macro->names.size(), "caller")) frame->set("caller", *caller);
        BM_TRY(std::string text, renderer.capture(macro->bodies[0], frame));
        return Value::string(std::move(text));
      });
}

Status Renderer::run_macro(const Statement& statement) {
  frame_->set(statement.text, make_macro(statement));
  return {};
}

Status Renderer::run_call_block(const Statement& statement) {
  BM_TRY(Value callee, evaluate(*statement.call->children[0]));
  BM_TRY(Arguments arguments, evaluate_arguments(*statement.call, 1));
  arguments.named.emplace_back("caller", make_macro(statement));
  BM_TRY(Value value, call(callee, arguments));
  out_ += value.text();
  return {};
}

Result<std::vector<Value>> Renderer::iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_list()) {
    items = value.items();
  } else if (value.is_dict()) {
    for (const auto& [key, entry] : value.as_dict().entries) items.push_back(key);
  } else if (value.is_string()) {
    for (std::string_view c : characters(value.as_string())) items.push_back(Value::string(std::string(c)));
  } else if (!value.is_undefined()) {
    return template_error(std::string("a value of type ") + value.type_name() + " cannot be iterated over");
  }
  BM_CHECK_OK(charge(items.size() * sizeof(Value)));
  return items;
}

Value Renderer::make_loop(const std::vector<Value>& items, size_t index, int level, const Value& recurse,
                          const std::shared_ptr<Value>& changed) const {
  Value loop = Value::dict();
  Dict& dict = loop.as_dict();
  auto n = static_cast<int64_t>(items.size()), i = static_cast<int64_t>(index);
  auto put = [&](const char* name, Value value) {
    dict.entries.emplace_back(Value::string(name), std::move(value));
  };
  put("index0", Value::integer(i));
  put("index", Value::integer(i + 1));
  put("first", Value::boolean(i == 0));
  put("last", Value::boolean(i + 1 == n));
  put("length", Value::integer(n));
  put("revindex", Value::integer(n - i));
  put("revindex0", Value::integer(n - i - 1));
  put("depth", Value::integer(level + 1));
  put("depth0", Value::integer(level));
  put("previtem", index > 0 ? items[index - 1] : Value::undefined("there is no previous item"));
  put("nextitem", index + 1 < items.size() ? items[index + 1] : Value::undefined("there is no next item"));
  put("cycle", Value::function([i](Renderer&, const Arguments& arguments) -> Result<Value> {
        if (arguments.positional.empty()) return template_error("loop.cycle needs items");
        return arguments.positional[static_cast<size_t>(i) % arguments.positional.size()];
      }));
  put("changed", Value::function([changed](Renderer&, const Arguments& arguments) -> Result<Value> {
        Value now = Value::list(arguments.positional);
        bool different = changed->is_undefined() || !now.equals(*changed);
        *changed = now;
        return Value::boolean(different);
      }));
  if (recurse.is_function()) put("__call__", recurse);
  return loop;
}

Result<Renderer::Flow> Renderer::run_loop(const Statement& statement) {
  BM_TRY(Value iterable, evaluate(*statement.expressions[0]));
  BM_TRY(auto items, iterate(iterable));
  return run_loop_over(statement, std::move(items), 0);
}

Result<Renderer::Flow> Renderer::run_loop_over(const Statement& statement, std::vector<Value> items,
                                               int level) {
  FramePointer outer = frame_;
  struct Restore {
    FramePointer& frame;
    FramePointer saved;
    ~Restore() { frame = saved; }
  } restore{frame_, outer};
  auto fresh_frame = [&] {
    frame_ = std::make_shared<Frame>();
    frame_->parent = outer;
  };
  if (statement.expressions[1]) {
    std::vector<Value> kept;
    for (Value& item : items) {
      fresh_frame();
      BM_CHECK_OK(assign(statement.names, item));
      BM_TRY(Value keep, evaluate(*statement.expressions[1]));
      if (keep.truth()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  Value recurse;
  if (statement.recursive) {
    const Statement* loop = &statement;
    recurse = Value::function(
        [loop, level, outer](Renderer& renderer, const Arguments& arguments) -> Result<Value> {
          const Value* iterable = arguments.get(0, "iterable");
          if (!iterable) return template_error("loop() needs something to iterate over");
          if (renderer.depth_ >= renderer.limits_.depth)
            return template_error("a recursive loop goes too deep");
          BM_TRY(auto inner, renderer.iterate(*iterable));
          std::string saved = std::move(renderer.out_);
          renderer.out_.clear();
          FramePointer frame = renderer.frame_;
          renderer.frame_ = outer;
          auto flow = renderer.run_loop_over(*loop, std::move(inner), level + 1);
          renderer.frame_ = frame;
          std::string text = std::move(renderer.out_);
          renderer.out_ = std::move(saved);
          if (!flow) return std::move(flow.error());
          return Value::string(std::move(text));
        });
  }
  auto changed = std::make_shared<Value>();
  for (size_t i = 0; i < items.size(); ++i) {
    BM_CHECK_OK(step(statement.line, 10));
    fresh_frame();
    BM_CHECK_OK(assign(statement.names, items[i]));
    frame_->set("loop", make_loop(items, i, level, recurse, changed));
    BM_TRY(Flow flow, run(statement.bodies[0]));
    if (flow == Flow::stop) break;
  }
  if (items.empty()) {
    frame_ = outer;
    return run(statement.bodies[1]);
  }
  return Flow::go;
}

Result<Value> Renderer::call(const Value& function, const Arguments& arguments) {
  if (function.is_dict()) {  // loop(…) of a recursive loop
    if (const Value* recurse = function.as_dict().find("__call__"))
      return recurse->as_function()(*this, arguments);
  }
  if (function.is_undefined()) return template_error("'" + function.undefined_name() + "' is undefined");
  if (!function.is_function())
    return template_error(std::string("a value of type ") + function.type_name() + " cannot be called");
  return function.as_function()(*this, arguments);
}

Result<Value> Renderer::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) return template_error("'" + object.undefined_name() + "' is undefined");
  if (!object.is_dict() || !object.as_dict().assignable) {
    Value bound = method(object, name);
    if (!bound.is_undefined()) return bound;
  }
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(name)) return *found;
  }
  return Value::undefined(std::string(object.type_name()) + " object has no attribute '" + name + "'");
}

Result<Value> Renderer::item(const Value& object, const Value& key) {
  if (object.is_undefined()) return template_error("'" + object.undefined_name() + "' is undefined");
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(key)) return *found;
  } else if ((object.is_list() || object.is_string()) && key.is_integer()) {
    int64_t index = key.as_integer();
    if (object.is_list()) {
      auto n = static_cast<int64_t>(object.items().size());
      if (index < 0) index += n;
      if (index >= 0 && index < n) return object.items()[static_cast<size_t>(index)];
    } else {
      auto list = characters(object.as_string());
      auto n = static_cast<int64_t>(list.size());
      if (index < 0) index += n;
      if (index >= 0 && index < n) return Value::string(std::string(list[static_cast<size_t>(index)]));
    }
  }
  if (key.is_string()) return attribute(object, key.as_string());
  return Value::undefined(std::string(object.type_name()) + " object has no element " + key.repr());
}

}  // namespace bm::jinja
