// Training data as blocks of equal length: tokens and labels.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/megatron.h"
#include "tokenizer/tokenizer.h"

namespace bm {

// A stream of tokens cut into blocks (a corpus folder, a Megatron pair), or blocks with labels of their
// own (a safetensors file with input_ids and labels, I64 or I32 [blocks, length], −100 = no target).
class Blocks {
 public:
  // length 0: as stored, else 2,048. bad_input: fewer tokens than one block, a label or token outside
  // the vocabulary (with its place), tensors that do not fit each other.
  static Result<Blocks> open(const std::string& path, int64_t length, int64_t vocab);
  // Text lines tokenized, each closed by EOS, joined and cut; what is left makes a shorter last row.
  static Result<Blocks> from_text(const std::string& path, const Tokenizer& tokenizer, int64_t length,
                                  int64_t vocab);

  uint64_t count() const { return count_; }
  int64_t length() const { return length_; }
  uint64_t unused_tokens() const { return unused_; }  // behind the last block
  // tokens and labels [length].
  void read(uint64_t block, int32_t* tokens, int32_t* labels) const;
  // Labels ≠ −100 in columns 1 … length − 1: column 0 is never a target.
  int64_t targets(uint64_t block) const;
  // The rest that fills no block; empty for files with labels.
  std::span<const int32_t> tail() const { return tail_; }

 private:
  static Result<Blocks> from_megatron(const std::string& path, int64_t length, int64_t vocab);
  static Result<Blocks> from_safetensors(const std::string& path, int64_t length, int64_t vocab);
  Status check_vocabulary(const std::string& path, int64_t vocab) const;
  uint64_t count_ = 0, unused_ = 0;
  int64_t length_ = 0;
  std::vector<int32_t> tokens_;  // [count, length]
  std::vector<int32_t> labels_;  // empty: the tokens
  std::vector<int32_t> tail_;
};

}  // namespace bm
