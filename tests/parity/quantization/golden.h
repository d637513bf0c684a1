// Outputs of AutoAWQ 0.2.9, bitsandbytes 0.50.2 and compressed-tensors (golden/quantization): the small
// files lie beside the tests, the rest are used when ../shared is there.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "paths.h"
#include "tensor/tensor.h"

namespace bm::testing {

// Path of a golden, "" when it is only in ../shared and that is not here.
inline std::string golden_path(const std::string& name) {
  std::string inside = source_path("tests/parity/quantization/data/" + name);
  if (std::filesystem::exists(inside)) return inside;
  std::string outside = shared_path("golden/quantization/" + name);
  return std::filesystem::exists(outside) ? outside : "";
}

// Those of the names that are here; the test is skipped when none is.
inline std::vector<std::string> present(const std::vector<std::string>& names) {
  std::vector<std::string> found;
  for (const std::string& name : names)
    if (!golden_path(name).empty()) found.push_back(name);
  return found;
}

struct GoldenFile {
  SafetensorsFile file;

  static GoldenFile open(const std::string& name) {
    auto file = SafetensorsFile::open(golden_path(name));
    if (!file) throw std::runtime_error(file.error().paragraph());  // a broken golden is no test result
    return {*file};
  }
  bool has(const std::string& name) const { return file.find(name) != nullptr; }
  TensorView view(const std::string& name) const {
    auto tensor = file.get(name);
    if (!tensor) throw std::runtime_error(tensor.error().paragraph());
    return *tensor;
  }
  std::vector<float> f32(const std::string& name) const {
    auto values = to_f32(view(name));
    if (!values) throw std::runtime_error(values.error().paragraph());
    return *values;
  }
  template <class T>
  std::vector<T> values(const std::string& name) const {
    TensorView v = view(name);
    std::vector<T> out(static_cast<size_t>(v.count()));
    if (sizeof(T) * out.size() != v.bytes()) throw std::runtime_error(name + ": unexpected element size");
    std::memcpy(out.data(), v.data, v.bytes());
    return out;
  }
  std::string metadata(const std::string& key) const {
    for (const auto& [name, value] : file.metadata())
      if (name == key) return value;
    return {};
  }
};

// Number of elements that differ in bits.
template <class T>
size_t differing(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return a.size() + b.size() + 1;
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(T)) != 0 ? 1 : 0;
  return count;
}

}  // namespace bm::testing
