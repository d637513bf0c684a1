// Reading golden/merge and comparing merges with it, each case by its own tolerance.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/stage.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "merging/merge.h"
#include "paths.h"

namespace bm::testing {

// Values of a tensor as doubles, with the type they are stored in.
struct GoldenTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<double> values;
};
using GoldenTensors = std::map<std::string, GoldenTensor>;

inline GoldenTensor golden_tensor(const TensorView& view) {
  GoldenTensor out{view.dtype, view.shape, {}};
  if (view.dtype == DType::u8) {
    for (std::byte b : view.span()) out.values.push_back(static_cast<double>(b));
    return out;
  }
  auto converted = convert(view, DType::f64);
  EXPECT_TRUE(converted.ok());
  const double* values = converted->as<double>();
  out.values.assign(values, values + converted->count());
  return out;
}

// All tensors of a folder's shards, or of one file; empty when there is none.
inline GoldenTensors load_golden(const std::string& path) {
  GoldenTensors out;
  if (!exists(path)) return out;
  if (is_directory(path)) {
    auto checkpoint = Checkpoint::open(path);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().paragraph();
    if (!checkpoint.ok()) return out;
    for (const std::string& name : checkpoint->names())
      out[name] = golden_tensor(checkpoint->get(name)->view);
    return out;
  }
  auto file = SafetensorsFile::open(path);
  EXPECT_TRUE(file.ok()) << file.error().paragraph();
  for (const auto& entry : file->entries()) out[entry.name] = golden_tensor(file->view(entry));
  return out;
}

// Names in the goldens' configurations → folders.
inline std::map<std::string, std::string> golden_inputs(const std::string& root) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::directory_iterator(root + "/inputs"))
    if (entry.is_directory()) out["./inputs/" + entry.path().filename().string()] = entry.path().string();
  return out;
}

// The case's command line turned into options.
inline MergeOptions golden_options(const std::string& root, const std::string& config,
                                   const std::string& command, const std::string& out) {
  MergeOptions options;
  options.config = root + "/" + config;
  options.out = out;
  options.model_paths = golden_inputs(root);
  std::vector<std::string> words = split(command, ' ');
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--random-seed") options.random_seed = std::stoll(words[i + 1]);
    if (words[i] == "--out-shard-size") options.out_shard_size = words[i + 1];
    if (words[i] == "--no-copy-tokenizer") options.copy_tokenizer = false;
    if (words[i] == "--no-write-model-card") options.write_model_card = false;
    if (words[i] == "--unsafe-truncate-embeddings") options.unsafe_truncate_embeddings = true;
    if (words[i] == "--lazy-unpickle") options.lazy_unpickle = true;
  }
  return options;
}

inline double ulp_of(double x, DType type) {
  int bits = type == DType::bf16 ? 7 : type == DType::f16 ? 10 : 23;
  double least = type == DType::f16 ? std::ldexp(1.0, -14) : std::ldexp(1.0, -126);
  return std::ldexp(1.0, std::ilogb(std::max(std::abs(x), least)) - bits);
}

inline bool same_value(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// The number that follows `before` in a tolerance's text.
inline double number_after(const std::string& text, const std::string& before) {
  size_t at = text.find(before);
  return at == std::string::npos ? -1 : std::stod(text.substr(at + before.size()));
}

}  // namespace bm::testing
