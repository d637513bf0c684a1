// PEFT folders, written: adapter_config.json, adapter_model.safetensors, README.md.
#pragma once

#include <string>

#include "base/result.h"
#include "model/trainable.h"
#include "tensor/dtype.h"

namespace bm {

// The adapter of a model from load_lora, as PEFT's save_pretrained names and stores it, with the base's
// fingerprint among the safetensors metadata; tokenizer files of the base beside it. dtype: of the tensors
// (F32, F16, BF16). The folder may exist.
Status save_adapter_folder(const TrainableModel& model, const std::string& out, DType dtype);

}  // namespace bm
