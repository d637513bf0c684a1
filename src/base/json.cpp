#include "base/json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/file.h"

namespace bm {

// Members in order; beyond a few, an index finds them by key.
struct Json::ObjectData {
  std::vector<Member> members;
  std::unordered_map<std::string, size_t> index;  // only when members.size() > kIndexFrom
  static constexpr size_t kIndexFrom = 12;

  const Json* find(std::string_view key) const {
    if (members.size() > kIndexFrom) {
      auto found = index.find(std::string(key));
      return found == index.end() ? nullptr : &members[found->second].second;
    }
    for (const Member& member : members)
      if (member.first == key) return &member.second;
    return nullptr;
  }
  void append(std::string key, Json value) {
    if (members.size() + 1 > kIndexFrom) {
      if (index.empty())
        for (size_t i = 0; i < members.size(); ++i) index.emplace(members[i].first, i);
      index.emplace(key, members.size());
    }
    members.emplace_back(std::move(key), std::move(value));
  }
  void reindex() {
    index.clear();
    if (members.size() > kIndexFrom)
      for (size_t i = 0; i < members.size(); ++i) index.emplace(members[i].first, i);
  }
};

namespace {
const Json kNull{};
const std::vector<Json> kNoItems{};
const std::vector<Json::Member> kNoMembers{};
const std::string kNoString{};
}  // namespace

Json::Json() = default;
Json::Json(std::nullptr_t) {}
Json::Json(bool value) : type_(Type::boolean) { payload_.boolean = value; }
Json::Json(int value) : Json(static_cast<int64_t>(value)) {}
Json::Json(int64_t value) : type_(Type::integer) { payload_.integer = value; }
Json::Json(uint64_t value) {
  if (value <= static_cast<uint64_t>(INT64_MAX)) {
    type_ = Type::integer;
    payload_.integer = static_cast<int64_t>(value);
  } else {
    type_ = Type::unsigned_integer;
    payload_.unsigned_integer = value;
  }
}
Json::Json(double value) : type_(Type::real) { payload_.real = value; }
Json::Json(std::string value) : type_(Type::string) { payload_.string = new std::string(std::move(value)); }
Json::Json(std::string_view value) : Json(std::string(value)) {}
Json::Json(const char* value) : Json(std::string(value)) {}

Json::Json(const Json& other) : type_(other.type_), line_(other.line_), payload_(other.payload_) {
  if (type_ == Type::string) payload_.string = new std::string(*other.payload_.string);
  if (type_ == Type::array) payload_.array = new std::vector<Json>(*other.payload_.array);
  if (type_ == Type::object) payload_.object = new ObjectData(*other.payload_.object);
}
Json::Json(Json&& other) noexcept : type_(other.type_), line_(other.line_), payload_(other.payload_) {
  other.type_ = Type::null;
}
Json& Json::operator=(Json other) noexcept {
  std::swap(type_, other.type_);
  std::swap(line_, other.line_);
  std::swap(payload_, other.payload_);
  return *this;
}
Json::~Json() { destroy(); }

void Json::destroy() noexcept {
  if (type_ == Type::string) delete payload_.string;
  if (type_ == Type::array) delete payload_.array;
  if (type_ == Type::object) delete payload_.object;
  type_ = Type::null;
}

Json Json::array() { return array(std::vector<Json>{}); }
Json Json::array(std::vector<Json> items) {
  Json json;
  json.type_ = Type::array;
  json.payload_.array = new std::vector<Json>(std::move(items));
  return json;
}
Json Json::object() {
  Json json;
  json.type_ = Type::object;
  json.payload_.object = new ObjectData();
  return json;
}
Json Json::object(std::initializer_list<Member> members) {
  Json json = object();
  for (const Member& member : members) json.set(member.first, member.second);
  return json;
}

bool Json::as_bool() const {
  assert(is_bool());
  return payload_.boolean;
}
int64_t Json::as_int() const {
  assert(type_ == Type::integer);
  return payload_.integer;
}
uint64_t Json::as_uint() const {
  assert(is_integer());
  return payload_.unsigned_integer;
}
double Json::as_double() const {
  assert(is_number());
  if (type_ == Type::integer) return static_cast<double>(payload_.integer);
  if (type_ == Type::unsigned_integer) return static_cast<double>(payload_.unsigned_integer);
  return payload_.real;
}
const std::string& Json::as_string() const {
  assert(is_string());
  return is_string() ? *payload_.string : kNoString;
}
const std::vector<Json>& Json::items() const { return is_array() ? *payload_.array : kNoItems; }
std::vector<Json>& Json::items() {
  assert(is_array());
  return *payload_.array;
}
const std::vector<Json::Member>& Json::members() const {
  return is_object() ? payload_.object->members : kNoMembers;
}

size_t Json::size() const {
  if (is_array()) return payload_.array->size();
  if (is_object()) return payload_.object->members.size();
  return 0;
}
const Json& Json::operator[](size_t index) const {
  return is_array() && index < payload_.array->size() ? (*payload_.array)[index] : kNull;
}
const Json& Json::operator[](std::string_view key) const {
  const Json* found = find(key);
  return found ? *found : kNull;
}
const Json* Json::find(std::string_view key) const {
  return is_object() ? payload_.object->find(key) : nullptr;
}

void Json::push_back(Json value) {
  if (is_null()) *this = array();
  assert(is_array());
  payload_.array->push_back(std::move(value));
}
void Json::set(std::string_view key, Json value) {
  if (is_null()) *this = object();
  assert(is_object());
  if (const Json* found = find(key))
    *const_cast<Json*>(found) = std::move(value);
  else
    payload_.object->append(std::string(key), std::move(value));
}
bool Json::erase(std::string_view key) {
  if (!is_object()) return false;
  std::vector<Member>& members = payload_.object->members;
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i].first != key) continue;
    members.erase(members.begin() + static_cast<std::ptrdiff_t>(i));
    payload_.object->reindex();
    return true;
  }
  return false;
}

