#include "tokenizer/model.h"

#include <algorithm>
#include <atomic>
#include <queue>

#include "tokenizer/piece_cache.h"
#include "tokenizer/unicode.h"

namespace bm::tokenizer {

namespace {
constexpr std::string_view word_mark = "\xE2\x96\x81";  // ▁
constexpr size_t short_piece = 24;                      // symbols; longer ones go through the heap

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}
uint64_t mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15u;
  return key ^ (key >> 29);
}
constexpr uint64_t no_key = ~uint64_t{0};
}  // namespace

Result<std::unique_ptr<const Bpe>> Bpe::make(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                                             const BpeOptions& options) {
  static std::atomic<uint64_t> serial{1};
  auto bpe = std::make_unique<Bpe>();
  bpe->options_ = options;
  bpe->serial_ = serial.fetch_add(1);
  bpe->byte_ids_.fill(-1);
  bpe->character_ids_.assign(0x10000, -1);
  for (uint32_t b = 0; b < 256; ++b) {
    auto byte = static_cast<uint8_t>(b);
    auto id = vocabulary.id(options.bytes ? unicode::encode(byte_to_alphabet(byte)) : byte_token(byte));
    if (id) bpe->byte_ids_[b] = *id;
  }
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& text = vocabulary.text(id);
    if (text.empty()) continue;
    auto first = unicode::decode(text, 0);
    if (first.length == text.size() && first.valid) {
      if (first.value < 0x10000) {
        bpe->character_ids_[first.value] = id;
      } else {
        bpe->further_character_ids_[first.value] = id;
      }
    }
    if (options.ignore_merges) {
      auto bytes = options.bytes ? alphabet_to_bytes(text) : std::optional<std::string>(text);
      if (bytes) bpe->whole_pieces_.emplace(std::move(*bytes), id);
    }
  }
  size_t size = 16;
  while (size < merges.size() * 2) size *= 2;
  bpe->mask_ = size - 1;
  bpe->table_.assign(size, {no_key, 0, 0});
  for (const Merge& merge : merges) {
    uint64_t key = pair_key(merge.left, merge.right);
    uint64_t at = mix(key) & bpe->mask_;
    while (bpe->table_[at].key != no_key && bpe->table_[at].key != key) at = (at + 1) & bpe->mask_;
    if (bpe->table_[at].key == key && bpe->table_[at].rank <= merge.rank) continue;
    bpe->table_[at] = {key, merge.rank, merge.result};
  }
  bpe->splits_at_words_ = bpe->words_are_independent(vocabulary, merges);
  return std::unique_ptr<const Bpe>(std::move(bpe));
}

// True when cutting before every ▁ that follows another character cannot change the result: no merge
// joins across such a place, and a fused run of unknown characters ends there (▁ itself is known).
bool Bpe::words_are_independent(const Vocabulary& vocabulary, const std::vector<Merge>& merges) const {
  if (options_.bytes || options_.ignore_merges || !vocabulary.id(word_mark)) return false;
  for (const Merge& merge : merges) {
    const std::string& left = vocabulary.text(merge.left);
    const std::string& right = vocabulary.text(merge.right);
    bool left_is_word_end = left.size() < 3 || left.compare(left.size() - 3, 3, word_mark) != 0;
    if (left_is_word_end && right.compare(0, 3, word_mark) == 0) return false;
  }
  return true;
}

const Bpe::MergeEntry* Bpe::find(int32_t left, int32_t right) const {
  uint64_t key = pair_key(left, right);
  for (uint64_t at = mix(key) & mask_;; at = (at + 1) & mask_) {
    const MergeEntry& entry = table_[at];
    if (entry.key == key) return &entry;
    if (entry.key == no_key) return nullptr;
  }
}

int32_t Bpe::character_id(uint32_t code_point, std::string_view bytes) const {
  if (bytes.size() == 1 && code_point == 0xFFFD) return -1;  // an invalid byte is no character
  if (code_point < 0x10000) return character_ids_[code_point];
  auto found = further_character_ids_.find(code_point);
  return found == further_character_ids_.end() ? -1 : found->second;
}

