#include "formats/pickle_machine.h"

#include <array>
#include <bit>
#include <cstring>

namespace bm {
namespace {

using Kind = PickleValue::Kind;

Error malformed(const std::string& what) {
  return bad_input("the pickle " + what, "Download the file again, or save it with torch.save(state_dict)");
}

bool allowed_global(std::string_view name) {
  constexpr std::array names = {"collections OrderedDict",
                                "torch._utils _rebuild_tensor_v2",
                                "torch._utils _rebuild_tensor",
                                "torch._utils _rebuild_parameter",
                                "torch DoubleStorage",
                                "torch FloatStorage",
                                "torch HalfStorage",
                                "torch BFloat16Storage",
                                "torch LongStorage",
                                "torch IntStorage",
                                "torch ShortStorage",
                                "torch CharStorage",
                                "torch ByteStorage",
                                "torch BoolStorage",
                                "torch Float8_e4m3fnStorage",
                                "torch Float8_e5m2Storage",
                                "torch Size"};
  for (const char* known : names)
    if (name == known) return true;
  return false;
}

}  // namespace

Result<uint64_t> PickleMachine::read_unsigned(size_t count) {
  if (count > bytes_.size() - position_) return malformed("is cut off");
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= static_cast<uint64_t>(bytes_[position_ + i]) << (8 * i);
  position_ += count;
  return value;
}

Status PickleMachine::push(PickleValue value) {
  values_.push_back(std::move(value));
  stack_.push_back(static_cast<uint32_t>(values_.size() - 1));
  return {};
}

Result<uint32_t> PickleMachine::pop() {
  if (stack_.empty() || (!marks_.empty() && stack_.size() <= marks_.back()))
    return malformed("takes a value where there is none");
  uint32_t top = stack_.back();
  stack_.pop_back();
  return top;
}

Status PickleMachine::push_text(size_t length) {
  if (length > bytes_.size() - position_) return malformed("is cut off inside a string");
  PickleValue value;
  value.kind = Kind::text;
  value.text.assign(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
  position_ += length;
  return push(std::move(value));
}

Status PickleMachine::push_long(size_t length) {
  if (length > bytes_.size() - position_) return malformed("is cut off inside a number");
  PickleValue value;
  value.kind = Kind::integer;
  if (length > 8) {  // only torch's magic number is that long; its bytes are kept as text
    value.kind = Kind::text;
    value.text.assign(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return push(std::move(value));
  }
  BM_TRY(uint64_t bits, read_unsigned(length));
  if (length > 0 && length < 8 && (bits >> (8 * length - 1) & 1)) bits |= ~uint64_t{0} << (8 * length);
  value.integer = static_cast<int64_t>(bits);
  return push(std::move(value));
}

Status PickleMachine::pop_to_mark(std::vector<uint32_t>& items) {
  if (marks_.empty()) return malformed("closes a group that was never opened");
  size_t mark = marks_.back();
  marks_.pop_back();
  items.assign(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
  stack_.resize(mark);
  return {};
}

Status PickleMachine::build_tuple(size_t count) {
  PickleValue tuple;
  tuple.kind = Kind::tuple;
  tuple.items.resize(count);
  for (size_t i = count; i-- > 0;) {
    BM_TRY(tuple.items[i], pop());
  }
  return push(std::move(tuple));
}

Status PickleMachine::set_items(bool many) {
  std::vector<uint32_t> items;
  if (many) {
    BM_CHECK_OK(pop_to_mark(items));
  } else {
    BM_TRY(uint32_t item, pop());
    BM_TRY(uint32_t key, pop());
    items = {key, item};
  }
  if (items.size() % 2 != 0) return malformed("has a key without a value");
  if (stack_.empty() || value(stack_.back()).kind != Kind::dict)
    return malformed("sets an item of what is no dictionary");
  auto& target = value(stack_.back()).items;
  target.insert(target.end(), items.begin(), items.end());
  return {};
}

Status PickleMachine::append_items(bool many) {
  std::vector<uint32_t> items;
  if (many) {
    BM_CHECK_OK(pop_to_mark(items));
  } else {
    BM_TRY(uint32_t item, pop());
    items = {item};
  }
  if (stack_.empty() || value(stack_.back()).kind != Kind::list)
    return malformed("appends to what is no list");
  auto& target = value(stack_.back()).items;
  target.insert(target.end(), items.begin(), items.end());
  return {};
}

Status PickleMachine::put(uint64_t slot) {
  if (stack_.empty()) return malformed("remembers a value where there is none");
  memo_[slot] = stack_.back();
  return {};
}

Status PickleMachine::get(uint64_t slot) {
  auto found = memo_.find(slot);
  if (found == memo_.end()) return malformed("recalls a value that was never remembered");
  stack_.push_back(found->second);
  return {};
}

Status PickleMachine::push_global(const std::string& module, const std::string& name) {
  std::string text = module + " " + name;
  if (!allowed_global(text))
    return bad_input("the pickle asks for " + module + "." + name + ", which is not allowed in a weight file",
                     "Only tensors are read; convert the checkpoint to safetensors where you trust it");
  PickleValue value;
  value.kind = Kind::global;
  value.text = std::move(text);
  return push(std::move(value));
}

Status PickleMachine::push_line_global() {
  std::string lines[2];
  for (std::string& line : lines) {
    while (true) {
      BM_TRY(uint64_t byte, read_unsigned(1));
      if (byte == '\n') break;
      if (line.size() >= 256) return malformed("names a global of more than 256 characters");
      line += static_cast<char>(byte);
    }
  }
  return push_global(lines[0], lines[1]);
}

Status PickleMachine::push_stack_global() {
  BM_TRY(uint32_t name, pop());
  BM_TRY(uint32_t module, pop());
  if (value(name).kind != Kind::text || value(module).kind != Kind::text)
    return malformed("names a global by something that is no text");
  return push_global(value(module).text.substr(0, 256), value(name).text.substr(0, 256));
}

// callable(arguments): only the globals above, and only what builds data.
Status PickleMachine::reduce() {
  BM_TRY(uint32_t arguments, pop());
  BM_TRY(uint32_t callable, pop());
  if (value(arguments).kind != Kind::tuple) return malformed("calls with arguments that are no tuple");
  if (value(callable).kind != Kind::global) return malformed("calls what is no known function");
  const std::string& name = value(callable).text;
  if (value(arguments).items.size() > 16) return malformed("calls a function with more than 16 arguments");
  const auto items = value(arguments).items;
  PickleValue result;
  if (name == "collections OrderedDict") {
    result.kind = Kind::dict;
    if (!items.empty() && value(items[0]).kind == Kind::list) {
      // The same list may be used again and again: the whole must stay in proportion to the pickle.
      copied_ += value(items[0]).items.size();
      if (copied_ > bytes_.size()) return malformed("builds dictionaries out of all proportion");
      for (uint32_t pair : value(items[0]).items) {
        if (value(pair).items.size() != 2) return malformed("builds a dictionary of what are no pairs");
        for (uint32_t item : value(pair).items) result.items.push_back(item);
      }
    }
  } else if (name == "torch Size") {
    if (items.size() != 1) return malformed("builds a size from other than one value");
    stack_.push_back(items[0]);
    return {};
  } else if (name == "torch._utils _rebuild_parameter") {
    if (items.empty() || value(items[0]).kind != Kind::tensor)
      return malformed("builds a parameter of what is no tensor");
    stack_.push_back(items[0]);
    return {};
  } else if (name.starts_with("torch._utils _rebuild_tensor")) {
    result.kind = Kind::tensor;
    result.items = items;
  } else {
    return malformed("calls " + name);
  }
  return push(std::move(result));
}

// State set on an object: the _metadata of an OrderedDict, which nothing here needs.
Status PickleMachine::build() {
  BM_TRY(uint32_t ignored, pop());
  static_cast<void>(ignored);
  if (stack_.empty() || value(stack_.back()).kind != Kind::dict)
    return malformed("sets the state of what is no dictionary");
  return {};
}

Status PickleMachine::persistent() {
  BM_TRY(uint32_t id, pop());
  if (value(id).kind != Kind::tuple || value(id).items.size() > 16)
    return malformed("refers to a storage by what is no tuple");
  PickleValue storage;
  storage.kind = Kind::storage;
  storage.items = value(id).items;
  return push(std::move(storage));
}

Status PickleMachine::container_opcode(uint8_t opcode, bool& known) {
  PickleValue container;
  switch (opcode) {
    case '(':
      marks_.push_back(stack_.size());
      return {};
    case '}':
      container.kind = Kind::dict;
      return push(std::move(container));
    case ']':
      container.kind = Kind::list;
      return push(std::move(container));
    case ')':
      return build_tuple(0);
    case 0x85:
      return build_tuple(1);
    case 0x86:
      return build_tuple(2);
    case 0x87:
      return build_tuple(3);
    case 't':
      container.kind = Kind::tuple;
      break;
    case 'l':
      container.kind = Kind::list;
      break;
    case 'd':
      container.kind = Kind::dict;
      break;
    case 's':
      return set_items(false);
    case 'u':
      return set_items(true);
    case 'a':
      return append_items(false);
    case 'e':
      return append_items(true);
    case '1': {
      std::vector<uint32_t> dropped;
      return pop_to_mark(dropped);
    }
    default:
      known = false;
      return {};
  }
  BM_CHECK_OK(pop_to_mark(container.items));
  if (container.kind == Kind::dict && container.items.size() % 2)
    return malformed("has a key without a value");
  return push(std::move(container));
}

Status PickleMachine::scalar_opcode(uint8_t opcode, bool& known) {
  PickleValue scalar;
  scalar.kind = Kind::integer;
  auto sized_text = [&](size_t width) -> Status {
    BM_TRY(uint64_t length, read_unsigned(width));
    return push_text(length);
  };
  switch (opcode) {
    case 'N':
      scalar.kind = Kind::none;
      return push(std::move(scalar));
    case 0x88:
    case 0x89:
      scalar.kind = Kind::boolean;
      scalar.integer = opcode == 0x88;
      return push(std::move(scalar));
    case 'J':
    case 'K':
    case 'M': {
      BM_TRY(uint64_t bits, read_unsigned(opcode == 'J' ? 4 : opcode == 'K' ? 1 : 2));
      scalar.integer =
          opcode == 'J' ? static_cast<int32_t>(static_cast<uint32_t>(bits)) : static_cast<int64_t>(bits);
      return push(std::move(scalar));
    }
    case 'G': {  // big-endian double
      BM_TRY(uint64_t bits, read_unsigned(8));
      scalar.kind = Kind::real;
      scalar.real = std::bit_cast<double>(__builtin_bswap64(bits));
      return push(std::move(scalar));
    }
    case 0x8a:
    case 0x8b: {
      BM_TRY(uint64_t length, read_unsigned(opcode == 0x8a ? 1 : 4));
      return push_long(length);
    }
    case 'X':
    case 'T':
    case 'B':
      return sized_text(4);
    case 0x8c:
    case 'U':
    case 'C':
      return sized_text(1);
    case 0x8d:
    case 0x8e:
      return sized_text(8);
    default:
      known = false;
      return {};
  }
}

Status PickleMachine::memo_opcode(uint8_t opcode, bool& known) {
  switch (opcode) {
    case 'q':
    case 'r': {
      BM_TRY(uint64_t slot, read_unsigned(opcode == 'q' ? 1 : 4));
      return put(slot);
    }
    case 0x94:
      return put(memo_.size());
    case 'h':
    case 'j': {
      BM_TRY(uint64_t slot, read_unsigned(opcode == 'h' ? 1 : 4));
      return get(slot);
    }
    case '0': {
      BM_TRY(uint32_t dropped, pop());
      static_cast<void>(dropped);
      return {};
    }
    case 0x80:
    case 0x95: {  // protocol number, frame length: nothing to do
      BM_TRY(uint64_t ignored, read_unsigned(opcode == 0x80 ? 1 : 8));
      static_cast<void>(ignored);
      return {};
    }
    case 'c':
      return push_line_global();
    case 0x93:
      return push_stack_global();
    case 'R':
      return reduce();
    case 'b':
      return build();
    case 'Q':
      return persistent();
    default:
      known = false;
      return {};
  }
}

Result<uint32_t> PickleMachine::run(std::span<const std::byte> bytes, size_t& position) {
  bytes_ = bytes;
  position_ = position;
  stack_.clear();
  marks_.clear();
  memo_.clear();
  while (true) {
    size_t at = position_;
    auto place = [&] { return "pickle offset " + std::to_string(at); };
    BM_TRY(uint64_t opcode, read_unsigned(1).in(place()));
    if (opcode == '.') break;
    bool known = true;
    BM_CHECK_OK(container_opcode(static_cast<uint8_t>(opcode), known).in(place()));
    if (known) continue;
    known = true;
    BM_CHECK_OK(scalar_opcode(static_cast<uint8_t>(opcode), known).in(place()));
    if (known) continue;
    known = true;
    BM_CHECK_OK(memo_opcode(static_cast<uint8_t>(opcode), known).in(place()));
    if (!known)
      return malformed("uses opcode " + std::to_string(opcode) + ", which a state dict does not need")
          .in(place());
  }
  position = position_;
  if (stack_.size() != 1 || !marks_.empty()) return malformed("ends with other than one value");
  return stack_.back();
}

}  // namespace bm
