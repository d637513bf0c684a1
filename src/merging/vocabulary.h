// One vocabulary for models whose tokenizers differ: `tokenizer_source` and `tokenizer`.
//
//   base       the base's tokenizer, without tokens past its model's vocabulary
//   union      the base's, then every other model's tokens in listed order: plain ones, then added ones
//   a model    that model's tokenizer
//
// A model that lacks a token gets the row the configuration names; else that of the only model that has
// it; else the base's; else the mean of those that have it; zeros when nobody does. Rows added by
// pad_to_multiple_of are the mean row. Source: mergekit's tokenizer building (semantics.md 1.1).
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "merging/config.h"
#include "tensor/tensor.h"

namespace bm {

struct VocabularyModel {
  const ModelReference* reference = nullptr;
  std::string folder;
  int64_t vocabulary = 0;  // config's vocab_size: ids from there on are not used
};

struct TokenFill {
  enum class Kind { none, average, model, zero };
  Kind kind = Kind::none;
  size_t model = 0;
  int64_t row = 0;     // model: the row there
  bool force = false;  // also where a model has a row of its own
};

struct Vocabulary {
  Json tokenizer;                            // tokenizer.json of the result
  size_t donor = 0;                          // model whose other tokenizer files go with it
  int64_t tokens = 0, rows = 0;              // rows: tokens padded
  std::vector<std::vector<int64_t>> row_of;  // [model][id] → its row there, −1 = it has none
  std::vector<TokenFill> fills;              // [id]
  std::vector<Json> added;                   // entries of added_tokens that the donor's tokenizer lacks
  std::vector<std::string> warnings;
};

// models: all of the merge; base: index of the base model (the first listed when there is none).
// bad_input: a model without tokenizer.json, a source that lacks its token.
Result<Vocabulary> build_vocabulary(const TokenizerConfig& config, const std::vector<VocabularyModel>& models,
                                    size_t base);

// The embeddings of the models at hand ([their rows, hidden] each, float32) in the new order:
// [rows, hidden]. which: index of each among the merge's models.
Result<std::vector<Tensor>> align_embeddings(const Vocabulary& vocabulary, const std::vector<size_t>& which,
                                             const std::vector<Tensor>& embeddings);

}  // namespace bm
