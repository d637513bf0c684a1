// The reference folders of golden/model (see their SOURCE.txt): one lies in the project with part of its
// files, all five in ../shared.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "paths.h"

namespace bm::testing {

inline const std::vector<std::string>& golden_models() {
  static const std::vector<std::string> all = {
      "mistral_gqa_window24_f32", "mistral_mqa_headdim16_tied_theta1e6_bf16_3shards",
      "mistral_window7_headdim32_f16", "llama3_rope_scaling_gqa_bf16", "llama_attention_and_mlp_bias_f32"};
  static const std::vector<std::string> copied = {all[1]};
  return have_shared() ? all : copied;
}

template <class T>
T take(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().paragraph());
  return std::move(result).value();
}
inline void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error().paragraph());
}

using Tensors = std::map<std::string, std::vector<double>>;

inline Tensors read_tensors(const std::string& path) {
  Tensors result;
  const SafetensorsFile file = take(SafetensorsFile::open(path));
  for (const auto& entry : file.entries()) {
    std::vector<double> values(static_cast<size_t>(element_count(entry.shape)));
    const TensorView view = file.view(entry);
    check(convert_elements(view.data, view.dtype, reinterpret_cast<std::byte*>(values.data()), DType::f64,
                           view.count()));
    result.emplace(entry.name, std::move(values));
  }
  return result;
}

inline std::vector<int32_t> int_list(const Json& json) {
  std::vector<int32_t> result;
  for (const Json& item : json.items()) result.push_back(static_cast<int32_t>(item.as_int()));
  return result;
}

struct Golden {
  explicit Golden(const std::string& name)
      : folder(have_shared() ? shared_path("golden/model/" + name)
                             : source_path("tests/parity/model/data/" + name)),
        logits(read_tensors(folder + "/logits.safetensors")),
        inputs(take(read_json_file(folder + "/inputs.json"))),
        measured(take(read_json_file(folder + "/measured_errors.json"))) {}

  std::string hf() const { return folder + "/hf"; }
  std::shared_ptr<const Model> load(Arithmetic arithmetic = Arithmetic::exact) const {
    return take(Model::load(hf(), {.arithmetic = arithmetic}));
  }
  // SOURCE.txt: 8 × the measured error of transformers' float32, over all sequences of the model.
  double logit_tolerance() const {
    double largest = 0;
    for (const auto& [name, m] : measured["logits"].members())
      largest = std::max(largest, m["max_abs_error_float32"].as_double());
    return 8 * largest;
  }
  // Sequences whose float64 logits are there.
  std::map<std::string, std::vector<int32_t>> sequences() const {
    std::map<std::string, std::vector<int32_t>> result;
    for (const auto& [name, ids] : inputs["sequences"].members())
      if (logits.contains(name + ".logits_float64")) result.emplace(name, int_list(ids));
    return result;
  }
  const std::vector<double>& expected(const std::string& sequence) const {
    return logits.at(sequence + ".logits_float64");
  }

  std::string folder;
  Tensors logits;
  Json inputs, measured;
};

inline std::vector<int64_t> all_rows(size_t n) {
  std::vector<int64_t> rows(n);
  for (size_t i = 0; i < n; ++i) rows[i] = static_cast<int64_t>(i);
  return rows;
}

// All logits [n, vocab] of one sequence through the fast path.
inline std::vector<float> fast_logits(const Model& model, const std::vector<int32_t>& tokens) {
  const std::vector<int64_t> rows = all_rows(tokens.size());
  const int64_t vocab = model.config().vocab;
  std::vector<float> result(tokens.size() * static_cast<size_t>(vocab));
  const SequenceInput input{tokens, nullptr, rows};
  check(forward(model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* logits) {
    std::copy(logits, logits + count * vocab, result.begin() + first * vocab);
  }));
  return result;
}

template <class T>
double largest_difference(const std::vector<T>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(d <= largest)) largest = d;  // NaN sticks
  }
  return largest;
}

template <class T>
double largest_entry(const std::vector<T>& a) {
  double largest = 0;
  for (T v : a) largest = std::max(largest, std::abs(static_cast<double>(v)));
  return largest;
}

// log-softmax of one row
template <class T>
std::vector<double> log_softmax(const T* logits, int64_t vocab) {
  double largest = -INFINITY, sum = 0;
  for (int64_t v = 0; v < vocab; ++v) largest = std::max(largest, static_cast<double>(logits[v]));
  for (int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(logits[v]) - largest);
  std::vector<double> result;
  for (int64_t v = 0; v < vocab; ++v)
    result.push_back(static_cast<double>(logits[v]) - largest - std::log(sum));
  return result;
}

}  // namespace bm::testing
