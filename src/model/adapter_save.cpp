#include "model/adapter_save.h"

#include "base/file.h"
#include "formats/safetensors.h"
#include "model/base_fingerprint.h"
#include "model/lora.h"
#include "model/save.h"
#include "model/weight_source.h"

namespace bm {
namespace {

std::string card(const std::string& base, const LoraPlan& plan) {
  return "---\nbase_model: " + base +
         "\nlibrary_name: peft\ntags:\n- lora\n---\n\n"
         "LoRA adapter, rank " +
         std::to_string(plan.options.rank) + ", made by `biomistral finetune`. " +
         std::to_string(plan.targets.size()) +
         " adapted matrices.\n\nResearch software; not a medical device, not fit for clinical use without "
         "the "
         "validation that needs.\n";
}

}  // namespace

Status save_adapter_folder(const TrainableModel& model, const std::string& out, DType dtype) {
  const LoraPlan& plan = *model.lora();
  BM_CHECK_OK(make_directories(out));
  std::vector<Tensor> kept;
  std::vector<NamedTensor> tensors;
  for (const Parameter& parameter : model.parameters()) {
    const TensorView view{
        DType::f32, parameter.shape, reinterpret_cast<const std::byte*>(parameter.value.data()), {}};
    BM_TRY(Tensor converted, convert(view, dtype));
    tensors.push_back({"base_model.model." + parameter.name, converted.view()});
    kept.push_back(std::move(converted));
  }
  const SafetensorsMetadata metadata = {{kBaseFingerprintKey, model.base_fingerprint()}, {"format", "pt"}};
  BM_CHECK_OK(write_safetensors(path_join(out, "adapter_model.safetensors"), tensors, metadata));
  const std::string base = fs::absolute(model.base_path()).lexically_normal().string();
  BM_CHECK_OK(write_file_atomic(path_join(out, "adapter_config.json"),
                                adapter_config_json(plan, base).dump_pretty() + "\n"));
  BM_CHECK_OK(write_file_atomic(path_join(out, "README.md"), card(base, plan)));
  return save_tokenizer_files(model.base_path(), out);
}

}  // namespace bm
