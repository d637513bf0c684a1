// The weights of a merge on their way to disk: shards laid out beforehand, written at known offsets
// from any thread, resumable tensor by tensor.
//
//   OUT/.merge-journal                  one JSON line per finished tensor: {"tensor", "checksum", "notes"}
//   OUT/.merge-<shard name>             a shard being written (its final size from the start)
//   OUT/model[-0000i-of-0000n].safetensors   renamed when every tensor of the merge is there
//
// A tensor counts as done when its line stands in the journal and the bytes lying there have its
// checksum; anything else is computed again.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/safetensors.h"

namespace bm {

// Shard of each tensor (in order; a shard is closed when the next tensor would exceed shard_bytes) and
// the shards' names: model.safetensors, or model-00001-of-0000n.safetensors.
struct ShardPlan {
  std::vector<std::string> names;
  std::vector<std::vector<size_t>> tensors;  // per shard, indices of tensors
};
ShardPlan plan_merge_shards(const std::vector<TensorSpec>& tensors, uint64_t shard_bytes);

// Checksum of a block of a tensor and of a tensor from its blocks' in order.
uint64_t block_checksum(std::span<const std::byte> bytes);
uint64_t combine_checksums(const std::vector<uint64_t>& blocks);

class MergeOutput {
 public:
  // Creates or reopens the files. tensors: in the order of execution; block_bytes(i) = how tensor i's
  // bytes are cut for checksums.
  static Result<MergeOutput> open(const std::string& folder, std::vector<TensorSpec> tensors,
                                  uint64_t shard_bytes, const SafetensorsMetadata& metadata,
                                  uint64_t block_elements);
  MergeOutput(MergeOutput&&) noexcept;
  MergeOutput& operator=(MergeOutput&&) noexcept;
  ~MergeOutput();

  bool done(size_t tensor) const;  // written by an earlier run, and verified
  size_t done_count() const;
  // Bytes [offset, offset + size) of a tensor. Thread-safe.
  Status write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes);
  // Starts its way to the disk and notes it in the journal, with what else is to be known of it (or null).
  Status finish_tensor(size_t tensor, uint64_t checksum, const Json& notes = {});
  const Json& notes(size_t tensor) const;
  // Syncs, gives the files their names, writes model.safetensors.index.json when there are several.
  // extra: more members of the index's "metadata".
  Status commit(const Json& extra);
  const ShardPlan& shards() const;

 private:
  struct State;
  explicit MergeOutput(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bm
