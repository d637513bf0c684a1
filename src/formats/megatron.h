// Token corpora on disk: Megatron's indexed data set, PREFIX.bin + PREFIX.idx.
//
//   .idx: "MMIDIDX\0\0" | u64 1 | u8 dtype code | u64 sequences | u64 documents + 1 |
//         i32 length[sequences] | i64 byte offset[sequences] | i64 first sequence of document[documents + 1]
//   .bin: the tokens of all sequences, one after the other, little-endian
//
// dtype codes: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 6 f64, 7 f32, 8 u16. Source: Megatron-LM
// megatron/core/datasets/indexed_dataset.py (semantics.md 1.10).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/dtype.h"

namespace bm {

// Appends sequences; u16 when vocab_size < 65,500 (Megatron's own limit), else i32. Both files appear with
// commit(). Sequences of one document follow each other; end_document() closes it.
class MegatronWriter {
 public:
  // prefix "out/tokens" gives out/tokens.bin and out/tokens.idx.
  static Result<MegatronWriter> create(const std::string& prefix, int64_t vocab_size);
  MegatronWriter(MegatronWriter&&) noexcept;
  MegatronWriter& operator=(MegatronWriter&&) noexcept;
  ~MegatronWriter();
  Status add_sequence(std::span<const int32_t> tokens);  // bad_input: a token outside the vocabulary
  void end_document();
  uint64_t sequences() const;
  uint64_t tokens() const;
  Status commit();

 private:
  struct State;
  explicit MegatronWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class MegatronReader {
 public:
  // Accepts the prefix or either file. bad_input: missing or cut-off file, lengths that do not fit the
  // .bin, unknown version or dtype.
  static Result<MegatronReader> open(const std::string& path);
  uint64_t sequences() const { return lengths_.size(); }
  uint64_t documents() const { return documents_.empty() ? 0 : documents_.size() - 1; }
  int64_t length(uint64_t sequence) const { return lengths_[sequence]; }
  uint64_t tokens() const { return tokens_; }
  DType dtype() const { return dtype_; }
  std::span<const int64_t> document_starts() const { return documents_; }  // [documents + 1] sequences
  // Tokens of a sequence, out[length(sequence)].
  void read(uint64_t sequence, int32_t* out) const;
  const std::string& path() const { return bin_.path(); }

 private:
  MappedFile bin_;
  DType dtype_ = DType::u16;
  uint64_t tokens_ = 0;
  std::vector<int32_t> lengths_;
  std::vector<int64_t> offsets_;    // bytes
  std::vector<int64_t> documents_;  // first sequence
};

// A one-dimensional .npy file (version 1.0, C order) of tokens: u16 when every one fits, else u32.
// Source: numpy.lib.format.
Status write_npy_tokens(const std::string& path, std::span<const uint32_t> tokens, bool as_u16);

}  // namespace bm
