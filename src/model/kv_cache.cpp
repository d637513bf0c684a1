#include "model/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace bm {
namespace {

int64_t page_count(int64_t positions) { return (positions + kKeyTile - 1) / kKeyTile; }

}  // namespace

KvPool::KvPool(const ModelConfig& config, DType dtype)
    : shape_{config.kv_heads, config.head_dim, dtype}, layers_(config.layers) {
  assert(dtype == DType::f32 || dtype == DType::bf16);
}

KvPool::Page::~Page() {
  pool->free_.push_back(data);
  --pool->in_use_;
}

std::shared_ptr<KvPool::Page> KvPool::take() {
  if (free_.empty()) {
    // Zeroed once: what attention reads beside the filled positions is then always a number.
    memory_.push_back(Tensor::zeroed(DType::u8, {static_cast<int64_t>(page_bytes())}));
    free_.push_back(memory_.back().data());
  }
  auto page = std::make_shared<Page>();
  page->data = free_.back();
  page->pool = shared_from_this();
  free_.pop_back();
  most_ = std::max(most_, ++in_use_);
  return page;
}

uint64_t KvPool::page_bytes(const ModelConfig& config, DType dtype) {
  const KvPageShape shape{config.kv_heads, config.head_dim, dtype};
  return static_cast<uint64_t>(config.layers * shape.bytes());
}

KvCache::KvCache(const ModelConfig& config, int64_t capacity, DType dtype)
    : KvCache(std::make_shared<KvPool>(config, dtype), capacity) {}

KvCache::KvCache(std::shared_ptr<KvPool> pool, int64_t capacity)
    : pool_(std::move(pool)), capacity_(capacity) {}

void KvCache::truncate(int64_t length) {
  length_ = std::min(length_, length);
  pages_.resize(static_cast<size_t>(page_count(length_)));
  data_.resize(pages_.size());
}

void KvCache::fork(const KvCache& from, int64_t length) {
  assert(from.pool_ == pool_ && length <= from.length_ && length <= capacity_);
  const auto count = page_count(length);
  pages_.assign(from.pages_.begin(), from.pages_.begin() + count);
  data_.assign(from.data_.begin(), from.data_.begin() + count);
  length_ = length;
}

void KvCache::make_room(int64_t count) {
  if (count <= 0) return;
  if (length_ % kKeyTile != 0) {
    auto& last = pages_[static_cast<size_t>(length_ / kKeyTile)];
    if (last.use_count() > 1) {
      auto copy = pool_->take();
      std::memcpy(copy->data, last->data, pool_->page_bytes());
      last = std::move(copy);
      data_[static_cast<size_t>(length_ / kKeyTile)] = last->data;
    }
  }
  while (static_cast<int64_t>(pages_.size()) < page_count(length_ + count)) {
    pages_.push_back(pool_->take());
    data_.push_back(pages_.back()->data);
  }
}

uint64_t KvCache::bytes(const ModelConfig& config, int64_t length, DType dtype) {
  return static_cast<uint64_t>(page_count(length)) * KvPool::page_bytes(config, dtype);
}

}  // namespace bm
