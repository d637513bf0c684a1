// LoRA into the weights: a base model and a PEFT adapter become one Hugging Face folder.
#pragma once

#include <string>

#include "base/options.h"
#include "base/result.h"

namespace bm {

struct MergeAdapterOptions {
  std::string dtype;        // of the output; "" = each tensor as the base stores it
  bool safe_merge = false;  // PEFT's safe_merge=True: two roundings
  ByteSize shard_size{5'000'000'000};
};
void describe(Fields& fields, MergeAdapterOptions& options);

struct MergeAdapterReport {
  int64_t merged = 0, replaced = 0, copied = 0;  // tensors
  uint64_t bytes = 0;                            // of the weights written
};

// What merge_adapter would do; the same checks, nothing is written.
Result<MergeAdapterReport> plan_merge_adapter(const std::string& model, const std::string& adapter,
                                              const MergeAdapterOptions& options);

// W' = round(float32(W) + δ), δ = s·B·A in float32, as merge_and_unload() of PEFT on a CPU; with safe_merge
// What merge_adapter would do; the same checks, nothing is written.
Result<MergeAdapterReport> plan_merge_adapter(const std::string& model, const std::string& adapter,
                                              const MergeAdapterOptions& options);

// W' = round(W + round(δ)). DoRA rows are scaled in float32 and rounded once. A quantized or GGUF base is
// decoded and written as dtype (bfloat16 when none is given). bad_input: adapter that does not fit, NaN or
// infinity in the result (naming the tensor). model: base folder or .gguf; out: created, its shards replaced.
Result<MergeAdapterReport> merge_adapter(const std::string& model, const std::string& adapter,
                                         const std::string& out, const MergeAdapterOptions& options);

}  // namespace bm
