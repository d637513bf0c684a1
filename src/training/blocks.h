// Training data as blocks of tokens and labels: equal ones cut from a stream, or examples of any length.
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

inline constexpr int32_t kNoTarget = -100;

struct Example {
  std::vector<int32_t> tokens, labels;  // of equal length; −100 = no target
};

// A stream of tokens cut into blocks (a corpus folder, a Megatron pair), blocks with labels of their own (a
// safetensors file with input_ids and labels, I64 or I32 [blocks, length], −100 = no target), or examples.
class Blocks {
 public:
  // length 0: as stored, else 2,048. bad_input: fewer tokens than one block, a label or token outside
  // the vocabulary (with its place), tensors that do not fit each other.
  static Result<Blocks> open(const std::string& path, int64_t length, int64_t vocab);
  // Text lines tokenized, each closed by EOS, joined and cut; what is left makes a shorter last block.
  static Result<Blocks> from_text(const std::string& path, const Tokenizer& tokenizer, int64_t length,
                                  int64_t vocab);
  // One block an example; `source` names them in errors.
  static Result<Blocks> from_examples(const std::string& source, const std::vector<Example>& examples,
                                      int64_t vocab);
  // The examples one behind the other, cut into blocks of `length`; each is a document.
  static Result<Blocks> packed(const std::string& source, const std::vector<Example>& examples,
                               int64_t length, int64_t vocab);

  uint64_t count() const { return starts_.size() - 1; }
  int64_t length() const { return length_; }  // of the longest block
  int64_t length(uint64_t block) const { return static_cast<int64_t>(starts_[block + 1] - starts_[block]); }
  uint64_t unused_tokens() const { return unused_; }  // behind the last block
  uint64_t bytes() const;
  // tokens and labels [length(block)].
  void read(uint64_t block, int32_t* tokens, int32_t* labels) const;
  // Labels ≠ −100 but those of the first position of a piece, which is never a target.
  int64_t targets(uint64_t block) const;
  // Lengths of the pieces of a block that do not see each other: one, or its documents.
  void pieces(uint64_t block, std::vector<int64_t>& out) const;

  // From now on documents do not see each other. Borders: the documents of a Megatron index, else the
  // places behind an id of `ends`. bad_input when there is neither.
  Status mask_documents(const std::string& path, std::span<const int64_t> ends);
  // The blocks of another corpus behind these; unlike lengths stay unlike.
  void append(const Blocks& other);

 private:
  static Result<Blocks> from_megatron(const std::string& path, int64_t length, int64_t vocab);
  static Result<Blocks> from_safetensors(const std::string& path, int64_t length, int64_t vocab);
  Status check_vocabulary(const std::string& path, int64_t vocab) const;
  void cut(uint64_t tokens, int64_t length, bool keep_rest);
  template <class Use>
  void for_borders(uint64_t block, Use use) const;

  uint64_t unused_ = 0;
  int64_t length_ = 0;
  bool masked_ = false;
  std::vector<uint64_t> starts_ = {0};  // [count + 1], into tokens_
  std::vector<int32_t> tokens_;
  std::vector<int32_t> labels_;      // empty: the tokens
  std::vector<uint64_t> documents_;  // first tokens of documents, ascending; known or not
};

}  // namespace bm
