#include "formats/pytorch.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/options.h"
#include "formats/pickle_machine.h"

namespace bm {
namespace {

using Kind = PickleValue::Kind;

Error malformed(const std::string& what) {
  return bad_input(what, "Save it again with torch.save(model.state_dict(), …)");
}

Result<DType> storage_dtype(std::string_view global) {
  constexpr std::pair<std::string_view, DType> types[] = {{"torch DoubleStorage", DType::f64},
                                                          {"torch FloatStorage", DType::f32},
                                                          {"torch HalfStorage", DType::f16},
                                                          {"torch BFloat16Storage", DType::bf16},
                                                          {"torch LongStorage", DType::i64},
                                                          {"torch IntStorage", DType::i32},
                                                          {"torch ShortStorage", DType::i16},
                                                          {"torch CharStorage", DType::i8},
                                                          {"torch ByteStorage", DType::u8},
                                                          {"torch BoolStorage", DType::boolean},
                                                          {"torch Float8_e4m3fnStorage", DType::f8_e4m3},
                                                          {"torch Float8_e5m2Storage", DType::f8_e5m2}};
  for (auto [name, type] : types)
    if (name == global) return type;
  return malformed("storage of type " + std::string(global));
}

Result<std::vector<int64_t>> integers(const PickleMachine& machine, uint32_t index, std::string_view what) {
  const PickleValue& tuple = machine.at(index);
  std::vector<int64_t> result;
  if ((tuple.kind != Kind::tuple && tuple.kind != Kind::list) || tuple.items.size() > 16)
    return malformed(std::string(what) + " is no tuple of integers");
  for (uint32_t item : tuple.items) {
    const PickleValue& value = machine.at(item);
    if (value.kind != Kind::integer || value.integer < 0)
      return malformed(std::string(what) + " holds other than integers of 0 or more");
    result.push_back(value.integer);
  }
  return result;
}

// ('storage', type, key, device, elements[, view])
Result<std::string> add_storage(const PickleMachine& machine, uint32_t index, PickledStateDict& dict) {
  const PickleValue& storage = machine.at(index);
  if (storage.kind != Kind::storage || storage.items.size() < 5 ||
      machine.at(storage.items[0]).text != "storage" || machine.at(storage.items[1]).kind != Kind::global ||
      machine.at(storage.items[2]).kind != Kind::text || machine.at(storage.items[4]).kind != Kind::integer ||
      machine.at(storage.items[4]).integer < 0)
    return malformed("a storage is described in an unknown way");
  if (storage.items.size() > 5 && machine.at(storage.items[5]).kind != Kind::none)
    return malformed("a storage is a view of another one (torch < 0.4)");
  BM_TRY(DType dtype, storage_dtype(machine.at(storage.items[1]).text));
  const std::string& key = machine.at(storage.items[2]).text;
  PickledStorage described{dtype, machine.at(storage.items[4]).integer};
  auto [found, fresh] = dict.storages.emplace(key, described);
  if (!fresh && (found->second.dtype != dtype || found->second.count != described.count))
    return malformed("storage " + key + " is described in two ways");
  return key;
}

// Elements from the storage's start that the tensor reaches, or an error when that overflows.
Result<int64_t> reach(const PickledTensor& tensor) {
  int64_t last = tensor.offset;
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    if (tensor.shape[d] == 0) return tensor.offset;
    int64_t step;
    if (__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &step) ||
        __builtin_add_overflow(last, step, &last))
      return malformed("strides reach beyond 64 bits");
  }
  if (last == std::numeric_limits<int64_t>::max()) return malformed("strides reach beyond 64 bits");
  return last + 1;
}

Status check_extent(const PickledTensor& tensor, const PickledStorage& storage) {
  if (tensor.strides.size() != tensor.shape.size()) return malformed("strides and shape differ in length");
  int64_t count = 1;
  for (int64_t dimension : tensor.shape)
    if (__builtin_mul_overflow(count, dimension, &count))
      return malformed("shape " + shape_text(tensor.shape) + " is too large");
  BM_TRY(int64_t needed, reach(tensor));
  if (needed > storage.count)
    return malformed("shape " + shape_text(tensor.shape) + " needs " + std::to_string(needed) +
                     " elements, its storage " + tensor.storage + " has " + std::to_string(storage.count));
  // A few bytes could stand for terabytes by strides of 0.
  if (count > storage.count && count - storage.count > int64_t{1} << 20)
    return malformed("shape " + shape_text(tensor.shape) + " repeats its storage of " +
                     std::to_string(storage.count) + " elements");
  return {};
}

