// safetensors, reading and writing.
//
//   u64 LE N ≤ 100,000,000 | N bytes of JSON | data
//   JSON: {"__metadata__": {string: string}, name: {"dtype", "shape", "data_offsets": [begin, end]}, …}
//
// Reading accepts what the reference accepts (white space around the JSON, keys in any order) and
// refuses what it refuses, each case with its own message that ends in the reference's name for it:
// HeaderTooSmall, HeaderTooLarge, InvalidHeaderLength, InvalidHeader, InvalidHeaderDeserialization,
// InvalidOffset, TensorInvalidInfo, ValidationOverflow, MetadataIncompleteBuffer, MisalignedSlice; and
// duplicate keys, which the format forbids but the reference lets pass. Writing gives the reference's
// bytes: tensors by alignment (dtype order below), then name; header padded with spaces to 8 bytes.
// Source: github.com/huggingface/safetensors README "Format" and tensor.rs (semantics.md 1.8).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace bm {

inline constexpr uint64_t max_safetensors_header = 100'000'000;  // bytes

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;  // in order of the file

struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t bytes() const;
};

struct SafetensorsEntry : TensorSpec {
  uint64_t begin = 0, end = 0;  // bytes from the start of the data section
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by offset
  SafetensorsMetadata metadata;
  uint64_t data_start = 0;  // N + 8
};

// Checks everything above on the first bytes of a file of file_size bytes (`bytes` must hold the whole
// header; it may be the whole file).
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size);

// A mapped file. Views keep the map alive.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path);
  const std::vector<SafetensorsEntry>& entries() const { return state_->header.entries; }
  const SafetensorsMetadata& metadata() const { return state_->header.metadata; }
  const std::string& path() const { return state_->file.path(); }
  const SafetensorsEntry* find(std::string_view name) const;  // nullptr when absent
  TensorView view(const SafetensorsEntry& entry) const;
  Result<TensorView> get(std::string_view name) const;  // bad_input names the nearest name there is

  // Gives the mapped pages back; they are read again when touched.
  void drop_pages() const;

 private:
  struct State {
    MappedFile file;
    SafetensorsHeader header;
    std::unordered_map<std::string_view, size_t> index;
  };
  std::shared_ptr<const State> state_;
};

// Header bytes (with the length and padding) for these tensors and, in `order`, their indices as they
// lie in the file; `offsets[i]` = start of tensor i from the start of the FILE.
struct SafetensorsLayout {
  std::string header;
  std::vector<size_t> order;
  std::vector<uint64_t> offsets;
  uint64_t file_size = 0;
};
// bad_input: duplicate name, the name "__metadata__", sizes that are no whole bytes, header too large.
Result<SafetensorsLayout> plan_safetensors(const std::vector<TensorSpec>& tensors,
                                           const SafetensorsMetadata& metadata);

// Writes a file whose tensors are all known beforehand; contents in any order, from any thread. The
// space is reserved at the start, so that a full disk is reported before the work. The file appears
// with commit(), which refuses when a tensor was not written; an existing file that is mapped at the
// time stays valid for its readers (it is replaced, not changed).
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::string& path, std::vector<TensorSpec> tensors,
                                          const SafetensorsMetadata& metadata = {{"format", "pt"}});
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;
  ~SafetensorsWriter();
  const std::vector<size_t>& order() const;  // indices as they lie in the file: the cheapest order to write
  Status write(size_t index, std::span<const std::byte> bytes);
  Status commit();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Small files at once.
struct NamedTensor {
  std::string name;
  TensorView view;
};
Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                         const SafetensorsMetadata& metadata = {{"format", "pt"}});

}  // namespace bm
