// Vocabulary, merges and normalization out of SentencePiece pieces (tokenizer.model and GGUF "llama").
#pragma once

#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"

namespace bm::tokenizer {

// The post-processor is left to the caller; bos and eos are the model's own.
Result<Parts> parts_from_pieces(const SentencePieceModel& model);

}  // namespace bm::tokenizer