// Arguments of _rebuild_tensor(_v2): storage, offset, size, stride, ….
Result<PickledTensor> make_tensor(const PickleMachine& machine, const PickleValue& value, std::string name,
                                  PickledStateDict& dict) {
  PickledTensor tensor;
  tensor.name = std::move(name);
  if (value.items.size() < 4 || machine.at(value.items[1]).kind != Kind::integer ||
      machine.at(value.items[1]).integer < 0)
    return malformed("a tensor is described in an unknown way");
  BM_TRY(tensor.storage, add_storage(machine, value.items[0], dict));
  tensor.offset = machine.at(value.items[1]).integer;
  BM_TRY(tensor.shape, integers(machine, value.items[2], "shape"));
  BM_TRY(tensor.strides, integers(machine, value.items[3], "stride"));
  const PickledStorage& storage = dict.storages.at(tensor.storage);
  tensor.dtype = storage.dtype;
  BM_CHECK_OK(check_extent(tensor, storage));
  return tensor;
}

// A state dict, or a training checkpoint that has one under "state_dict" or "model".
Result<uint32_t> find_state_dict(const PickleMachine& machine, uint32_t root) {
  auto has_tensor = [&](const PickleValue& dict) {
    for (size_t i = 1; i < dict.items.size(); i += 2)
      if (machine.at(dict.items[i]).kind == Kind::tensor) return true;
    return false;
  };
  const PickleValue& value = machine.at(root);
  if (value.kind != Kind::dict) return malformed("holds no dictionary of tensors");
  if (has_tensor(value)) return root;
  for (size_t i = 0; i + 1 < value.items.size(); i += 2) {
    const PickleValue& key = machine.at(value.items[i]);
    if (key.kind == Kind::text && (key.text == "state_dict" || key.text == "model") &&
        machine.at(value.items[i + 1]).kind == Kind::dict)
      return value.items[i + 1];
  }
  return root;
}

}  // namespace

bool PickledTensor::contiguous() const {
  int64_t expected = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

Result<PickledStateDict> read_state_dict_pickle(std::span<const std::byte> bytes, size_t& position) {
  PickleMachine machine;
  BM_TRY(uint32_t root, machine.run(bytes, position));
  BM_TRY(uint32_t dict_index, find_state_dict(machine, root));
  const PickleValue& dict = machine.at(dict_index);
  PickledStateDict result;
  std::unordered_map<std::string, bool> seen;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& key = machine.at(dict.items[i]);
    const PickleValue& value = machine.at(dict.items[i + 1]);
    if (value.kind != Kind::tensor) continue;  // step counts and the like
    if (key.kind != Kind::text) return malformed("a tensor's name is no text");
    if (!seen.emplace(key.text, true).second) return malformed("tensor " + key.text + " appears twice");
    BM_TRY(PickledTensor tensor, make_tensor(machine, value, key.text, result).in("tensor " + key.text));
    result.tensors.push_back(std::move(tensor));
  }
  return result;
}

bool looks_like_pytorch(std::span<const std::byte> bytes) {
  constexpr unsigned char zip[] = {'P', 'K', 3, 4};
  constexpr unsigned char legacy[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                      0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
  return (bytes.size() >= sizeof zip && !std::memcmp(bytes.data(), zip, sizeof zip)) ||
         (bytes.size() >= sizeof legacy && !std::memcmp(bytes.data(), legacy, sizeof legacy));
}

Status PytorchFile::open_zip(State& state) const {
  BM_TRY(auto members, read_zip_directory(state.file.bytes()));
  std::string prefix;
  const ZipMember* pickle = nullptr;
  for (const ZipMember& member : members) {
    if (!ends_with(member.name, "/data.pkl")) continue;
    if (pickle) return malformed("zip: has two data.pkl");
    pickle = &member;
    prefix = member.name.substr(0, member.name.size() - 8);
  }
  if (!pickle) return bad_input("is a zip without data.pkl, so no PyTorch weight file");
  if (pickle->method != 0)
    return malformed("member " + pickle->name + " is compressed, which torch.save never does");
  uint32_t crc = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(pickle->data.data()), pickle->data.size()));
  if (crc != pickle->crc32)
    return bad_input("member " + pickle->name + ": checksum differs",
                     "The file is damaged; download it again");
  size_t position = 0;
  BM_TRY(state.pickled, read_state_dict_pickle(pickle->data, position).in(pickle->name));
  for (const ZipMember& member : members) {
    if (member.name == prefix + "byteorder" &&
        std::string_view(reinterpret_cast<const char*>(member.data.data()), member.data.size()) == "big")
      return malformed("was saved on a big-endian machine, which is not supported");
    if (!starts_with(member.name, prefix + "data/")) continue;
    if (member.method != 0)
      return malformed("member " + member.name + " is compressed, which torch.save never does");
    state.storages.emplace(member.name.substr(prefix.size() + 5), member.data);
  }
  return {};
}