void Bpe::initial_symbols(std::string_view piece, std::vector<Symbol>& symbols) const {
  symbols.clear();
  bool after_unknown = false;
  auto unknown = [&](uint32_t length) {
    if (options_.unknown < 0) return;
    if (after_unknown && options_.fuse_unknown) {
      symbols.back().length += length;
    } else {
      symbols.push_back({options_.unknown, length});
    }
    after_unknown = true;
  };
  for (size_t i = 0; i < piece.size();) {
    if (options_.bytes) {
      int32_t id = byte_ids_[static_cast<uint8_t>(piece[i])];
      if (id >= 0) {
        symbols.push_back({id, 1});
        after_unknown = false;
      } else {
        unknown(1);
      }
      ++i;
      continue;
    }
    auto c = unicode::decode_ascii_fast(piece, i);
    std::string_view bytes = piece.substr(i, c.length);
    i += c.length;
    int32_t id = character_id(c.value, bytes);
    if (id >= 0) {
      symbols.push_back({id, c.length});
      after_unknown = false;
      continue;
    }
    bool fallback = options_.byte_fallback;
    for (char byte : bytes) fallback = fallback && byte_ids_[static_cast<uint8_t>(byte)] >= 0;
    if (!fallback) {
      unknown(c.length);
      continue;
    }
    for (char byte : bytes) symbols.push_back({byte_ids_[static_cast<uint8_t>(byte)], 1});
    after_unknown = false;
  }
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
  if (symbols.size() <= short_piece) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

// Looks for the best pair again after every merge; ranks of neighbours are kept beside the symbols.
void Bpe::merge_short(std::vector<Symbol>& symbols) const {
  constexpr uint32_t none = 0xFFFFFFFFu;
  size_t n = symbols.size();
  if (n < 2) return;
  std::array<uint32_t, short_piece> ranks;
  std::array<int32_t, short_piece> results;
  auto look = [&](size_t i) {
    const MergeEntry* entry = i + 1 < n ? find(symbols[i].id, symbols[i + 1].id) : nullptr;
    ranks[i] = entry ? entry->rank : none;
    results[i] = entry ? entry->result : 0;
  };
  for (size_t i = 0; i < n; ++i) look(i);
  for (;;) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (n < 2 || ranks[best] == none) break;
    symbols[best] = {results[best], symbols[best].length + symbols[best + 1].length};
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    --n;
    look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(n);
}

void Bpe::merge_long(std::vector<Symbol>& symbols) const {
  struct Candidate {
    uint32_t rank, position;
    int32_t left, right;  // ids when the candidate was made; others now: stale
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  constexpr uint32_t end = 0xFFFFFFFFu;
  auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n), previous(n);
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : end;
    previous[i] = i > 0 ? i - 1 : end;
  }
  std::vector<Candidate> initial;
  auto candidate = [&](uint32_t i, Candidate& out) {
    const MergeEntry* entry = next[i] == end ? nullptr : find(symbols[i].id, symbols[next[i]].id);
    if (!entry) return false;
    out = {entry->rank, i, symbols[i].id, symbols[next[i]].id};
    return true;
  };
  Candidate made{};
  for (uint32_t i = 0; i + 1 < n; ++i) {
    if (candidate(i, made)) initial.push_back(made);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(initial));
  while (!queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    uint32_t i = top.position, j = next[i];
    bool stale =
        symbols[i].length == 0 || symbols[i].id != top.left || j == end || symbols[j].id != top.right;
    if (stale) continue;
    symbols[i] = {find(top.left, top.right)->result, symbols[i].length + symbols[j].length};
    symbols[j].length = 0;  // gone
    next[i] = next[j];
    if (next[j] != end) previous[next[j]] = i;
    if (candidate(i, made)) queue.push(made);
    if (previous[i] != end && candidate(previous[i], made)) queue.push(made);
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.length == 0; });
}

void Bpe::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  bool cached = word.size() <= PieceCache::longest_piece;
  PieceCache* cache = nullptr;
  uint64_t hash = 0;
  if (cached) {
    cache = &PieceCache::of(serial_);
    hash = PieceCache::hash_of(word);
    bool found = false;
    auto known = cache->find(word, hash, found);
    if (found) {
      ids.insert(ids.end(), known.begin(), known.end());
      return;
    }
  }
  thread_local std::vector<Symbol> symbols;
  initial_symbols(word, symbols);
  merge(symbols);
  size_t before = ids.size();
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
  if (cached) cache->insert(word, hash, {ids.data() + before, ids.size() - before});
}

void Bpe::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    auto whole = whole_pieces_.find(piece);
    if (whole != whole_pieces_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  if (!splits_at_words_) return encode_word(piece, ids);
  size_t begin = 0;
  while (begin < piece.size()) {
    size_t end = begin;
    while (piece.compare(end, 3, word_mark) == 0) end += 3;
    end = std::min(piece.find(word_mark, end), piece.size());
    encode_word(piece.substr(begin, end - begin), ids);
    begin = end;
  }
}

void Bpe::encode_symbols(std::string_view piece, std::vector<Symbol>& symbols) const {
  if (options_.ignore_merges) {
    auto whole = whole_pieces_.find(piece);
    if (whole != whole_pieces_.end()) {
      symbols.assign(1, {whole->second, static_cast<uint32_t>(piece.size())});
      return;
    }
  }
  initial_symbols(piece, symbols);
  merge(symbols);
}

WordLevel::WordLevel(const Vocabulary& vocabulary, int32_t unknown) : unknown_(unknown) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.contains(id)) ids_.emplace(vocabulary.text(id), id);
  }
}

void WordLevel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  auto found = ids_.find(piece);
  int32_t id = found != ids_.end() ? found->second : unknown_;
  if (id >= 0) ids.push_back(id);
}

void WordLevel::encode_symbols(std::string_view piece, std::vector<Symbol>& symbols) const {
  std::vector<int32_t> ids;
  encode(piece, ids);
  symbols.clear();
  for (int32_t id : ids) symbols.push_back({id, static_cast<uint32_t>(piece.size())});
}

}  // namespace bm::tokenizer
