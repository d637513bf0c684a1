// Linears of quantized Hugging Face folders, decoded to float32: AutoAWQ (GEMM, GEMV, GEMVFast),
// bitsandbytes (NF4, FP4, with or without double quantization, int8 rows), compressed-tensors
// (pack-quantized 4 bits, int-quantized 8 bits) and GPTQ (2, 4 and 8 bits, act-order too). What is quantized
// is told by the tensors that are there; the quantization_config only says how to read them.
//
// The decoded values are the peers' own: AutoAWQ's are rounded to float16, bitsandbytes' 4-bit ones to
// the dtype stored in quant_state, int8 ones stay float32 (code · SCB · 1/127).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "model/block.h"
#include "ops/quantized_weights.h"

namespace bm {

enum class QuantizationFormat : uint8_t {
  none,
  awq_gemm,
  awq_gemv,
  awq_gemv_fast,  // AutoAWQ: qweight, qzeros, scales
  nf4,
  fp4,             // bitsandbytes 4-bit: weight, weight.absmax, weight.quant_state.*
  int8,            // bitsandbytes 8-bit: weight, SCB
  pack_quantized,  // compressed-tensors: weight_packed, weight_scale, weight_shape
  int_quantized,   // compressed-tensors: weight (int8), weight_scale
  gptq,            // qweight, qzeros, scales, g_idx, with quant_method gptq
};
std::string_view quantization_format_name(QuantizationFormat format);

// How the module's weight is stored in this checkpoint; none = a plain weight (or no weight at all).
// config: the folder's quantization_config, or null. bad_input: an AutoAWQ `version` that is not known,
// a quant_method that cannot be read, old int8 layouts (col32, turing, ampere).
Result<QuantizationFormat> stored_quantization(const Checkpoint& checkpoint, std::string_view module,
                                               const Json& config);

// True when the module (e.g. "model.layers.0.self_attn.q_proj") has a quantized weight here.
bool is_quantized_module(const Checkpoint& checkpoint, std::string_view module);

// True when a tensor belongs to a quantized module's storage ("….weight.absmax", "….qzeros", "….SCB", …)
// and is no parameter of its own.
bool is_quantization_tensor(std::string_view tensor);

// The module's weight [rows = out, columns = in] and bias ([out], empty when it has none).
// rows and columns are what the model's configuration expects; 0 accepts what is stored.
// bad_input, naming tensor and shape: missing part, wrong dtype or shape, group size or block size that does
// not fit, malformed quant_state.
Result<LinearF32> load_quantized_linear(const Checkpoint& checkpoint, std::string_view module,
                                        const Json& config, int64_t rows = 0, int64_t columns = 0);

// The module's codes and scales as stored, for the integer kernels; nothing when its storage does not cut
// into rows of groups (bitsandbytes blocks that straddle rows, zero points beside float32 scales). Errors as
// above.
Result<std::optional<QuantizedRows>> load_quantized_rows(const Checkpoint& checkpoint,
                                                         std::string_view module, const Json& config,
                                                         int64_t rows, int64_t columns);
// The same for a matrix of GGUF blocks.
QuantizedRows block_rows(const StoredTensor& stored, int64_t rows, int64_t columns);

// Model-wide check done once after config.json is read: the method is one we read. null is fine.
Status check_quantization_config(const Json& config);

}  // namespace bm
