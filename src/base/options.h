// Options are plain structs; one listing of their fields gives command-line flags, --help, the keys
// of a recipe's stage, and what the manifest stores (architecture rule 2).
//
//   struct MergeOptions { std::string config; int64_t shard_size = 5'000'000'000; };
//   void describe(Fields& f, MergeOptions& o) {
//     f.add("out-shard-size", o.shard_size, "largest shard file", {.unit = "bytes"});
//   }
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

// A byte count: accepts 4096, 64K, 1.5M, 4G (powers of 1,024).
struct ByteSize {
  uint64_t bytes = 0;
  bool operator==(const ByteSize&) const = default;
};
Result<ByteSize> parse_byte_size(std::string_view text);

struct FieldInfo {
  std::string unit = {};             // "tokens", "bytes", "threads"; "" when it has none
  std::vector<std::string> choices = {};  // allowed values of a text field
  bool result_neutral = false;       // may differ on a resume (threads, progress): not part of the identity
  bool negatable = true;             // flags: --no-NAME exists too
  std::string alias = {};            // a second name, e.g. a peer's flag
};

struct Field {
  using Target = std::variant<bool*, int64_t*, uint64_t*, double*, std::string*, ByteSize*,
                              std::vector<std::string>*, std::optional<int64_t>*,
                              std::optional<double>*, std::optional<std::string>*,
                              std::optional<bool>*>;
  std::string name;  // with dashes: "sequence-length"; a recipe may write sequence_length
  std::string help;
  Target target;
  FieldInfo info;
  std::string default_text;  // as --help shows it

  bool is_flag() const;
  bool is_list() const;
  Status set_text(std::string_view value);  // from the command line; lists append, comma separated
  Status set_json(const Json& value);       // from a recipe
  Json value() const;                       // for the manifest
};

class Fields {
 public:
  template <class T>
  Fields& add(std::string name, T& target, std::string help, FieldInfo info = {}) {
    return add_field(Field{std::move(name), std::move(help), &target, std::move(info), {}});
  }
  Field* find(std::string_view name);  // dashes and underscores are the same; aliases too
  const std::vector<Field>& all() const { return fields_; }
  std::vector<Field>& all() { return fields_; }

  // Sets fields from an object; an unknown key is an error that names the nearest known one, its line.
  Status set_from(const Json& object, std::span<const std::string> ignored = {});
  Json dump() const;           // every field
  Json dump_identity() const;  // those that decide the result

 private:
  Fields& add_field(Field field);
  std::vector<Field> fields_;
};

// The candidate closest to word by edit distance, if close enough to be what was meant; else "".
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace bm
