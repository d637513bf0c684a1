#include "model/save.h"

#include "base/file.h"
#include "base/log.h"
#include "formats/adapter.h"
#include "formats/checkpoint.h"
#include "formats/gguf_tokenizer.h"
#include "formats/hf_folder.h"
#include "model/weight_source.h"

namespace bm {
namespace {

Json rope_scaling_json(const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::none) return {};
  if (scaling.kind == RopeScaling::Kind::linear)  // "type": the key's name before transformers 4.43
    return Json::object({{"type", "linear"}, {"rope_type", "linear"}, {"factor", scaling.factor}});
  return Json::object({{"rope_type", "llama3"},
                       {"factor", scaling.factor},
                       {"low_freq_factor", scaling.low_frequency_factor},
                       {"high_freq_factor", scaling.high_frequency_factor},
                       {"original_max_position_embeddings", scaling.original_max_positions}});
}

}  // namespace

Json portable_config(const ModelConfig& config, DType dtype) {
  Json json = config.json;
  const bool mistral = config.model_type == "mistral";
  json.set("architectures", Json::array({Json(mistral ? "MistralForCausalLM" : "LlamaForCausalLM")}));
  json.set("model_type", config.model_type);
  json.set("vocab_size", config.vocab);
  json.set("num_key_value_heads", config.kv_heads);
  json.set("head_dim", config.head_dim);
  json.set("rms_norm_eps", config.rms_epsilon);
  json.set("rope_theta", config.rope_theta);
  json.set("rope_scaling", rope_scaling_json(config.rope_scaling));
  if (mistral) json.set("sliding_window", config.sliding_window ? Json(config.sliding_window) : Json());
  json.set("tie_word_embeddings", config.tied_embeddings);
  json.set("torch_dtype", dtype_torch_name(dtype));
  if (json.contains("dtype")) json.set("dtype", dtype_torch_name(dtype));
  json.erase("quantization_config");
  return json;
}

Status save_tokenizer_files(const std::string& source, const std::string& out) {
  std::string folder = source;
  if (is_adapter_folder(source) && !has_tokenizer_files(source)) {
    BM_TRY(Adapter adapter, Adapter::open(source));
    folder = adapter.find_base();
    if (folder.empty()) return {};
  }
  if (is_directory(folder)) {
    BM_TRY(auto copied, copy_tokenizer_files(folder, out));
    if (copied.empty()) log_warning(folder + ": no tokenizer files to copy; " + out + " will need them");
    return {};
  }
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(folder));
  if (!checkpoint.is_gguf()) return {};
  const auto files = tokenizer_files_from_gguf(checkpoint.gguf_metadata());
  if (!files.ok()) {
    log_warning(out + " has no tokenizer: " + files.error().paragraph());
    return {};
  }
  BM_CHECK_OK(make_directories(out));
  for (const NamedText& file : *files)
    BM_CHECK_OK(write_file_atomic(path_join(out, file.name), file.content));
  return {};
}

Status save_model_folder(const TrainableModel& model, const std::string& source, const std::string& out,
                         DType dtype) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    return bad_input("a model cannot be saved as " + std::string(dtype_name(dtype)),
                     "Choose float32, float16 or bfloat16.");
  std::vector<OutputTensor> tensors;
  for (const Parameter& parameter : model.parameters()) {
    const TensorView view{
        DType::f32, parameter.shape, reinterpret_cast<const std::byte*>(parameter.value.data()), {}};
    tensors.push_back({{parameter.name, dtype, parameter.shape}, [view, dtype]() -> Result<TensorView> {
                         BM_TRY(Tensor converted, convert(view, dtype));
                         return converted.view();
                       }});
  }
  BM_CHECK_OK(make_directories(out));
  BM_CHECK_OK(save_tokenizer_files(source, out));
  HfFolderOptions options;
  options.resume = false;  // shards of an earlier checkpoint look the same but hold other values
  return write_hf_folder(out, portable_config(model.config(), dtype), tensors, options);
}

}  // namespace bm
