// A readable model of any container and storage into a Hugging Face folder of dense safetensors.
#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

struct ConvertOptions {
  std::string model, out;
  std::string to = "safetensors";
  std::string dtype;  // "" = as stored (block formats: float32, which holds them exactly)
  ByteSize out_shard_size{5'000'000'000};
};
void describe(Fields& fields, ConvertOptions& options);

struct ConvertReport {
  bool already_complete = false;
  uint64_t tensors = 0, bytes = 0;
};
Result<ConvertReport> convert_model(const ConvertOptions& options, const CommonOptions& common);

}  // namespace bm
