// The tokenizer of a model folder as GGUF metadata (tokenizer.ggml.*), so that llama.cpp reads texts as the
// folder's own tokenizer does. Sources: tokenizer.json or tokenizer.model; names of pre-tokenizers and the
// meaning of the keys: llama.cpp's llama-vocab.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "formats/gguf_write.h"

namespace bm {

// model: a folder, or a .gguf whose keys are copied. vocabulary: rows of the embedding; ids beyond the
// tokenizer's become unused tokens; a folder without one gives a file without one, said aloud. bad_input: one
// of a kind GGUF has no name for, more tokens than rows.
Status add_vocabulary(GgufKeys& keys, const std::string& model, int64_t vocabulary);

}  // namespace bm
