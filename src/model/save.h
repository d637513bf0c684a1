// Models written as Hugging Face folders.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "model/config.h"
#include "model/trainable.h"
#include "tensor/dtype.h"

namespace bm {

// config.json that transformers 4 and 5 (and so vLLM and llama.cpp's converter) both read: keys of the
// file the model came from, with head_dim, rope_theta, rope_scaling and torch_dtype written out, dtype
// and rope_parameters beside them where the file had them; no quantization_config.
Json portable_config(const ModelConfig& config, DType dtype);

// Weights rounded to dtype (F32, F16, BF16), config.json, and the tokenizer files of source (a folder, an
// adapter folder, or a .gguf file, whose tokenizer is written as tokenizer.json). A GGUF tokenizer that
// cannot be written so is logged as a warning. The folder may exist; a whole older model in it is replaced.
Status save_model_folder(const TrainableModel& model, const std::string& source, const std::string& out,
                         DType dtype);

// The tokenizer files of `source` into the folder `out`, as save_model_folder does it.
Status save_tokenizer_files(const std::string& source, const std::string& out);

}  // namespace bm
