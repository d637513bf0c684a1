// A set of named weights, whatever holds them: a Hugging Face folder (safetensors or PyTorch .bin,
// sharded with an index or not), a single such file, or a GGUF file (tensor names mapped to Hugging
// Face's, rows of q and k permuted back to the half-split rotary layout).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/quantized_blocks.h"
#include "tensor/tensor.h"

namespace bm {

// One weight as stored: a dense view, or rows of quantized blocks (GGUF).
struct StoredTensor {
  std::string name;
  Shape shape;
  std::optional<BlockType> blocks;  // set: `view.data` holds encoded blocks, view.dtype is U8
  TensorView view;                  // keeps its file mapped while it lives
  std::string file;                 // shard, for errors
};

class Checkpoint {
 public:
  // bad_input: missing shard, index naming a path outside the folder, malformed file (see
  // formats/safetensors.h), duplicate tensor over shards.
  static Result<Checkpoint> open(const std::string& path);

  const std::string& path() const;
  // Files that hold weights, in reading order.
  const std::vector<std::string>& files() const;
  // Tensor names in the order of the files.
  const std::vector<std::string>& names() const;
  bool contains(std::string_view name) const;
  Result<StoredTensor> get(std::string_view name) const;
  // float32 copy whatever the storage (dense floats or GGUF blocks).
  Result<std::vector<float>> get_f32(std::string_view name) const;

  // Gives the mapped pages back to the page cache (they are read again when touched): for a caller that has
  // taken its copy.
  void drop_pages() const;

  // config.json of the folder, or the equivalent made from GGUF metadata; null for a bare weight file.
  const Json& config() const;
  // GGUF only: the raw metadata (tokenizer arrays included); null otherwise.
  const Json& gguf_metadata() const;
  bool is_gguf() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace bm
