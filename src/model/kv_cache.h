// Keys and values of sequences, in pages of kKeyTile positions (all layers of a position lie in one page).
// Caches of one pool share pages: a fork costs nothing, and a page that two caches hold is copied when one of
// them writes into it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/config.h"
#include "ops/kv_page.h"
#include "tensor/tensor.h"

namespace bm {

// Memory of pages; those given back are used again. Not for two threads at once.
class KvPool : public std::enable_shared_from_this<KvPool> {
 public:
  explicit KvPool(const ModelConfig& config, DType dtype = DType::f32);  // f32 or bf16

  struct Page {
    ~Page();
    std::byte* data = nullptr;
    std::shared_ptr<KvPool> pool;
  };
  std::shared_ptr<Page> take();

  const KvPageShape& shape() const { return shape_; }  // of one layer
  uint64_t page_bytes() const { return static_cast<uint64_t>(layers_ * shape_.bytes()); }
  int64_t pages_in_use() const { return in_use_; }
  int64_t most_pages() const { return most_; }  // in use at one time, so far
  static uint64_t page_bytes(const ModelConfig& config, DType dtype);

 private:
  KvPageShape shape_;
  int64_t layers_;
  int64_t in_use_ = 0, most_ = 0;
  std::vector<Tensor> memory_;
  std::vector<std::byte*> free_;
};

// The cache of one sequence.
class KvCache {
 public:
  // capacity: positions it takes at most (an error beyond, not memory held).
  KvCache(const ModelConfig& config, int64_t capacity, DType dtype = DType::f32);  // with a pool of its own
  KvCache(std::shared_ptr<KvPool> pool, int64_t capacity);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  void truncate(int64_t length);                   // forget later positions
  void fork(const KvCache& from, int64_t length);  // become that prefix of another sequence; same pool
  // Bytes of `length` positions, whole pages.
  static uint64_t bytes(const ModelConfig& config, int64_t length, DType dtype = DType::f32);

  // For the forward pass: pages that may be written for positions [length(), length() + count).
  void make_room(int64_t count);
  void set_length(int64_t length) { length_ = length; }
  const KvPageShape& shape() const { return pool_->shape(); }
  std::byte* const* pages() const { return data_.data(); }

 private:
  std::shared_ptr<KvPool> pool_;
  std::vector<std::shared_ptr<KvPool::Page>> pages_;
  std::vector<std::byte*> data_;  // of pages_
  int64_t capacity_, length_ = 0;
};

}  // namespace bm