namespace {

std::string_view type_word(Json::Type type) {
  switch (type) {
    case Json::Type::null:
      return "null";
    case Json::Type::boolean:
      return "true/false";
    case Json::Type::integer:
    case Json::Type::unsigned_integer:
      return "an integer";
    case Json::Type::real:
      return "a number";
    case Json::Type::string:
      return "a string";
    case Json::Type::array:
      return "a list";
    case Json::Type::object:
      return "an object";
  }
  return "?";
}

Error wrong_type(const Json& object, std::string_view key, std::string_view wanted) {
  const Json* found = object.find(key);
  Error error = found ? bad_input("\"" + std::string(key) + "\" is " + std::string(type_word(found->type())) +
                                  ", " + std::string(wanted) + " is wanted")
                      : bad_input("key \"" + std::string(key) + "\" is missing");
  uint32_t line = found ? found->line() : object.line();
  if (line) error.in("line " + std::to_string(line));
  return error;
}

}  // namespace

Result<std::string> Json::get_string(std::string_view key) const {
  const Json& value = (*this)[key];
  if (!value.is_string()) return wrong_type(*this, key, "a string");
  return value.as_string();
}
Result<int64_t> Json::get_int(std::string_view key) const {
  const Json& value = (*this)[key];
  if (value.type() == Type::real && value.as_double() == std::floor(value.as_double()) &&
      std::abs(value.as_double()) < 9e15)
    return static_cast<int64_t>(value.as_double());
  if (value.type() != Type::integer) return wrong_type(*this, key, "an integer");
  return value.as_int();
}
Result<double> Json::get_double(std::string_view key) const {
  const Json& value = (*this)[key];
  if (!value.is_number()) return wrong_type(*this, key, "a number");
  return value.as_double();
}
Result<bool> Json::get_bool(std::string_view key) const {
  const Json& value = (*this)[key];
  if (!value.is_bool()) return wrong_type(*this, key, "true or false");
  return value.as_bool();
}
Result<std::string> Json::get_string(std::string_view key, std::string_view otherwise) const {
  if ((*this)[key].is_null()) return std::string(otherwise);
  return get_string(key);
}
Result<int64_t> Json::get_int(std::string_view key, int64_t otherwise) const {
  if ((*this)[key].is_null()) return otherwise;
  return get_int(key);
}
Result<double> Json::get_double(std::string_view key, double otherwise) const {
  if ((*this)[key].is_null()) return otherwise;
  return get_double(key);
}
Result<bool> Json::get_bool(std::string_view key, bool otherwise) const {
  if ((*this)[key].is_null()) return otherwise;
  return get_bool(key);
}

