// Encodes one linear into the tensors of a format. The same module is encoded part by part, in the order
// the file wants them (maxima of all modules stand before the codes), so each part can be made alone and
// nothing larger than one matrix is held.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/hf_folder.h"
#include "quantization/targets.h"
#include "tensor/awq_layout.h"
#include "tensor/compressed_groups.h"
#include "tensor/nf4_blocks.h"
#include "tensor/tensor.h"

namespace bm {

// The weight to encode, [rows, columns] float32, already cast, scaled and clipped.
using WeightLoader = std::function<Result<std::vector<float>>()>;

struct FourBitOptions {
  FourBitKind kind = FourBitKind::nf4;
  int64_t block = 64;
  bool double_quant = false;
  DType dtype = DType::f16;  // what decoding gives: the model's dtype, stored in quant_state
};

// Tensors of a bitsandbytes 4-bit linear. Double quantization reads the weight once here, because the
// mean of the maxima stands in quant_state, whose length is part of the file's header.
Result<std::vector<OutputTensor>> four_bit_tensors(const QuantizeTarget& target,
                                                   const FourBitOptions& options, const WeightLoader& load);
// Tensors of a bitsandbytes 8-bit linear.
std::vector<OutputTensor> int8_tensors(const QuantizeTarget& target, const WeightLoader& load);
// Tensors of a compressed-tensors linear: 4 bits packed (weight_packed, weight_scale, weight_shape), 8 bits
// as int8 (weight, weight_scale).
std::vector<OutputTensor> compressed_tensors(const QuantizeTarget& target, const CompressedGroups& options,
                                             const WeightLoader& load);
// Tensors of an AutoAWQ linear (qweight, qzeros, scales) of the given layout.
std::vector<OutputTensor> awq_tensors(const QuantizeTarget& target, AwqLayout layout,
                                      const AwqGroupOptions& options, const WeightLoader& load);

// The JSON of quant_state, as bitsandbytes writes it.
std::string quant_state_json(const FourBitOptions& options, int64_t rows, int64_t columns,
                             float nested_offset);

}  // namespace bm
