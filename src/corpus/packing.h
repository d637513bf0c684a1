// The token files of a corpus: articles' sequences in order, or packed into blocks so that few are cut.
//
//   pieces, documents   tokens.idx: a sequence is a piece (an article), a document an article. Blocks are cut
//                       from the stream by its reader.
//   best-fit            articles longer than a block are cut in blocks; all parts are put, longest first,
//   where
//                       they leave least room (best-fit decreasing, windows of 16 M tokens); what stays free
//                       in a block is filled with the end token. A sequence and a document is a part of an
//                       article; the fillings are documents of their own. tokens.articles says, for each
//                       document, the number of its article (u32 little-endian; 0xFFFFFFFF for a filling).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "corpus/options.h"
#include "formats/megatron.h"

namespace bm {

struct PackingCounts {
  uint64_t tokens = 0;  // in the file
  uint64_t sequences = 0, blocks = 0;
  uint64_t dropped = 0;  // behind the last whole block
  uint64_t filling = 0;  // end tokens that fill blocks
  uint64_t cut_articles = 0;
};

class SequencePacker {
 public:
  // prefix: OUT/tokens. filler: the token that fills blocks.
  static Result<SequencePacker> create(const std::string& prefix, int64_t vocabulary,
                                       const CorpusOptions& options, int32_t filler);
  // All sequences of one article, joined, with their lengths.
  Status add_article(std::span<const int32_t> tokens, const std::vector<size_t>& lengths);
  Result<PackingCounts> commit();

 private:
  struct Chunk {
    uint64_t begin = 0;  // in window_
    uint32_t length = 0, article = 0;
  };
  SequencePacker(MegatronWriter writer, int64_t length, bool best_fit, int32_t filler)
      : writer_(std::move(writer)),
        length_(static_cast<uint64_t>(length)),
        best_fit_(best_fit),
        filler_(filler) {}
  Status pack_window();
  Status write_chunk(const Chunk& chunk);
  Status fill(uint64_t count);

  MegatronWriter writer_;
  std::optional<AtomicFile> articles_;
  uint64_t length_;
  bool best_fit_;
  int32_t filler_;
  uint32_t article_ = 0;
  std::vector<int32_t> window_;
  std::vector<Chunk> chunks_;
  PackingCounts counts_;
};

// Which chunks share a block: chunk numbers per block, blocks in order of their smallest chunk.
std::vector<std::vector<uint32_t>> best_fit_blocks(std::span<const uint32_t> lengths, uint32_t block);

}  // namespace bm
