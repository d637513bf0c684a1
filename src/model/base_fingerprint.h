// Recognizes the base an adapter was trained on, whatever form its linears are stored in.
#pragma once

#include <string>

#include "base/result.h"
#include "formats/adapter.h"
#include "model/weight_source.h"

namespace bm {

// SHA-256 over the sizes of the model and the values, rounded to bf16, of what quantized folders keep as
// it is: all norms, and every 64th row of the embedding. The same for a model's float32, bf16 and nf4
// folders; another one after continued pre-training, merging, or AWQ (which scales the norms).
Result<std::string> base_fingerprint(const WeightSource& source);

// The key under which finetune writes it into adapter_model.safetensors' metadata.
inline constexpr const char* kBaseFingerprintKey = "base_fingerprint";

// bad_input naming both fingerprints when the adapter names another base than this one; fine when it
// names none.
Status check_base_fingerprint(const Adapter& adapter, const WeightSource& source);

}  // namespace bm
