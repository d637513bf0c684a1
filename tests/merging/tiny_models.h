// Tiny random models on disk, and merges of them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "merging/architecture.h"
#include "merging/merge.h"
#include "paths.h"

namespace bm::testing {

inline std::vector<WeightName> tiny_names(int64_t layers) {
  std::vector<WeightName> names = weights_before_layers();
  for (int64_t i = 0; i < layers; ++i)
    for (const WeightName& w : weights_of_layer(i))
      if (!w.optional) names.push_back(w);
  for (const WeightName& w : weights_after_layers()) names.push_back(w);
  return names;
}

// float32, 2 layers; every matrix [rows, hidden]: the merge looks at names and shapes only.
inline void write_tiny_model(const std::string& folder, uint64_t seed, int64_t hidden = 40, int64_t rows = 24,
                             int64_t layers = 2, double drift = 1) {
  ASSERT_TRUE(make_directories(folder).ok());
  std::vector<NamedTensor> tensors;
  for (const WeightName& w : tiny_names(layers)) {
    Shape shape = w.name.find("norm") != std::string::npos ? Shape{hidden} : Shape{rows, hidden};
    Tensor t(DType::f32, shape);
    CounterRandom common(7, hash64(w.name)), own(seed, hash64(w.name));
    for (int64_t i = 0; i < t.count(); ++i)
      t.as<float>()[i] = static_cast<float>(common.normal(static_cast<uint64_t>(i)) +
                                            drift * 0.2 * own.normal(static_cast<uint64_t>(i)));
    tensors.push_back({w.name, t.view()});
  }
  ASSERT_TRUE(write_safetensors(folder + "/model.safetensors", tensors).ok());
  std::string config =
      R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 40, "num_hidden_layers": )" +
      std::to_string(layers) +
      R"(, "vocab_size": 24, "tie_word_embeddings": false, "torch_dtype": "float32"})";
  ASSERT_TRUE(write_file_atomic(folder + "/config.json", config).ok());
}

// base, a, b in one folder; merges whose YAML says ./base, ./a, ./b.
class TinyMerge {
 public:
  explicit TinyMerge(int64_t hidden = 40, int64_t rows = 24) {
    write_tiny_model(folder_.file("base"), 1, hidden, rows, 2, 0);
    write_tiny_model(folder_.file("a"), 2, hidden, rows);
    write_tiny_model(folder_.file("b"), 3, hidden, rows);
  }
  MergeOptions options(const std::string& yaml, const std::string& out) const {
    MergeOptions o;
    o.config = folder_.file(out + ".yml");
    EXPECT_TRUE(write_file_atomic(o.config, yaml).ok());
    o.out = folder_.file(out);
    for (const char* name : {"base", "a", "b"}) o.model_paths[std::string("./") + name] = folder_.file(name);
    return o;
  }
  Result<MergeReport> run(const std::string& yaml, const std::string& out,
                          const CommonOptions& common = {}) const {
    return merge(options(yaml, out), common);
  }
  std::string file(const std::string& name) const { return folder_.file(name); }
  // Bytes of a merged model's weights.
  std::string weights(const std::string& out) const {
    return *read_file(folder_.file(out) + "/model.safetensors");
  }
  std::vector<float> tensor(const std::string& model, const std::string& name) const {
    return *to_f32(*SafetensorsFile::open(folder_.file(model) + "/model.safetensors")->get(name));
  }

 private:
  TemporaryFolder folder_;
};

inline const std::string kTiesYaml =
    "models:\n- model: ./a\n  parameters: {weight: 0.6, density: 0.5}\n- model: ./b\n  parameters: {weight: "
    "0.4, density: 0.3}\n"
    "merge_method: ties\nbase_model: ./base\ndtype: float32\n";

inline std::string slerp_yaml(const std::string& t) {
  return "models:\n- model: ./base\n- model: ./a\nmerge_method: slerp\nbase_model: ./base\nparameters:\n  "
         "t: " +
         t + "\ndtype: float32\n";
}

}  // namespace bm::testing
