// The pickle reader behind formats/pytorch.h. Values live in one arena and refer to each other by
// index: cycles and depth are harmless, and memory is bounded by the pickle's own length.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace bm {

struct PickleValue {
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    tuple,
    list,
    dict,
    global,
    storage,
    tensor
  };
  Kind kind = Kind::none;
  int64_t integer = 0;  // boolean, integer
  double real = 0;
  std::string text;             // text; global: "module name"
  std::vector<uint32_t> items;  // tuple, list: elements; dict: key, value, key, value, …;
                                // storage: the persistent id's tuple; tensor: arguments of its rebuild
};

class PickleMachine {
 public:
  // Runs one pickle; returns the index of the result. position is moved behind STOP.
  Result<uint32_t> run(std::span<const std::byte> bytes, size_t& position);
  const PickleValue& at(uint32_t index) const { return values_[index]; }

 private:
  Status push_text(size_t length);
  Status build_tuple(size_t count);
  Status pop_to_mark(std::vector<uint32_t>& items);
  Status set_items(bool many);
  Status append_items(bool many);
  Status put(uint64_t slot);
  Status get(uint64_t slot);
  Status push_long(size_t length);
  Status push_global(const std::string& module, const std::string& name);
  Status push_line_global();
  Status push_stack_global();
  Status reduce();
  Status build();
  Status persistent();
  Status container_opcode(uint8_t opcode, bool& known);
  Status scalar_opcode(uint8_t opcode, bool& known);
  Status memo_opcode(uint8_t opcode, bool& known);

  Result<uint64_t> read_unsigned(size_t bytes);  // little-endian
  Status push(PickleValue value);
  Result<uint32_t> pop();
  PickleValue& value(uint32_t index) { return values_[index]; }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  size_t copied_ = 0;
  std::deque<PickleValue> values_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

}  // namespace bm
