// A model as one GGUF file that llama.cpp runs: metadata, tokenizer, tensors in its names and row order.
// Source: llama.cpp's convert_hf_to_gguf.py and gguf-py constants; semantics.md part 0, item 31.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/convert.h"
#include "quantization/gguf_types.h"
#include "quantization/quantize.h"
#include "quantization/source.h"

namespace bm {

// Mean square of each input of a linear over calibration text, by module; empty: all inputs alike.
using ImportanceMatrix = std::map<std::string, std::vector<float>>;

struct GgufPlan {
  const QuantizeSource& source;
  GgufMix mix;
  std::vector<std::string> skip;  // --skip: modules kept in float16 (or as the mix's dense type)
  const ImportanceMatrix* importance = nullptr;
};

struct GgufContent {
  GgufKeys keys;
  std::vector<GgufOutputTensor> tensors;
  std::vector<SkippedModule> other_types;  // tensors that another type was taken for, with the reason
  int64_t quantized = 0;                   // matrices in block types
  uint64_t bytes = 0;
};

// The parts of the file; the tensors' values are made when they are asked for. `source` and `importance` must
// outlive them. bad_input: no tokenizer, biases or rope scaling GGUF has no place for, --skip of nothing.
Result<GgufContent> gguf_content(const GgufPlan& plan);

// Encodes rows of `columns` values in a type; importance: [columns] or empty. bad_input: a value beyond
// float16, in which these formats keep their scales.
Result<TensorView> encode_gguf_rows(const std::vector<float>& values, int64_t columns, const GgufType& type,
                                    std::span<const float> importance);

// quantize --method q4_k_m and the like: OUT.gguf, or a folder with model.gguf.
Result<QuantizeReport> quantize_gguf(const QuantizeOptions& options, const CommonOptions& common);
// convert --to gguf; other containers go to formats/convert.h.
Result<ConvertReport> convert_any(const ConvertOptions& options, const CommonOptions& common);

}  // namespace bm