// torch < 1.6: pickles of the magic number, the protocol (1001), the machine, the state dict, the storage
// keys; then, per key, an i64 element count and the elements.
Status PytorchFile::open_legacy(State& state) const {
  auto bytes = state.file.bytes();
  size_t position = 0;
  PickleMachine machine;
  for (int i = 0; i < 3; ++i) {
    BM_TRY(uint32_t ignored, machine.run(bytes, position));
    static_cast<void>(ignored);
  }
  BM_TRY(state.pickled, read_state_dict_pickle(bytes, position));
  PickleMachine keys;
  BM_TRY(uint32_t list, keys.run(bytes, position));
  for (uint32_t item : keys.at(list).items) {
    const std::string& key = keys.at(item).text;
    auto described = state.pickled.storages.find(key);
    if (bytes.size() - position < 8) return malformed("storage " + key + " is cut off");
    int64_t count;
    std::memcpy(&count, bytes.data() + position, 8);
    position += 8;
    if (described == state.pickled.storages.end())
      return malformed("storage " + key + " belongs to no tensor");
    uint64_t size = static_cast<uint64_t>(count) * (dtype_bits(described->second.dtype) / 8);
    if (count != described->second.count || size > bytes.size() - position)
      return malformed("storage " + key + " is cut off");
    state.storages.emplace(key, bytes.subspan(position, size));
    position += size;
  }
  return {};
}

Result<PytorchFile> PytorchFile::open(const std::string& path) {
  auto state = std::make_shared<State>();
  BM_TRY(state->file, MappedFile::open(path));
  PytorchFile result;
  auto bytes = state->file.bytes();
  if (!looks_like_pytorch(bytes))
    return bad_input("is no PyTorch weight file (neither zip nor torch's older form)",
                     "The file is cut off, damaged or of another kind; download it again")
        .in(path);
  bool zip = bytes[0] == std::byte{'P'};
  BM_CHECK_OK((zip ? result.open_zip(*state) : result.open_legacy(*state)).in(path));
  for (const auto& [key, described] : state->pickled.storages) {
    auto found = state->storages.find(key);
    if (found == state->storages.end())
      return bad_input("storage " + key + " is missing", "The file is damaged; download it again").in(path);
    uint64_t size = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(described.count),
                               uint64_t{dtype_bits(described.dtype) / 8}, &size) ||
        size > found->second.size())
      return bad_input("storage " + key + " has " + std::to_string(found->second.size()) + " bytes where " +
                           std::to_string(described.count) + " elements are promised: truncated",
                       "Download it again")
          .in(path);
  }
  for (size_t i = 0; i < state->pickled.tensors.size(); ++i)
    state->index.emplace(state->pickled.tensors[i].name, i);
  result.state_ = std::move(state);
  return result;
}

const PickledTensor* PytorchFile::find(std::string_view name) const {
  auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->pickled.tensors[found->second];
}

Result<TensorView> PytorchFile::view(const PickledTensor& tensor) const {
  size_t element = dtype_bits(tensor.dtype) / 8;
  const std::byte* start =
      state_->storages.at(tensor.storage).data() + static_cast<size_t>(tensor.offset) * element;
  TensorView dense{tensor.dtype, tensor.shape, start, state_};
  bool empty = dense.count() == 0;
  if (empty || (tensor.contiguous() && reinterpret_cast<uintptr_t>(start) % element == 0)) return dense;
  Tensor copy(tensor.dtype, tensor.shape);
  std::byte* out = copy.data();
  std::vector<int64_t> index(tensor.shape.size(), 0);
  int64_t at = 0;
  for (int64_t done = 0, count = dense.count(); done < count; ++done, out += element) {
    std::memcpy(out, start + static_cast<size_t>(at) * element, element);
    for (size_t d = index.size(); d-- > 0;) {
      at += tensor.strides[d];
      if (++index[d] < tensor.shape[d]) break;
      at -= tensor.strides[d] * tensor.shape[d];
      index[d] = 0;
    }
  }
  return copy.view();
}

void PytorchFile::drop_pages() const { state_->file.drop(0, state_->file.size()); }

}  // namespace bm
