#include "merging/models.h"

#include "base/file.h"
#include "merging/architecture.h"

namespace bm {
namespace {

const std::string& mapped(const std::map<std::string, std::string>& paths, const std::string& name) {
  auto found = paths.find(name);
  return found == paths.end() ? name : found->second;
}

}  // namespace

Result<LoadedModel> LoadedModel::open(
    const ModelReference& reference, const std::map<std::string, std::string>& paths,
    const std::map<std::string, std::shared_ptr<const PlannedModel>>& planned) {
  LoadedModel out;
  out.reference = reference;
  if (!reference.revision.empty())
    return bad_input("\"" + reference.text + "\": a revision needs the Hub, local folders have none",
                     "Give the folder alone.");
  if (auto found = planned.find(reference.path); found != planned.end()) {
    if (!reference.adapter.empty())
      return bad_input(
          "\"" + reference.text + "\": an adapter on a model that is not made yet cannot be planned",
          "Merge the first configurations, then the rest.");
    out.planned_ = found->second;
  } else {
    out.path = paths.contains(reference.text) ? paths.at(reference.text) : mapped(paths, reference.path);
    BM_CHECK_OK(out.open_folder(reference.adapter.empty() ? "" : mapped(paths, reference.adapter)));
  }
  BM_CHECK_OK(check_merge_architecture(out.config()).in(out.path));
  BM_TRY(out.layers, out.config().get_int("num_hidden_layers").in("config.json").in(out.path));
  return out;
}

Status LoadedModel::open_folder(const std::string& adapter) {
  if (!exists(path))
    return bad_input("model \"" + reference.text + "\" not found: there is no folder " + path,
                     "Paths are relative to the working directory; nothing is downloaded.");
  std::string adapter_folder = adapter;
  if (is_adapter_folder(path) &&
      !exists(path_join(path, "config.json"))) {  // an adapter stands for base and adapter
    if (!adapter.empty())
      return bad_input("\"" + reference.text + "\": the model is itself an adapter",
                       "Merge that one into its base first.");
    adapter_folder = path;
  }
  if (!adapter_folder.empty()) {
    if (!exists(adapter_folder))
      return bad_input(
          "adapter of \"" + reference.text + "\" not found: there is no folder " + adapter_folder,
          "A reference is \"model+adapter\", both folders.");
    BM_TRY(Adapter opened, Adapter::open(adapter_folder));
    adapter_ = std::make_shared<const Adapter>(std::move(opened));
  }
  if (adapter_folder == path && adapter_) {
    path = adapter_->find_base();
    if (path.empty())
      return bad_input("the base of this adapter (" + adapter_->base_name() + ") is not there",
                       "Name it: \"model+adapter\".")
          .in(adapter_folder);
  }
  BM_TRY(checkpoint_, Checkpoint::open(path));
  return adapter_ ? check_adapter() : Status();
}

Status LoadedModel::check_adapter() const {
  for (const auto& [module, change] : adapter_->modules()) {
    std::string name = module + ".weight";
    if (!checkpoint_.contains(name))
      return bad_input("the base model has no " + name, "Is this the adapter's base?").in(adapter_->path());
    BM_TRY(StoredTensor stored, checkpoint_.get(name).in(path));
    if (stored.shape != Shape{change.outputs, change.inputs})
      return bad_input("the adapter is for a matrix " + shape_text({change.outputs, change.inputs}) +
                           ", the base holds " + shape_text(stored.shape),
                       "Is this the adapter's base?")
          .in("module " + module)
          .in(adapter_->path());
  }
  return {};
}

const Json& LoadedModel::config() const { return planned_ ? planned_->config : checkpoint_.config(); }

bool LoadedModel::contains(std::string_view name) const {
  if (planned_) return planned_->weights.find(name) != planned_->weights.end();
  return checkpoint_.contains(name) ||
         (adapter_ && adapter_->replaced().find(name) != adapter_->replaced().end());
}

const AdapterModule* LoadedModel::change(std::string_view name) const {
  constexpr std::string_view ending = ".weight";
  if (!adapter_ || name.size() <= ending.size() || name.substr(name.size() - ending.size()) != ending)
    return nullptr;
  return adapter_->find(name.substr(0, name.size() - ending.size()));
}

Result<WeightInfo> LoadedModel::info(std::string_view name) const {
  if (planned_) return planned_->weights.find(name)->second;
  WeightInfo out;
  if (adapter_)
    if (auto found = adapter_->replaced().find(name); found != adapter_->replaced().end()) {
      out = {found->second.shape, found->second.dtype, false, std::string(dtype_name(found->second.dtype)),
             found->second.bytes()};
      return out;
    }
  BM_TRY(StoredTensor stored, checkpoint_.get(name).in(path));
  DType dtype = stored.view.dtype;
  bool is_float = dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
  out.shape = stored.shape;
  out.dtype = dtype;
  out.quantized = stored.blocks.has_value() || !is_float;
  out.type = stored.blocks ? "GGUF blocks" : std::string(dtype_name(dtype));
  out.bytes = stored.view.bytes();
  return out;
}

Result<Source> LoadedModel::source(std::string_view name, Rounding load, bool round_adapted) const {
  if (planned_) return failed("the model is only planned").in(reference.text);
  if (adapter_)
    if (auto found = adapter_->replaced().find(name); found != adapter_->replaced().end())
      return Source(found->second, load);
  BM_TRY(StoredTensor stored, checkpoint_.get(name).in(path));
  const AdapterModule* module = change(name);
  if (!module) return Source(stored.view, load, !checkpoint_.is_gguf());
  BM_TRY(std::vector<float> read, to_f32(stored.view));
  auto values = std::make_shared<std::vector<float>>(std::move(read));
  apply_adapter(*module, *values);
  if (round_adapted)
    round_values(rounding_of(stored.view.dtype), static_cast<int64_t>(values->size()), values->data());
  return Source(
      TensorView{DType::f32, stored.shape, reinterpret_cast<const std::byte*>(values->data()), values}, load);
}

std::vector<std::string> LoadedModel::folders() const {
  if (planned_) return {};
  std::vector<std::string> out = {path};
  if (adapter_) out.push_back(adapter_->path());
  return out;
}

}  // namespace bm
