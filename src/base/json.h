// JSON values with ordered members. Parsing is nlohmann-json's SAX reader (json.cpp only, so that
// this header stays light); order, duplicate keys, 64-bit integers and the way numbers are written
// are ours, because safetensors headers and configs are compared byte for byte with the peers'.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"

namespace bm {

class Json {
 public:
  enum class Type : uint8_t { null, boolean, integer, unsigned_integer, real, string, array, object };
  using Member = std::pair<std::string, Json>;

  Json();
  Json(std::nullptr_t);         // NOLINT: implicit by design, as all below
  Json(bool value);             // NOLINT
  Json(int value);              // NOLINT
  Json(int64_t value);          // NOLINT
  Json(uint64_t value);         // NOLINT: integer when it fits int64, else unsigned_integer
  Json(double value);           // NOLINT
  Json(std::string value);      // NOLINT
  Json(std::string_view value); // NOLINT
  Json(const char* value);      // NOLINT
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(Json other) noexcept;
  ~Json();

  static Json array();
  static Json array(std::vector<Json> items);
  static Json object();
  static Json object(std::initializer_list<Member> members);

  Type type() const { return type_; }
  bool is_null() const { return type_ == Type::null; }
  bool is_bool() const { return type_ == Type::boolean; }
  bool is_integer() const { return type_ == Type::integer || type_ == Type::unsigned_integer; }
  bool is_number() const { return is_integer() || type_ == Type::real; }
  bool is_string() const { return type_ == Type::string; }
  bool is_array() const { return type_ == Type::array; }
  bool is_object() const { return type_ == Type::object; }

  // Plain reads; the type must be right (asserted). For users' data use the get_* family below.
  bool as_bool() const;
  int64_t as_int() const;        // integer
  uint64_t as_uint() const;      // integer ≥ 0, or unsigned_integer
  double as_double() const;      // any number
  const std::string& as_string() const;
  const std::vector<Json>& items() const;    // array
  const std::vector<Member>& members() const; // object, in order of appearance
  std::vector<Json>& items();

  size_t size() const;  // of arrays and objects; 0 otherwise
  const Json& operator[](size_t index) const;
  const Json& operator[](int index) const { return (*this)[static_cast<size_t>(index)]; }
  // Member by key: null value when absent or when this is no object.
  const Json& operator[](std::string_view key) const;
  const Json& operator[](const char* key) const { return (*this)[std::string_view(key)]; }
  const Json* find(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  void push_back(Json value);                  // makes null an array
  void set(std::string_view key, Json value);  // replaces or appends; makes null an object
  bool erase(std::string_view key);

  // Reads for users' data: the error names the key, the type found and the type wanted.
  Result<std::string> get_string(std::string_view key) const;
  Result<int64_t> get_int(std::string_view key) const;
  Result<double> get_double(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  // Absent or null gives the default; a wrong type is an error.
  Result<std::string> get_string(std::string_view key, std::string_view otherwise) const;
  Result<int64_t> get_int(std::string_view key, int64_t otherwise) const;
  Result<double> get_double(std::string_view key, double otherwise) const;
  Result<bool> get_bool(std::string_view key, bool otherwise) const;

  // Line in the YAML file this value came from, 1-based; 0 when unknown.
  uint32_t line() const { return line_; }
  void set_line(uint32_t line) { line_ = line; }

  bool operator==(const Json& other) const;  // objects: same members in any order

  // {"a":1,"b":[2]}
  std::string dump() const;
  // Python's json.dumps default: {"a": 1, "b": [2]}; non-ASCII stays UTF-8.
  std::string dump_spaced() const;
  // Indented as Python's json.dumps(indent=n).
  std::string dump_pretty(int indent = 2) const;

 private:
  struct ObjectData;
  void destroy() noexcept;
  Type type_ = Type::null;
  uint32_t line_ = 0;
  union Payload {
    bool boolean;
    int64_t integer;
    uint64_t unsigned_integer;
    double real;
    std::string* string;
    std::vector<Json>* array;
    ObjectData* object;
  } payload_{};
};

struct JsonParseOptions {
  bool reject_duplicate_keys = true;  // otherwise the last one wins
  bool allow_comments = false;
  size_t max_depth = 256;
};

// Strict JSON (RFC 8259). Errors name the byte offset.
Result<Json> parse_json(std::string_view text, const JsonParseOptions& options = {});
Result<Json> read_json_file(const std::string& path, const JsonParseOptions& options = {});

// YAML 1.2 core scalars (yaml-cpp): true/false, null, ints, floats, strings; values keep their line.
Result<Json> parse_yaml(std::string_view text);
// All documents of a stream divided by "---".
Result<std::vector<Json>> parse_yaml_documents(std::string_view text);
Result<Json> read_yaml_file(const std::string& path);
std::string dump_yaml(const Json& value);

// JSON string literal with quotes.
std::string json_quote(std::string_view text);

}  // namespace bm
