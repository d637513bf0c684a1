#include "formats/adapter.h"

#include <array>
#include <cmath>
#include <regex>

#include "base/file.h"
#include "base/threads.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

// Options that change the formula: an adapter that sets one cannot be run as plain LoRA.
constexpr std::array<const char*, 9> kUnsupported = {
    "lora_bias",    "fan_in_fan_out",          "use_qalora",
    "use_bdlora",   "alora_invocation_tokens", "layer_replication",
    "arrow_config", "target_parameters",       "trainable_token_indices"};

bool is_set(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_array() || value.is_object()) return value.size() > 0;
  return true;
}

// PEFT's get_pattern_key: the value of the first key that matches the module's name, else `otherwise`.
Result<double> by_pattern(const Json& patterns, const std::string& module, double otherwise) {
  if (!patterns.is_object()) return otherwise;
  for (const auto& [key, value] : patterns.members()) {
    if (!value.is_number()) return bad_input("pattern " + json_quote(key) + " has no number");
    try {
      if (std::regex_match(module, std::regex("(.*\\.)?(" + key + ")"))) return value.as_double();
    } catch (const std::regex_error&) {
      return bad_input("pattern " + json_quote(key) + " is no regular expression we can read");
    }
  }
  return otherwise;
}

template <class T>
void multiply(const AdapterModule& m, std::vector<T>& out) {
  out.assign(static_cast<size_t>(m.outputs * m.inputs), 0);
  const size_t inputs = static_cast<size_t>(m.inputs), rank = static_cast<size_t>(m.rank);
  parallel_chunks(static_cast<size_t>(m.outputs), 64, [&](size_t begin, size_t end) {
    for (size_t o = begin; o < end; ++o) {
      T* row = &out[o * inputs];
      for (size_t r = 0; r < rank; ++r) {
        const T factor = static_cast<T>(m.b[o * rank + r]);
        for (size_t i = 0; i < inputs; ++i) row[i] += factor * static_cast<T>(m.a[r * inputs + i]);
      }
      for (size_t i = 0; i < inputs; ++i) row[i] *= static_cast<T>(m.scale);
    }
  });
}

template <class T>
void apply(const AdapterModule& m, std::vector<T>& weight) {
  std::vector<T> delta;
  multiply(m, delta);
  const size_t inputs = static_cast<size_t>(m.inputs);
  parallel_chunks(static_cast<size_t>(m.outputs), 64, [&](size_t begin, size_t end) {
    for (size_t i = begin * inputs; i < end * inputs; ++i) weight[i] += delta[i];
    if (m.magnitude.empty()) return;
    for (size_t o = begin; o < end; ++o) {
      double squares = 0;
      for (size_t i = 0; i < inputs; ++i)
        squares += static_cast<double>(weight[o * inputs + i]) * static_cast<double>(weight[o * inputs + i]);
      const T factor = static_cast<T>(static_cast<double>(m.magnitude[o]) / std::sqrt(squares));
      for (size_t i = 0; i < inputs; ++i) weight[o * inputs + i] *= factor;
    }
  });
}

}  // namespace

bool is_adapter_folder(const std::string& path) { return exists(path_join(path, "adapter_config.json")); }

Result<Adapter> Adapter::open(const std::string& folder) {
  Adapter adapter;
  adapter.path_ = folder;
  BM_CHECK_OK(adapter.read_config().in("adapter_config.json").in(folder));
  BM_CHECK_OK(adapter.read_tensors().in(folder));
  BM_CHECK_OK(adapter.finish_modules().in(folder));
  return adapter;
}

Status Adapter::read_config() {
  BM_TRY(config_, read_json_file(path_join(path_, "adapter_config.json"), {.reject_duplicate_keys = false}));
  BM_TRY(std::string type, config_.get_string("peft_type", "LORA"));
  if (type != "LORA")
    return bad_input("peft_type " + type + " is not supported", "Supported: LORA, with rsLoRA and DoRA.");
  for (const char* key : kUnsupported)
    if (is_set(config_[key])) return bad_input("option " + std::string(key) + " is not supported");
  BM_TRY(base_name_, config_.get_string("base_model_name_or_path", ""));
  return {};
}

std::string Adapter::find_base() const {
  if (base_name_.empty()) return "";
  if (base_name_.front() != '/') {  // relative to the adapter, or to the run's folder around it
    fs::path folder = fs::absolute(path_).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();  // a slash at the end
    for (const fs::path& from : {folder, folder.parent_path()})
      if (const std::string beside = (from / base_name_).lexically_normal().string(); exists(beside))
        return beside;
  }
  return exists(base_name_) ? base_name_ : "";
}

