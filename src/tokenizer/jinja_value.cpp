#include "tokenizer/jinja_value.h"

#include <charconv>
#include <cmath>

namespace bm::jinja {

constexpr int deepest_value = 50;

Error template_error(std::string what) { return bad_input("chat template: " + std::move(what)); }

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.as_string() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  for (const auto& [name, value] : entries) {
    if (name.equals(key)) return &value;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  for (auto& [name, old] : entries) {
    if (name.equals(key)) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(std::move(key), std::move(value));
}

const Value* Arguments::get(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Value::undefined(std::string name) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(name))}));
}
Value Value::string(std::string text) {
  return Value(Data(std::make_shared<const std::string>(std::move(text))));
}
Value Value::list(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  list->items = std::move(items);
  return Value(Data(std::move(list)));
}
Value Value::tuple(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  list->items = std::move(items);
  list->tuple = true;
  return Value(Data(std::move(list)));
}
Value Value::function(Function function) {
  return Value(Data(std::make_shared<const Function>(std::move(function))));
}

Value Value::from_json(const Json& json) {
  switch (json.type()) {
    case Json::Type::null:
      return none();
    case Json::Type::boolean:
      return boolean(json.as_bool());
    case Json::Type::integer:
      return integer(json.as_int());
    case Json::Type::unsigned_integer:
      return real(static_cast<double>(json.as_uint()));
    case Json::Type::real:
      return real(json.as_double());
    case Json::Type::string:
      return string(json.as_string());
    case Json::Type::array: {
      std::vector<Value> items;
      for (const Json& item : json.items()) items.push_back(from_json(item));
      return list(std::move(items));
    }
    case Json::Type::object: {
      Value out = dict();
      for (const auto& [key, value] : json.members()) {
        out.as_dict().entries.emplace_back(string(key), from_json(value));
      }
      return out;
    }
  }
  return none();
}

std::string Value::undefined_name() const {
  const auto& name = std::get<Undefined>(data_).name;
  return name ? *name : "value";
}

bool Value::truth() const {
  if (is_boolean()) return as_boolean();
  if (is_integer()) return as_integer() != 0;
  if (is_real()) return as_double() != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return as_dict().assignable || !as_dict().entries.empty();
  return is_function();
}

bool Value::equals(const Value& other, int depth) const {
  if (depth > deepest_value) return false;
  if (is_number() && other.is_number()) {
    if (is_real() || other.is_real()) return as_double() == other.as_double();
    return as_integer() == other.as_integer();
  }
  if (is_string() && other.is_string()) return as_string() == other.as_string();
  if (is_list() && other.is_list()) {
    if (items().size() != other.items().size() || is_tuple() != other.is_tuple()) return false;
    for (size_t i = 0; i < items().size(); ++i) {
      if (!items()[i].equals(other.items()[i], depth + 1)) return false;
    }
    return true;
  }
  if (is_dict() && other.is_dict()) {
    if (as_dict().entries.size() != other.as_dict().entries.size()) return false;
    for (const auto& [key, value] : as_dict().entries) {
      const Value* found = other.as_dict().find(key);
      if (!found || !value.equals(*found, depth + 1)) return false;
    }
    return true;
  }
  if (is_undefined() && other.is_undefined()) return true;
  if (is_none() && other.is_none()) return true;
  return is_function() && other.is_function() && identity() == other.identity();
}

const void* Value::identity() const {
  if (is_string()) return std::get<Text>(data_).get();
  if (is_list()) return std::get<ListPointer>(data_).get();
  if (is_dict()) return std::get<DictPointer>(data_).get();
  if (is_function()) return std::get<FunctionPointer>(data_).get();
  return nullptr;
}

const char* Value::type_name() const {
  static constexpr const char* names[] = {"undefined", "None", "bool", "int",     "float",
                                          "str",       "list", "dict", "function"};
  return names[data_.index()];
}

// The shortest digits that read back, as Python writes floats.
static std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  double size = std::fabs(value);
  bool fixed = value == 0 || (size >= 1e-4 && size < 1e16);
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                           fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(buffer, end.ptr);
  if (fixed && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string Value::text() const {
  if (is_string()) return as_string();
  if (is_undefined()) return "";
  return repr();
}

std::string Value::repr(int depth) const {
  if (depth > deepest_value) return "...";
  if (is_none()) return "None";
  if (is_boolean()) return as_boolean() ? "True" : "False";
  if (is_integer()) return std::to_string(as_integer());
  if (is_real()) return real_text(as_double());
  if (is_undefined()) return "Undefined";
  if (is_function()) return "<function>";
  std::string out;
  if (is_string()) {
    const std::string& text = as_string();
    char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
    out += quote;
    for (char c : text) {
      if (c == '\n') {
        out += "\\n";
      } else if (c == '\t') {
        out += "\\t";
      } else if (c == '\r') {
        out += "\\r";
      } else {
        if (c == quote || c == '\\') out += '\\';
        out += c;
      }
    }
    return out + quote;
  }
  if (is_list()) {
    for (const Value& item : items()) out += (out.empty() ? "" : ", ") + item.repr(depth + 1);
    if (is_tuple()) return "(" + out + (items().size() == 1 ? ",)" : ")");
    return "[" + out + "]";
  }
  for (const auto& [key, value] : as_dict().entries) {
    out += (out.empty() ? "" : ", ") + key.repr(depth + 1) + ": " + value.repr(depth + 1);
  }
  return "{" + out + "}";
}

Result<Json> Value::to_json(int depth) const {
  if (depth > deepest_value) return template_error("tojson: the value is nested too deep");
  if (is_none()) return Json(nullptr);
  if (is_boolean()) return Json(as_boolean());
  if (is_integer()) return Json(as_integer());
  if (is_real()) return Json(as_double());
  if (is_string()) return Json(as_string());
  if (is_list()) {
    Json out = Json::array();
    for (const Value& item : items()) {
      BM_TRY(Json converted, item.to_json(depth + 1));
      out.push_back(std::move(converted));
    }
    return out;
  }
  if (is_dict()) {
    Json out = Json::object();
    for (const auto& [key, value] : as_dict().entries) {
      BM_TRY(Json converted, value.to_json(depth + 1));
      out.set(key.text(), std::move(converted));
    }
    return out;
  }
  return template_error(std::string("tojson: a value of type ") + type_name() + " has no JSON form");
}

Result<int> compare(const Value& a, const Value& b, int depth) {
  auto sign = [](auto x, auto y) { return x < y ? -1 : (y < x ? 1 : 0); };
  if (depth > deepest_value) return template_error("values nested too deep to compare");
  if (a.is_number() && b.is_number()) {
    if (a.is_real() || b.is_real()) return sign(a.as_double(), b.as_double());
    return sign(a.as_integer(), b.as_integer());
  }
  if (a.is_string() && b.is_string()) return sign(a.as_string(), b.as_string());
  if (a.is_list() && b.is_list()) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i) {
      BM_TRY(int order, compare(a.items()[i], b.items()[i], depth + 1));
      if (order != 0) return order;
    }
    return sign(a.items().size(), b.items().size());
  }
  return template_error(std::string("'<' is not supported between ") + a.type_name() + " and " +
                        b.type_name());
}

}  // namespace bm::jinja
