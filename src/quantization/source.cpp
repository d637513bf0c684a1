#include "quantization/source.h"

#include <cmath>

#include "base/file.h"
#include "model/quantized_linear.h"

namespace bm {
namespace {

bool is_plain_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace

Status check_finite(const std::vector<float>& values, const WeightSpec& spec) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    auto index = static_cast<int64_t>(i);
    std::string place = spec.shape.size() == 2 ? "[" + std::to_string(index / spec.shape[1]) + ", " +
                                                     std::to_string(index % spec.shape[1]) + "]"
                                               : "[" + std::to_string(index) + "]";
    return bad_input("element " + place + " is " + (std::isnan(values[i]) ? "NaN" : "infinite"),
                     "repair the model, or leave the module out with --skip " + spec.module)
        .in("tensor " + spec.name);
  }
  return {};
}

Result<QuantizeSource> QuantizeSource::open(const std::string& path, const std::string& dtype) {
  QuantizeSource source;
  source.path_ = path;
  if (!dtype.empty()) {
    source.cast_ = dtype_from_user(dtype);
    if (!source.cast_ || !is_plain_float(*source.cast_))
      return bad_input("--dtype " + dtype + " is none of f32, f16, bf16");
  }
  if (exists(path_join(path, "adapter_config.json")))
    return bad_input("this is an adapter folder",
                     "merge it first: biomistral merge adapter MODEL ADAPTER OUT")
        .in(path);
  BM_TRY(auto checkpoint, Checkpoint::open(path));
  BM_TRY(auto config, parse_model_config(checkpoint.config()).in(path));
  BM_CHECK_OK(check_quantization_config(config.quantization).in(path));
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(auto stored, checkpoint.get(name));
    source.stored_bytes_ += stored.view.bytes();
  }
  BM_TRY(auto weights, WeightSource::open(std::move(checkpoint), std::move(config), std::nullopt));
  source.weights_ = std::make_shared<const WeightSource>(std::move(weights));
  return source;
}

Result<DType> QuantizeSource::dtype_of(const WeightSpec& spec) const {
  if (cast_) return *cast_;
  const Checkpoint& checkpoint = weights_->checkpoint();
  if (!checkpoint.contains(spec.name) || is_quantized_module(checkpoint, spec.module)) return DType::f32;
  BM_TRY(auto stored, checkpoint.get(spec.name));
  return !stored.blocks && is_plain_float(stored.view.dtype) ? stored.view.dtype : DType::f32;
}

Result<TensorView> QuantizeSource::plain(const WeightSpec& spec) const {
  BM_TRY(auto view, weights_->get(spec));
  BM_TRY(auto dtype, dtype_of(spec));
  if (view.dtype == dtype) return view;
  BM_TRY(auto converted, convert(view, dtype));
  return converted.view();
}

Result<std::vector<float>> QuantizeSource::values(const WeightSpec& spec) const {
  BM_TRY(auto view, plain(spec));
  BM_TRY(auto values, to_f32(view));
  BM_CHECK_OK(check_finite(values, spec).in(path_));
  return values;
}

}  // namespace bm
