// The quantize stage: a model folder in, a folder of a quantized format out.
//
//   nf4, fp4, int8   bitsandbytes' files: keys and bytes as transformers + bitsandbytes write them
//   awq-gemm, awq-gemv, awq-gemv-fast
//                    AutoAWQ's files; scales and clips searched on calibration text, layer by layer
//   w4a16, w8a8      compressed-tensors' files: pack-quantized 4-bit groups, int8 channels
//   rtn              AutoAWQ's GEMM files by plain rounding, without a search
//   q4_0 … q5_k_m    a GGUF file that llama.cpp runs, with --calibration weighted by the inputs' importance
//
// What is not quantized (embeddings, head, norms, linears whose sizes the format cannot hold) keeps its
// dtype, is listed in config.json where the format has a place for it, and is said aloud. Switches by
// mode: quantization/awq_options.h. docs/quantization.md has the formats and the switches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct QuantizeOptions {
  std::string model;  // folder or .gguf to quantize
  std::string out;    // folder to write
  std::string method = "awq-gemm";
  int64_t group = 128;  // inputs per scale (AWQ, rtn, w4a16)
  int64_t block = 64;   // values per maximum (nf4, fp4)
  bool double_quant = false;
  std::string dtype;              // "" = as stored
  std::vector<std::string> skip;  // modules left as they are, besides head and embeddings
  std::string search_dtype = "f32";
  bool clip = true;
  bool duo_scaling = true;
  int64_t grid = 20;
  std::string calibration;          // JSON lines (text or ids), or a corpus folder
  int64_t samples = 128;            // calibration samples
  int64_t calibration_block = 512;  // tokens
  std::string search_from;          // folder of an earlier AWQ run whose search is packed again
  std::string quality;              // text to measure the loss on
};
void describe(Fields& fields, QuantizeOptions& options);

struct SkippedModule {
  std::string name, reason;
};

struct QuantizeReport {
  std::string out;
  bool already_complete = false;
  bool dry_run = false;
  int64_t quantized = 0;                       // linears
  std::vector<SkippedModule> skipped;          // linears left as they are
  std::vector<SkippedModule> other_types;      // GGUF: tensors in another type than the method's, and why
  std::vector<std::string> unscaled;           // AWQ: scaling groups without a usable loss, with the reason
  uint64_t bytes_before = 0, bytes_after = 0;  // of weights
  uint64_t memory_need = 0;                    // estimate, bytes
  Json quality;                                // what quality.json holds; null when not asked for
  Json json() const;
};

// bad_input: unknown method, group or block size that fits no linear (the message names those that do),
// malformed model, calibration text too short, weights that are not finite (tensor and element named).
// interrupted: finished layers of a search and finished shards are kept.
Result<QuantizeReport> quantize(const QuantizeOptions& options, const CommonOptions& common);

}  // namespace bm
