// What short pieces encode to, one cache a thread: no locks, bounded, and never a change of results.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bm::tokenizer {

class PieceCache {
 public:
  // The calling thread's cache for the model with this serial number (a thread keeps the last four).
  static PieceCache& of(uint64_t serial);

  static constexpr size_t longest_piece = 96;

  // Ids of a piece, or an empty span with found = false.
  std::span<const int32_t> find(std::string_view piece, uint64_t hash, bool& found) const;
  void insert(std::string_view piece, uint64_t hash, std::span<const int32_t> ids);
  static uint64_t hash_of(std::string_view piece);

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t text = 0, ids = 0;
    uint16_t text_length = 0, count = 0;
    bool used = false;
  };
  void clear();
  uint64_t serial_ = 0, last_use_ = 0;
  std::vector<Slot> slots_;
  size_t used_ = 0;
  std::vector<char> texts_;
  std::vector<int32_t> ids_;
};

}  // namespace bm::tokenizer
