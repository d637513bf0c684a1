// PyTorch weight files (torch.save of a state dict): the zip form of torch ≥ 1.6 and the older plain
// form. The pickle inside is read by a machine that can only build numbers, strings, tuples, lists,
// dictionaries and tensors; any other global is refused by its name and nothing is ever executed.
// Source: torch/serialization.py, Python's pickletools.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace bm {

// A tensor as the pickle describes it: a window with strides on a storage of the file.
struct PickledTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<int64_t> strides;  // elements, ≥ 0
  int64_t offset = 0;            // elements from the storage's start
  std::string storage;           // its key
  bool contiguous() const;
};

struct PickledStorage {
  DType dtype = DType::f32;
  int64_t count = 0;  // elements promised by the pickle
};

struct PickledStateDict {
  std::vector<PickledTensor> tensors;  // in order of the dictionary, names unique
  std::unordered_map<std::string, PickledStorage> storages;
};

// Reads one pickle from `bytes` at `position` (moved behind its STOP). bad_input: malformed pickle, a
// global that builds anything but tensors, a tensor outside its storage, a value that is no state dict.
Result<PickledStateDict> read_state_dict_pickle(std::span<const std::byte> bytes, size_t& position);

class PytorchFile {
 public:
  static Result<PytorchFile> open(const std::string& path);
  const std::vector<PickledTensor>& tensors() const { return state_->pickled.tensors; }
  const PickledTensor* find(std::string_view name) const;
  // Views the file's map where the tensor lies dense and aligned in it, else a dense copy.
  Result<TensorView> view(const PickledTensor& tensor) const;
  const std::string& path() const { return state_->file.path(); }

  // Gives the mapped pages back; they are read again when touched.
  void drop_pages() const;

 private:
  struct State {
    MappedFile file;
    PickledStateDict pickled;
    std::unordered_map<std::string, std::span<const std::byte>> storages;
    std::unordered_map<std::string_view, size_t> index;
  };
  Status open_zip(State& state) const;
  Status open_legacy(State& state) const;
  std::shared_ptr<const State> state_;
};

// True when the file's first bytes are those of a zip or of torch's older form.
bool looks_like_pytorch(std::span<const std::byte> bytes);

// Members of a zip, as the central directory lists them (zip64 included). Only stored members (method 0)
// can be viewed.
struct ZipMember {
  std::string name;
  uint16_t method = 0;
  uint32_t crc32 = 0;
  std::span<const std::byte> data;  // compressed bytes
};
Result<std::vector<ZipMember>> read_zip_directory(std::span<const std::byte> file);

}  // namespace bm
