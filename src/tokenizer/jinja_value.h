// Values of a chat template: Python's, as far as templates see them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm::jinja {

class Value;
class Renderer;

struct List;
struct Dict;
struct Arguments;
using Function = std::function<Result<Value>(Renderer&, const Arguments&)>;

class Value {
 public:
  struct Undefined {
    std::shared_ptr<const std::string> name;  // what was not there, for messages
  };
  struct None {};
  using Text = std::shared_ptr<const std::string>;
  using ListPointer = std::shared_ptr<List>;
  using DictPointer = std::shared_ptr<Dict>;
  using FunctionPointer = std::shared_ptr<const Function>;

  Value() : data_(Undefined{}) {}
  static Value undefined(std::string name);
  static Value none() { return Value(Data(None{})); }
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  static Value string(std::string text);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value dict();
  static Value function(Function function);
  static Value from_json(const Json& json);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_boolean() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_integer() || is_real() || is_boolean(); }
  bool is_string() const { return std::holds_alternative<Text>(data_); }
  bool is_list() const { return std::holds_alternative<ListPointer>(data_); }
  bool is_dict() const { return std::holds_alternative<DictPointer>(data_); }
  bool is_function() const { return std::holds_alternative<FunctionPointer>(data_); }

  // The type must be right (see above).
  bool as_boolean() const { return std::get<bool>(data_); }
  int64_t as_integer() const { return is_boolean() ? (as_boolean() ? 1 : 0) : std::get<int64_t>(data_); }
  double as_double() const { return is_real() ? std::get<double>(data_) : static_cast<double>(as_integer()); }
  const std::string& as_string() const { return *std::get<Text>(data_); }
  std::vector<Value>& items() const;
  bool is_tuple() const;
  Dict& as_dict() const { return *std::get<DictPointer>(data_); }
  const Function& as_function() const { return *std::get<FunctionPointer>(data_); }
  std::string undefined_name() const;

  bool truth() const;
  bool equals(const Value& other, int depth = 0) const;
  const char* type_name() const;
  // str(x) of Python; repr(x) quotes strings. Nested ones stop at a depth of 50.
  std::string text() const;
  std::string repr(int depth = 0) const;
  // For tojson; bad_input for what has no JSON form.
  Result<Json> to_json(int depth = 0) const;
  // The object behind it, for "is sameas".
  const void* identity() const;

 private:
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, Text, ListPointer, DictPointer, FunctionPointer>;
  explicit Value(Data data) : data_(std::move(data)) {}
  Data data_;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;  // prints as (a, b)
};
struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion; small, so searched
  bool assignable = false;                       // namespace(): {% set ns.x = … %} may change it
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  void set(Value key, Value value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  size_t count() const { return positional.size() + named.size(); }
  // By position or name; nullptr when absent.
  const Value* get(size_t index, std::string_view name) const;
};
inline Value Value::dict() { return Value(Data(std::make_shared<Dict>())); }
inline std::vector<Value>& Value::items() const { return std::get<ListPointer>(data_)->items; }
inline bool Value::is_tuple() const { return is_list() && std::get<ListPointer>(data_)->tuple; }

// <0, 0, >0; bad_input for types that have no order.
Result<int> compare(const Value& a, const Value& b, int depth = 0);

Error template_error(std::string what);

}  // namespace bm::jinja
