#include "formats/convert.h"

#include "base/file.h"
#include "base/log.h"
#include "formats/checkpoint.h"
#include "formats/hf_folder.h"

namespace bm {
namespace {

bool is_float(DType type) {
  return type == DType::f64 || type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

// The dtype a tensor is written in. Integers (packed weights of quantized folders) stay what they are.
DType target_dtype(const StoredTensor& tensor, std::optional<DType> wanted) {
  if (tensor.blocks) return wanted.value_or(DType::f32);
  return wanted && is_float(tensor.view.dtype) ? *wanted : tensor.view.dtype;
}

Result<TensorView> produce(const Checkpoint& checkpoint, const std::string& name, DType to) {
  BM_TRY(StoredTensor tensor, checkpoint.get(name));
  if (!tensor.blocks) {
    if (tensor.view.dtype == to) return tensor.view;
    BM_TRY(Tensor converted, convert(tensor.view, to));
    return converted.view();
  }
  BM_TRY(auto values, checkpoint.get_f32(name));
  Tensor dense(to, tensor.shape);
  BM_CHECK_OK(convert_elements(reinterpret_cast<const std::byte*>(values.data()), DType::f32, dense.data(),
                               to, dense.count()));
  return dense.view();
}

Result<std::optional<DType>> wanted_dtype(const ConvertOptions& options, const Checkpoint& checkpoint) {
  if (options.to == "gguf")
    return bad_input("GGUF is written by another part of the program (quantization/gguf_export.h)");
  if (options.dtype.empty()) return std::optional<DType>();
  auto dtype = dtype_from_user(options.dtype);
  if (!dtype || !is_float(*dtype))
    return bad_input("--dtype " + options.dtype + " is no float type", "f32, bf16 and f16 are");
  if (checkpoint.config()["quantization_config"].is_object())
    return bad_input("the model is quantized; its packed weights have no other dtype",
                     "decode it first: convert MODEL OUT --to safetensors --dtype bf16")
        .in(options.model);
  return std::optional<DType>(*dtype);
}

}  // namespace

void describe(Fields& fields, ConvertOptions& options) {
  fields.add("to", options.to, "container to write", {.choices = {"safetensors", "gguf"}});
  fields.add("dtype", options.dtype,
             "float type of the weights: f32, bf16, f16; default: as stored; with --to gguf also q8_0, "
             "q4_k_m, ... as in quantize --method");
  fields.add("out-shard-size", options.out_shard_size, "largest weight file", {.unit = "bytes"});
}

Result<ConvertReport> convert_model(const ConvertOptions& options, const CommonOptions& common) {
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(options.model));
  BM_TRY(auto wanted, wanted_dtype(options, checkpoint));
  std::vector<OutputTensor> tensors;
  ConvertReport report;
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(StoredTensor tensor, checkpoint.get(name));
    DType to = target_dtype(tensor, wanted);
    tensors.push_back(
        {{name, to, tensor.shape}, [&checkpoint, name, to] { return produce(checkpoint, name, to); }});
    report.bytes += tensors.back().spec.bytes();
  }
  report.tensors = tensors.size();
  if (common.dry_run) return report;
  ConvertOptions described = options;
  Fields fields;
  describe(fields, described);
  BM_TRY(StageInput input, stage_input("model", options.model));
  StageIdentity identity{"convert", fields.dump_identity(), {input}, 0, common.mode};
  BM_TRY(StageFolder stage, StageFolder::open(options.out, identity, common.overwrite));
  if (stage.state() == StageFolder::State::complete) {
    report.already_complete = true;
    return report;
  }
  Json config = checkpoint.config();
  if (config.is_object() && wanted) {
    std::string name(dtype_torch_name(*wanted));
    bool recent = config.contains("dtype");
    config.set(recent ? "dtype" : "torch_dtype", name);
  }
  HfFolderOptions folder_options;
  folder_options.shard_bytes = options.out_shard_size.bytes;
  BM_CHECK_OK(write_hf_folder(options.out, config, tensors, folder_options));
  auto copied = copy_tokenizer_files(options.model, options.out);
  if (!copied.ok()) log_warning("no tokenizer was written: " + copied.error().paragraph());
  BM_CHECK_OK(stage.finish(Json::object({{"tensors", Json(report.tensors)}, {"bytes", Json(report.bytes)}})));
  return report;
}

}  // namespace bm
