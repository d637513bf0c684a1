// GGUF versions 2 and 3, little-endian: metadata, tensor table, tensors as dense views or block rows.
//
//   "GGUF" | u32 version | u64 tensors | u64 keys | keys × (string key, u32 type, value) |
//   tensors × (string name, u32 rank, u64 dims[rank] (fastest first), u32 type, u64 offset) |
//   padding to general.alignment (32) | data
//
// Every count and length is checked against the bytes that are left before anything is allocated.
// Source: ggml/docs/gguf.md, ggml/src/gguf.cpp (engine.md 3.7).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/result.h"
#include "tensor/quantized_blocks.h"
#include "tensor/tensor.h"

namespace bm {

struct GgufTensor {
  std::string name;
  Shape shape;                      // slowest dimension first, as everywhere else here
  uint32_t type = 0;                // ggml_type
  std::optional<BlockType> blocks;  // set for the block formats that are decoded
  std::optional<DType> dtype;       // set for dense types; neither set: a type that is only listed
  uint64_t offset = 0, bytes = 0;   // in the data section
};

class GgufFile {
 public:
  static Result<GgufFile> open(const std::string& path);
  // Object of all keys; arrays are arrays; numbers keep their type (f32 widened to double).
  const Json& metadata() const { return state_->metadata; }
  const std::vector<GgufTensor>& tensors() const { return state_->tensors; }
  const GgufTensor* find(std::string_view name) const;
  uint32_t version() const { return state_->version; }
  std::span<const std::byte> data(const GgufTensor& tensor) const;
  std::shared_ptr<const void> owner() const { return state_; }
  const std::string& path() const { return state_->file.path(); }

  // Gives the mapped pages back; they are read again when touched.
  void drop_pages() const;

 private:
  struct State {
    MappedFile file;
    uint32_t version = 0;
    Json metadata;
    std::vector<GgufTensor> tensors;
    std::unordered_map<std::string_view, size_t> index;
    uint64_t data_start = 0;
  };
  friend class GgufParser;
  std::shared_ptr<const State> state_;
};

// "Q4_1", "IQ2_XS", …; "type 99" when unknown.
std::string ggml_type_name(uint32_t type);
// ggml_type of a block format, and of a dense type (which must be one GGUF has).
uint32_t ggml_type_of(BlockType type);
uint32_t ggml_type_of(DType type);

// Parses a whole file in memory (what open does after mapping); for the fuzzer.
Status check_gguf(std::span<const std::byte> bytes);

// ---- as a Hugging Face checkpoint -------------------------------------------------------------------

// Where a tensor of a llama-type GGUF stands in a Hugging Face checkpoint. Source: llama.cpp's
// convert_hf_to_gguf.py and gguf-py/gguf/tensor_mapping.py.
struct GgufMapping {
  std::string name;          // Hugging Face name
  int64_t rotary_heads = 0;  // > 0: rows of q or k, permuted per head, to be put back
};
// nullopt: the tensor has no place there (rope_freqs.weight).
std::optional<GgufMapping> map_gguf_tensor(std::string_view gguf_name, int64_t heads, int64_t kv_heads);
// The way back: {GGUF name, rotary_heads}; nullopt for a tensor of no llama model.
std::optional<GgufMapping> map_hf_tensor(std::string_view hf_name, int64_t heads, int64_t kv_heads);

// config.json of the model in transformers' form. bad_input: an architecture other than llama, a missing
// key, mixture of experts, head counts that vary by layer.
Result<Json> config_from_gguf(const GgufFile& file);

// Row r of a matrix in Hugging Face's order is row permuted_row(r, rows, heads) of the file's.
int64_t permuted_row(int64_t row, int64_t rows, int64_t heads);

}  // namespace bm