Status Adapter::read_tensors() {
  std::string file = path_join(path_, "adapter_model.safetensors");
  if (!exists(file)) file = path_join(path_, "adapter_model.bin");
  if (!exists(file)) return bad_input("there is neither adapter_model.safetensors nor adapter_model.bin");
  if (ends_with(file, ".safetensors")) {
    BM_TRY(SafetensorsFile metadata, SafetensorsFile::open(file));
    for (const auto& [key, value] : metadata.metadata())
      if (key == "base_fingerprint") base_fingerprint_ = value;
  }
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(file));
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(StoredTensor stored, checkpoint.get(name));
    BM_CHECK_OK(read_tensor(name, stored.view).in("tensor " + name).in(path_name(file)));
  }
  return {};
}

Status Adapter::read_tensor(const std::string& name, const TensorView& view) {
  if (!starts_with(name, kPrefix))
    return bad_input("the name does not start with base_model.model.", "Is this a PEFT adapter?");
  const std::string inner = name.substr(kPrefix.size());
  int64_t first = 0;
  if (has_non_finite(view, &first))
    return bad_input("element " + std::to_string(first) + " is NaN or infinite");
  const auto part = [&](std::string_view ending) { return ends_with(inner, ending); };
  const auto module = [&](std::string_view ending) { return inner.substr(0, inner.size() - ending.size()); };
  if (part(".lora_A.weight") || part(".lora_B.weight")) {
    if (view.shape.size() != 2) return bad_input("shape " + shape_text(view.shape) + " is no matrix");
    AdapterModule& m = modules_[module(".lora_A.weight")];
    const bool is_a = part(".lora_A.weight");
    (is_a ? m.rank : m.outputs) = view.shape[0];
    if (is_a) m.inputs = view.shape[1];
    BM_TRY((is_a ? m.a : m.b), to_f32(view));
  } else if (part(".lora_magnitude_vector") || part(".lora_magnitude_vector.weight")) {
    const bool plain = part(".lora_magnitude_vector");
    BM_TRY(modules_[module(plain ? ".lora_magnitude_vector" : ".lora_magnitude_vector.weight")].magnitude,
           to_f32(view));
  } else if (inner.find("lora_") != std::string::npos) {
    return bad_input("adapters of this kind of layer are not supported",
                     "Supported: adapters of linear layers.");
  } else {
    std::string plain = inner;
    // "<module>.modules_to_save.weight" in older files, "<module>.base_layer.bias" of adapted layers
    for (const std::string marker : {".modules_to_save", ".base_layer"})
      if (const size_t at = plain.find(marker); at != std::string::npos) plain.erase(at, marker.size());
    replaced_.emplace(plain, view);
  }
  return {};
}

Status Adapter::finish_modules() {
  BM_TRY(bool rank_stabilized, config_.get_bool("use_rslora", false));
  BM_TRY(bool dora, config_.get_bool("use_dora", false));
  BM_TRY(double default_alpha, config_.get_double("lora_alpha", 8));
  BM_TRY(int64_t default_rank, config_.get_int("r", 8));
  if (modules_.empty() && replaced_.empty()) return bad_input("the adapter holds no tensors");
  for (auto& [name, m] : modules_) {
    if (m.a.empty() || m.b.empty()) return bad_input("lora_A or lora_B is missing").in(name);
    BM_TRY(double rank,
           by_pattern(config_["rank_pattern"], name, static_cast<double>(default_rank)).in("rank_pattern"));
    BM_TRY(double alpha, by_pattern(config_["alpha_pattern"], name, default_alpha).in("alpha_pattern"));
    if (static_cast<double>(m.rank) != rank || static_cast<int64_t>(m.b.size()) != m.outputs * m.rank)
      return bad_input("lora_A is of rank " + std::to_string(m.rank) + ", lora_B of rank " +
                       std::to_string(static_cast<int64_t>(m.b.size()) / m.outputs) +
                       ", adapter_config.json says " + std::to_string(static_cast<int64_t>(rank)))
          .in(name);
    if (dora != !m.magnitude.empty() || (dora && static_cast<int64_t>(m.magnitude.size()) != m.outputs))
      return bad_input(dora ? "use_dora needs a lora_magnitude_vector of one number an output"
                            : "there is a lora_magnitude_vector, but use_dora is not set")
          .in(name);
    m.scale = alpha / (rank_stabilized ? std::sqrt(rank) : rank);
  }
  return {};
}

const AdapterModule* Adapter::find(std::string_view module) const {
  const auto it = modules_.find(module);
  return it == modules_.end() ? nullptr : &it->second;
}

std::vector<float> adapter_delta(const AdapterModule& module) {
  std::vector<float> delta;
  multiply(module, delta);
  return delta;
}

void apply_adapter(const AdapterModule& module, std::vector<float>& weight) { apply(module, weight); }
void apply_adapter(const AdapterModule& module, std::vector<double>& weight) { apply(module, weight); }

}  // namespace bm