bool Json::operator==(const Json& other) const {
  if (is_number() && other.is_number()) {
    if (type_ == other.type_ && type_ != Type::real)
      return payload_.unsigned_integer == other.payload_.unsigned_integer;
    return as_double() == other.as_double();
  }
  if (type_ != other.type_) return false;
  switch (type_) {
    case Type::boolean:
      return payload_.boolean == other.payload_.boolean;
    case Type::string:
      return *payload_.string == *other.payload_.string;
    case Type::array:
      return *payload_.array == *other.payload_.array;
    case Type::object: {
      if (size() != other.size()) return false;
      for (const Member& member : members()) {
        const Json* found = other.find(member.first);
        if (!found || !(*found == member.second)) return false;
      }
      return true;
    }
    default:
      return true;
  }
}

// ---- writing ----------------------------------------------------------------------------------

namespace {

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (byte < 0x20) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// Shortest digits that read back the same; as Python, a float always shows it is one.
void append_real(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> buffer{};
  double magnitude = std::abs(value);
  auto format = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16) ? std::chars_format::scientific
                                                                          : std::chars_format::fixed;
  auto [end, code] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format);
  (void)code;
  std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

struct Style {
  std::string_view comma, colon;
  int indent;  // < 0: on one line
};

void append_json(std::string& out, const Json& value, const Style& style, int depth) {
  auto line_break = [&](int level) {
    if (style.indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(level * style.indent), ' ');
  };
  switch (value.type()) {
    case Json::Type::null:
      out += "null";
      break;
    case Json::Type::boolean:
      out += value.as_bool() ? "true" : "false";
      break;
    case Json::Type::integer:
      out += std::to_string(value.as_int());
      break;
    case Json::Type::unsigned_integer:
      out += std::to_string(value.as_uint());
      break;
    case Json::Type::real:
      append_real(out, value.as_double());
      break;
    case Json::Type::string:
      append_quoted(out, value.as_string());
      break;
    case Json::Type::array: {
      out += '[';
      bool first = true;
      for (const Json& item : value.items()) {
        if (!first) out += style.comma;
        first = false;
        line_break(depth + 1);
        append_json(out, item, style, depth + 1);
      }
      if (!first) line_break(depth);
      out += ']';
      break;
    }
    case Json::Type::object: {
      out += '{';
      bool first = true;
      for (const Json::Member& member : value.members()) {
        if (!first) out += style.comma;
        first = false;
        line_break(depth + 1);
        append_quoted(out, member.first);
        out += style.colon;
        append_json(out, member.second, style, depth + 1);
      }
      if (!first) line_break(depth);
      out += '}';
      break;
    }
  }
}

std::string dumped(const Json& value, const Style& style) {
  std::string out;
  append_json(out, value, style, 0);
  return out;
}

}  // namespace

std::string Json::dump() const { return dumped(*this, {",", ":", -1}); }
std::string Json::dump_spaced() const { return dumped(*this, {", ", ": ", -1}); }
std::string Json::dump_pretty(int indent) const { return dumped(*this, {",", ": ", indent}); }

std::string json_quote(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

Result<Json> read_json_file(const std::string& path, const JsonParseOptions& options) {
  BM_TRY(std::string text, read_file(path));
  return parse_json(text, options).in(path);
}

Result<Json> read_yaml_file(const std::string& path) {
  BM_TRY(std::string text, read_file(path));
  return parse_yaml(text).in(path);
}

}  // namespace bm
