// From one piece of text to ids: byte-pair encoding over characters (with byte fallback) or over
// bytes, and whole words.
//
// Merging takes the pair of lowest rank, leftmost among equals: a scan for short pieces, a heap over a
// linked list for long ones, so that a million characters cost n log n. Pieces without a border inside
// are cached by thread. For SentencePiece-like vocabularies, where the whole text is one piece, load
// checks that no merge can cross the start of a word ("x▁", with x no ▁); then the text is cut at word
// starts, which gives the same ids (semantics.md 1.7, "proven speed property").
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tokenizer/vocabulary.h"

namespace bm::tokenizer {

// One token of a piece: its id and how many of the piece's bytes it covers.
struct Symbol {
  int32_t id;
  uint32_t length;
};

class PieceModel {
 public:
  virtual ~PieceModel() = default;
  virtual void encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  virtual void encode_symbols(std::string_view piece, std::vector<Symbol>& symbols) const = 0;
};

struct Merge {
  int32_t left, right, result;
  uint32_t rank;
};

struct BpeOptions {
  bool bytes = false;          // symbols are bytes (byte-level alphabet), not characters
  bool byte_fallback = false;  // unknown characters become <0xNN>
  bool fuse_unknown = false;
  bool ignore_merges = false;  // a piece that is itself a token is that token (Llama 3)
  int32_t unknown = -1;        // id, or -1: unknown characters vanish
};

class Bpe : public PieceModel {
 public:
  // Merges with equal (left, right) keep the lowest rank.
  static Result<std::unique_ptr<const Bpe>> make(const Vocabulary& vocabulary,
                                                 const std::vector<Merge>& merges, const BpeOptions& options);
  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  void encode_symbols(std::string_view piece, std::vector<Symbol>& symbols) const override;
  bool splits_at_words() const { return splits_at_words_; }

 private:
  struct MergeEntry {
    uint64_t key;
    uint32_t rank;
    int32_t result;
  };
  const MergeEntry* find(int32_t left, int32_t right) const;
  void initial_symbols(std::string_view piece, std::vector<Symbol>& symbols) const;
  int32_t character_id(uint32_t code_point, std::string_view bytes) const;
  void merge(std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  bool words_are_independent(const Vocabulary& vocabulary, const std::vector<Merge>& merges) const;

  BpeOptions options_;
  uint64_t serial_ = 0;  // key of this model in the threads' caches
  std::array<int32_t, 256> byte_ids_{};
  std::vector<int32_t> character_ids_;  // below U+10000; -1 = none
  std::unordered_map<uint32_t, int32_t> further_character_ids_;
  std::vector<MergeEntry> table_;  // open addressing, size a power of two
  uint64_t mask_ = 0;
  TextMap<int32_t> whole_pieces_;  // ignore_merges: pieces in the text's own bytes
  bool splits_at_words_ = false;
};

// Whole pieces or unknown (tokenizer.json's WordLevel).
class WordLevel : public PieceModel {
 public:
  WordLevel(const Vocabulary& vocabulary, int32_t unknown);
  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  void encode_symbols(std::string_view piece, std::vector<Symbol>& symbols) const override;

 private:
  TextMap<int32_t> ids_;
  int32_t unknown_;
};

}  // namespace bm::tokenizer
