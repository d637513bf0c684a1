#include "tokenizer/piece_cache.h"

#include <array>
#include <cstring>
#include <memory>

namespace bm::tokenizer {

namespace {
constexpr size_t slot_count = size_t{1} << 17;  // 5 MB a thread: the words of some hundred articles
constexpr size_t most_used = slot_count / 2;
}  // namespace

PieceCache& PieceCache::of(uint64_t serial) {
  thread_local std::array<std::unique_ptr<PieceCache>, 4> caches;
  thread_local uint64_t clock = 0;
  ++clock;
  size_t oldest = 0;
  for (size_t i = 0; i < caches.size(); ++i) {
    if (caches[i] && caches[i]->serial_ == serial) {
      caches[i]->last_use_ = clock;
      return *caches[i];
    }
    bool older = !caches[i] || (caches[oldest] && caches[i]->last_use_ < caches[oldest]->last_use_);
    if (older && caches[oldest]) oldest = i;
  }
  if (!caches[oldest]) caches[oldest] = std::make_unique<PieceCache>();
  PieceCache& cache = *caches[oldest];
  cache.clear();
  cache.serial_ = serial;
  cache.last_use_ = clock;
  return cache;
}

void PieceCache::clear() {
  slots_.assign(slot_count, Slot{});
  texts_.clear();
  ids_.clear();
  used_ = 0;
}

uint64_t PieceCache::hash_of(std::string_view piece) {
  uint64_t hash = 0x9E3779B97F4A7C15u ^ (piece.size() * 0xFF51AFD7ED558CCDu);
  size_t i = 0;
  auto take = [&](uint64_t word) {
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  };
  for (; i + 8 <= piece.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, piece.data() + i, 8);
    take(word);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, piece.data() + i, piece.size() - i);
  take(rest);
  return hash;
}

std::span<const int32_t> PieceCache::find(std::string_view piece, uint64_t hash, bool& found) const {
  found = false;
  for (size_t at = hash % slot_count;; at = (at + 1) % slot_count) {
    const Slot& slot = slots_[at];
    if (!slot.used) return {};
    bool same = slot.hash == hash && slot.text_length == piece.size() &&
                std::memcmp(texts_.data() + slot.text, piece.data(), piece.size()) == 0;
    if (same) {
      found = true;
      return {ids_.data() + slot.ids, slot.count};
    }
  }
}

void PieceCache::insert(std::string_view piece, uint64_t hash, std::span<const int32_t> ids) {
  if (used_ >= most_used) clear();
  size_t at = hash % slot_count;
  while (slots_[at].used) at = (at + 1) % slot_count;
  slots_[at] = {hash,
                static_cast<uint32_t>(texts_.size()),
                static_cast<uint32_t>(ids_.size()),
                static_cast<uint16_t>(piece.size()),
                static_cast<uint16_t>(ids.size()),
                true};
  texts_.insert(texts_.end(), piece.begin(), piece.end());
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++used_;
}

}  // namespace bm::tokenizer
