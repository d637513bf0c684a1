// tokenizer.json and tokenizer_config.json out of a GGUF's metadata, so that a folder made from a GGUF
// can be loaded by transformers. Source: tokenizers' file format; llama.cpp's llama-vocab.cpp for what
// tokenizer.ggml.pre means; transformers' convert_slow_tokenizer.generate_merges for merges of scores.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct NamedText {
  std::string name, content;
};
// bad_input: no tokenizer in the metadata, or one of a kind whose rules are not known here.
Result<std::vector<NamedText>> tokenizer_files_from_gguf(const Json& metadata);

}  // namespace bm
