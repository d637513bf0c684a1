#include "model/merge_adapter.h"

#include <algorithm>

#include "base/file.h"
#include "formats/hf_folder.h"
#include "model/model.h"
#include "model/save.h"
#include "model/weight_source.h"

namespace bm {
namespace {

class Merger {
 public:
  Merger(const WeightSource& base, const Adapter& adapter, const MergeAdapterOptions& options,
         std::optional<DType> dtype)
      : base_(base), adapter_(adapter), options_(options), dtype_(dtype) {}

  Result<DType> output_dtype(const WeightSpec& spec) const {
    if (dtype_) return *dtype_;
    BM_TRY(TensorView stored, stored_view(spec));
    return stored.data ? stored.dtype : DType::bf16;
  }

  Result<TensorView> produce(const WeightSpec& spec, DType dtype) const {
    if (const auto it = adapter_.replaced().find(spec.name); it != adapter_.replaced().end())
      return rounded(it->second, dtype);
    const AdapterModule* change = spec.linear ? adapter_.find(spec.module) : nullptr;
    BM_TRY(TensorView weight, base_.get(spec));
    if (!change) return rounded(weight, dtype);
    BM_TRY(auto values, to_f32(weight));
    if (options_.safe_merge && change->magnitude.empty()) {
      add_rounded(adapter_delta(*change), values, dtype);
    } else {
      apply_adapter(*change, values);
    }
    const Tensor wide =
        Tensor::copy_of({DType::f32, spec.shape, reinterpret_cast<const std::byte*>(values.data()), {}});
    BM_TRY(TensorView result, rounded(wide.view(), dtype));
    int64_t first = 0;
    if (has_non_finite(result, &first))
      return bad_input("element " + std::to_string(first) + " of the merged tensor is NaN or infinite",
                       "The adapter is damaged, or its values do not fit " +
                           std::string(dtype_torch_name(dtype)) + ".")
          .in("tensor " + spec.name);
    return result;
  }

 private:
  // The dense stored tensor; no data when the base holds it quantized.
  Result<TensorView> stored_view(const WeightSpec& spec) const {
    if (!base_.checkpoint().contains(spec.name)) return TensorView{};
    BM_TRY(StoredTensor stored, base_.checkpoint().get(spec.name));
    const DType d = stored.view.dtype;
    if (stored.blocks || stored.shape != spec.shape ||
        (d != DType::f32 && d != DType::f16 && d != DType::bf16))
      return TensorView{};
    return stored.view;
  }

  static Result<TensorView> rounded(const TensorView& view, DType dtype) {
    if (view.dtype == dtype) return view;
    BM_TRY(Tensor converted, convert(view, dtype));
    return converted.view();
  }

  // W + round(δ); the sum is rounded when it is stored.
  static void add_rounded(const std::vector<float>& delta, std::vector<float>& values, DType dtype) {
    for (size_t i = 0; i < values.size(); ++i) {
      const float d = dtype == DType::bf16  ? round_to_bf16(delta[i])
                      : dtype == DType::f16 ? round_to_f16(delta[i])
                                            : delta[i];
      values[i] += d;
    }
  }

  const WeightSource& base_;
  const Adapter& adapter_;
  const MergeAdapterOptions& options_;
  std::optional<DType> dtype_;
};

}  // namespace

void describe(Fields& f, MergeAdapterOptions& o) {
  f.add("dtype", o.dtype, "of the output; default: each tensor as the base stores it",
        {.choices = {"", "float32", "float16", "bfloat16", "f32", "f16", "bf16"}});
  f.add("safe-merge", o.safe_merge,
        "round the adapter's product before it is added, as PEFT's safe_merge does");
  f.add("out-shard-size", o.shard_size, "largest shard", {.unit = "bytes"});
}

namespace {

// Everything that can be refused is refused here, before a folder is touched.
struct Plan {
  Adapter adapter;
  WeightSource source;  // of the base
  std::optional<DType> dtype;
  std::vector<WeightSpec> specs;
  std::vector<DType> dtypes;
  MergeAdapterReport report;
};

Result<std::unique_ptr<Plan>> make_plan(const std::string& model, const std::string& adapter_path,
                                        const MergeAdapterOptions& options) {
  std::optional<DType> dtype;
  if (!options.dtype.empty()) {
    dtype = dtype_from_user(options.dtype);
    if (!dtype || (*dtype != DType::f32 && *dtype != DType::f16 && *dtype != DType::bf16))
      return bad_input("dtype " + json_quote(options.dtype) + " is not one to merge into",
                       "Choose float32, float16 or bfloat16.");
  }
  BM_TRY(Adapter adapter, Adapter::open(adapter_path));
  BM_TRY(OpenedModel opened, open_model(model));
  if (opened.source.adapter())
    return bad_input("the base is itself an adapter", "Merge that one first.").in(model);
  BM_TRY(WeightSource fitted, WeightSource::open(opened.source.checkpoint(), opened.source.config(),
                                                 adapter));  // names and shapes
  auto plan = std::make_unique<Plan>(Plan{std::move(adapter), std::move(opened.source), dtype, {}, {}, {}});
  plan->specs = expected_weights(plan->source.config());
  const Merger merger(plan->source, plan->adapter, options, dtype);
  MergeAdapterReport& report = plan->report;
  for (const WeightSpec& spec : plan->specs) {
    BM_TRY(DType d, merger.output_dtype(spec));
    plan->dtypes.push_back(d);
    const bool replaced = plan->adapter.replaced().contains(spec.name);
    const bool merged = spec.linear && plan->adapter.find(spec.module);
    (replaced ? report.replaced : merged ? report.merged : report.copied)++;
    report.bytes += TensorSpec{spec.name, d, spec.shape}.bytes();
  }
  return plan;
}

}  // namespace

Result<MergeAdapterReport> plan_merge_adapter(const std::string& model, const std::string& adapter,
                                              const MergeAdapterOptions& options) {
  BM_TRY(auto plan, make_plan(model, adapter, options));
  return plan->report;
}

Result<MergeAdapterReport> merge_adapter(const std::string& model, const std::string& adapter_path,
                                         const std::string& out, const MergeAdapterOptions& options) {
  BM_TRY(auto plan, make_plan(model, adapter_path, options));
  const Merger merger(plan->source, plan->adapter, options, plan->dtype);
  const std::vector<DType>& dtypes = plan->dtypes;
  std::vector<OutputTensor> tensors;
  for (size_t i = 0; i < plan->specs.size(); ++i) {
    const WeightSpec& spec = plan->specs[i];
    tensors.push_back({{spec.name, dtypes[i], spec.shape},
                       [&merger, &spec, d = dtypes[i]] { return merger.produce(spec, d); }});
  }
  BM_CHECK_OK(make_directories(out));
  BM_CHECK_OK(save_tokenizer_files(has_tokenizer_files(adapter_path) ? adapter_path : model, out));
  HfFolderOptions folder;
  folder.shard_bytes = options.shard_size.bytes;
  folder.resume = false;
  folder.progress_label = "merging adapter";
  // config.json names the dtype most tensors have.
  const auto most = std::max_element(dtypes.begin(), dtypes.end(), [&](DType a, DType b) {
    return std::count(dtypes.begin(), dtypes.end(), a) < std::count(dtypes.begin(), dtypes.end(), b);
  });
  BM_CHECK_OK(write_hf_folder(out, portable_config(plan->source.config(), *most), tensors, folder));
  return plan->report;
}

}  // namespace bm
