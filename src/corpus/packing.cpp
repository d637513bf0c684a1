#include "corpus/packing.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace bm {

namespace {

constexpr size_t kWindowTokens = size_t{16} << 20;
constexpr uint32_t kNoArticleNumber = 0xFFFFFFFFu;

// Blocks by the room they have left; finds the smallest room that is large enough.
class Rooms {
 public:
  explicit Rooms(uint32_t block) : blocks_(block + 1), words_(block / 64 + 1, 0) {}
  void add(uint32_t room, uint32_t block) {
    blocks_[room].push_back(block);
    words_[room / 64] |= uint64_t{1} << (room % 64);
  }
  // A block with at least that room, taken out; false when there is none.
  bool take(uint32_t wanted, uint32_t& room, uint32_t& block) {
    for (size_t w = wanted / 64; w < words_.size(); ++w) {
      uint64_t bits = words_[w];
      if (w == wanted / 64) bits &= ~uint64_t{0} << (wanted % 64);
      if (bits == 0) continue;
      room = static_cast<uint32_t>(w * 64 + static_cast<size_t>(std::countr_zero(bits)));
      block = blocks_[room].back();
      blocks_[room].pop_back();
      if (blocks_[room].empty()) words_[w] &= ~(uint64_t{1} << (room % 64));
      return true;
    }
    return false;
  }

 private:
  std::vector<std::vector<uint32_t>> blocks_;
  std::vector<uint64_t> words_;
};

}  // namespace

std::vector<std::vector<uint32_t>> best_fit_blocks(std::span<const uint32_t> lengths, uint32_t block) {
  std::vector<uint32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });
  Rooms rooms(block);
  std::vector<std::vector<uint32_t>> blocks;
  for (uint32_t chunk : order) {
    uint32_t room = block, into = 0;
    if (!rooms.take(lengths[chunk], room, into)) {
      into = static_cast<uint32_t>(blocks.size());
      blocks.emplace_back();
    }
    blocks[into].push_back(chunk);
    if (room > lengths[chunk]) rooms.add(room - lengths[chunk], into);
  }
  for (auto& chunks : blocks) std::sort(chunks.begin(), chunks.end());
  std::sort(blocks.begin(), blocks.end());
  return blocks;
}

Result<SequencePacker> SequencePacker::create(const std::string& prefix, int64_t vocabulary,
                                              const CorpusOptions& options, int32_t filler) {
  BM_TRY(MegatronWriter writer, MegatronWriter::create(prefix, vocabulary));
  SequencePacker packer(std::move(writer), options.sequence_length, options.packing == "best-fit", filler);
  if (packer.best_fit_) {
    BM_TRY(AtomicFile articles, AtomicFile::create(prefix + ".articles"));
    packer.articles_.emplace(std::move(articles));
  }
  return packer;
}

Status SequencePacker::add_article(std::span<const int32_t> tokens, const std::vector<size_t>& lengths) {
  if (!best_fit_) {
    for (size_t length : lengths) {
      BM_CHECK_OK(writer_.add_sequence(tokens.first(length)));
      tokens = tokens.subspan(length);
    }
    writer_.end_document();
    return {};
  }
  counts_.cut_articles += tokens.size() > length_ ? 1 : 0;
  for (size_t at = 0; at < tokens.size(); at += length_) {
    auto length = static_cast<uint32_t>(std::min<uint64_t>(length_, tokens.size() - at));
    chunks_.push_back({window_.size() + at, length, article_});
  }
  window_.insert(window_.end(), tokens.begin(), tokens.end());
  ++article_;
  return window_.size() >= kWindowTokens ? pack_window() : Status();
}

Status SequencePacker::write_chunk(const Chunk& chunk) {
  BM_CHECK_OK(writer_.add_sequence(std::span<const int32_t>(window_).subspan(chunk.begin, chunk.length)));
  writer_.end_document();
  return articles_->append(std::as_bytes(std::span(&chunk.article, 1)));
}

Status SequencePacker::fill(uint64_t count) {
  if (count == 0) return {};
  std::vector<int32_t> filling(count, filler_);
  BM_CHECK_OK(writer_.add_sequence(filling));
  writer_.end_document();
  counts_.filling += count;
  return articles_->append(std::as_bytes(std::span(&kNoArticleNumber, 1)));
}

Status SequencePacker::pack_window() {
  std::vector<uint32_t> lengths;
  for (const Chunk& chunk : chunks_) lengths.push_back(chunk.length);
  for (const auto& block : best_fit_blocks(lengths, static_cast<uint32_t>(length_))) {
    uint64_t used = 0;
    for (uint32_t chunk : block) {
      BM_CHECK_OK(write_chunk(chunks_[chunk]));
      used += chunks_[chunk].length;
    }
    BM_CHECK_OK(fill(length_ - used));
  }
  window_.clear();
  chunks_.clear();
  return {};
}

Result<PackingCounts> SequencePacker::commit() {
  if (best_fit_) {
    BM_CHECK_OK(pack_window());
    BM_CHECK_OK(articles_->commit());
  }
  counts_.tokens = writer_.tokens();
  counts_.sequences = writer_.sequences();
  counts_.blocks = counts_.tokens / length_;
  counts_.dropped = counts_.tokens % length_;
  BM_CHECK_OK(writer_.commit());
  return counts_;
}

}  // namespace bm
