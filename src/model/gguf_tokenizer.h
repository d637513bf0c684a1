// The tokenizer inside a GGUF file, written as the files of a Hugging Face folder, so that a model
// trained or quantized from a .gguf can be used without it.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace bm {

// tokenizer.json of a byte-level BPE (tokenizer.ggml.model "gpt2"; tokenizer.ggml.pre smollm, gpt-2 or
// llama-bpe and their aliases). bad_input: another kind.
Result<Json> tokenizer_json_from_gguf(const Json& metadata);

// tokenizer.model of SentencePiece pieces (tokenizer.ggml.model "llama"): a ModelProto of type BPE with
// byte fallback. Source: sentencepiece_model.proto.
Result<std::string> sentencepiece_model_from_gguf(const Json& metadata);

// tokenizer_config.json: class, special tokens, chat template, longest input.
Result<Json> tokenizer_config_from_gguf(const Json& metadata);

// Writes tokenizer.json or tokenizer.model, and tokenizer_config.json, into folder.
Status write_gguf_tokenizer(const Json& metadata, const std::string& folder);

}  // namespace bm
