// GGUF version 3, written: metadata keys with their types, then the tensors one after the other, so that no
// more than one is held. Source: ggml/docs/gguf.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/quantized_blocks.h"
#include "tensor/tensor.h"

namespace bm {

// Key-value pairs in the order they are added.
class GgufKeys {
 public:
  void text(std::string_view key, std::string_view value);
  void u32(std::string_view key, uint32_t value);
  void f32(std::string_view key, float value);
  void boolean(std::string_view key, bool value);
  void texts(std::string_view key, std::span<const std::string> values);
  void i32s(std::string_view key, std::span<const int32_t> values);
  void f32s(std::string_view key, std::span<const float> values);
  // A value read from another GGUF; types by what the value is (u32, i32, f32, bool, string, arrays of
  // these).
  Status json(std::string_view key, const Json& value);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(std::string_view name, uint32_t type);
  std::string bytes_;
  uint64_t count_ = 0;
};

// ggml_type of a dense float type or a block format.
struct GgufType {
  std::optional<DType> dtype;
  std::optional<BlockType> blocks;
  uint32_t code() const;
  std::string name() const;
  // Bytes of rows of `columns` elements; columns must be a multiple of the block.
  uint64_t bytes(int64_t elements) const;
  bool operator==(const GgufType&) const = default;
};

struct GgufOutputTensor {
  std::string name;  // GGUF's
  Shape shape;       // slowest dimension first
  GgufType type;
  std::function<Result<TensorView>()> produce;  // type.bytes(count) bytes
  uint64_t bytes() const { return type.bytes(element_count(shape)); }
};

// Appears whole or not at all. Stops between tensors when stop_requested().
Status write_gguf(const std::string& path, const GgufKeys& keys, const std::vector<GgufOutputTensor>& tensors,
                  const std::string& progress_label);

}  // namespace bm
