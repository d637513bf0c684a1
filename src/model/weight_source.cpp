#include "model/weight_source.h"

#include <algorithm>
#include <cassert>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "model/base_fingerprint.h"
#include "model/quantized_linear.h"

namespace bm {
namespace {

void add_linear(std::vector<WeightSpec>& out, const std::string& module, int64_t rows, int64_t columns,
                bool bias) {
  out.push_back({module + ".weight", {rows, columns}, module, true});
  if (bias) out.push_back({module + ".bias", {rows}, module, false});
}

void add_layer(std::vector<WeightSpec>& out, const ModelConfig& c, const std::string& prefix) {
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  add_linear(out, attention + "q_proj", c.q_width(), c.hidden, c.attention_bias);
  add_linear(out, attention + "k_proj", c.kv_width(), c.hidden, c.attention_bias);
  add_linear(out, attention + "v_proj", c.kv_width(), c.hidden, c.attention_bias);
  add_linear(out, attention + "o_proj", c.hidden, c.q_width(), c.attention_bias);
  add_linear(out, mlp + "gate_proj", c.intermediate, c.hidden, c.mlp_bias);
  add_linear(out, mlp + "up_proj", c.intermediate, c.hidden, c.mlp_bias);
  add_linear(out, mlp + "down_proj", c.hidden, c.intermediate, c.mlp_bias);
  out.push_back({prefix + "input_layernorm.weight", {c.hidden}, prefix + "input_layernorm", false});
  out.push_back(
      {prefix + "post_attention_layernorm.weight", {c.hidden}, prefix + "post_attention_layernorm", false});
}

bool is_plain_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

// Index of the first NaN or infinity, -1 when there is none; pieces of a large tensor in parallel.
int64_t first_non_finite_element(const TensorView& view) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  const int64_t count = view.count(), bytes = static_cast<int64_t>(dtype_bits(view.dtype) / 8);
  std::vector<int64_t> found(static_cast<size_t>((count + kPiece - 1) / kPiece), -1);
  parallel_for(found.size(), [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kPiece;
    int64_t first = 0;
    if (has_non_finite({view.dtype, {std::min(kPiece, count - begin)}, view.data + begin * bytes, {}},
                       &first))
      found[i] = begin + first;
  });
  for (int64_t index : found)
    if (index >= 0) return index;
  return -1;
}

Error shape_error(const WeightSpec& spec, const Shape& found) {
  const bool table = spec.module == "model.embed_tokens" || spec.module == "lm_head";
  if (table && found.size() == 2 && found[1] == spec.shape[1])
    return bad_input("config.json's vocab_size is " + std::to_string(spec.shape[0]) + ", but there are " +
                         std::to_string(found[0]) + " rows",
                     "Set vocab_size to the number of rows the weights have.");
  std::string cure = "config.json and the weights do not belong together.";
  if (found.size() == 2 && spec.shape.size() == 2 && found[0] == spec.shape[1] && found[1] == spec.shape[0])
    cure = "The matrix is transposed: weights must be stored as [outputs, inputs].";
  return bad_input("shape " + shape_text(found) + " where the configuration needs " + shape_text(spec.shape),
                   cure);
}

}  // namespace

std::vector<WeightSpec> expected_weights(const ModelConfig& config) {
  std::vector<WeightSpec> result;
  result.push_back({"model.embed_tokens.weight", {config.vocab, config.hidden}, "model.embed_tokens", false});
  for (int64_t layer = 0; layer < config.layers; ++layer)
    add_layer(result, config, "model.layers." + std::to_string(layer) + ".");
  result.push_back({"model.norm.weight", {config.hidden}, "model.norm", false});
  if (!config.tied_embeddings)
    result.push_back({"lm_head.weight", {config.vocab, config.hidden}, "lm_head", false});
  return result;
}

Result<WeightSource> WeightSource::open(Checkpoint checkpoint, ModelConfig config,
                                        std::optional<Adapter> adapter) {
  WeightSource source;
  source.checkpoint_ = std::move(checkpoint);
  source.config_ = std::move(config);
  source.adapter_ = std::move(adapter);
  BM_CHECK_OK(check_quantization_config(source.config_.quantization).in(source.checkpoint_.path()));
  BM_CHECK_OK(source.check());
  return source;
}

Status WeightSource::check() const {
  const std::vector<WeightSpec> specs = expected_weights(config_);
  for (const WeightSpec& spec : specs) {
    BM_CHECK_OK(check_shape(spec).in("tensor " + spec.name).in(checkpoint_.path()));
    const std::string bias = spec.module + ".bias";
    const bool wanted =
        spec.module.find(".mlp.") == std::string::npos ? config_.attention_bias : config_.mlp_bias;
    if (spec.linear && !wanted && checkpoint_.contains(bias))
      return bad_input("there is a bias, but the configuration has none",
                       "Supported: Llama with attention_bias and mlp_bias set.")
          .in("tensor " + bias)
          .in(checkpoint_.path());
  }
  if (!adapter_) return {};
  const auto find = [&](const std::string& name) {
    return std::find_if(specs.begin(), specs.end(),
                        [&](const WeightSpec& spec) { return spec.name == name; });
  };
  for (const auto& [module, change] : adapter_->modules()) {
    const auto spec = find(module + ".weight");
    if (spec == specs.end() || !spec->linear)
      return bad_input("the base model has no such linear layer", "Is this the adapter's base?")
          .in(module)
          .in(adapter_->path());
    if (change.outputs != spec->shape[0] || change.inputs != spec->shape[1])
      return bad_input("the adapter is for a matrix " + shape_text({change.outputs, change.inputs}) +
                           ", the base has " + shape_text(spec->shape),
                       "Is this the adapter's base?")
          .in(module)
          .in(adapter_->path());
  }
  for (const auto& [name, view] : adapter_->replaced()) {
    const auto spec = find(name);
    if (spec == specs.end() || view.shape != spec->shape)
      return bad_input("the base model has no such tensor of shape " + shape_text(view.shape),
                       "Is this the adapter's base?")
          .in("tensor " + name)
          .in(adapter_->path());
  }
  return {};
}

Status WeightSource::check_shape(const WeightSpec& spec) const {
  if (spec.linear && is_quantized_module(checkpoint_, spec.module)) return {};  // checked when it is decoded
  if (!checkpoint_.contains(spec.name)) {
    if (spec.name == "lm_head.weight")
      return bad_input("it is missing",
                       "If the head shares the embedding, config.json must say tie_word_embeddings: true.");
    return bad_input("it is missing",
                     "The folder does not hold the whole model, or config.json is of another one.");
  }
  BM_TRY(StoredTensor stored, checkpoint_.get(spec.name));
  if (stored.shape != spec.shape) return shape_error(spec, stored.shape);
  if (!stored.blocks && !is_plain_float(stored.view.dtype) && stored.view.dtype != DType::f64)
    return bad_input("dtype " + std::string(dtype_name(stored.view.dtype)) + " is not one a weight can have",
                     "Supported: F64, F32, F16, BF16, GGUF blocks, AWQ and bitsandbytes modules.");
  return {};
}

Result<std::vector<float>> WeightSource::base_f32(const WeightSpec& spec) const {
  if (spec.linear && is_quantized_module(checkpoint_, spec.module)) {
    BM_TRY(LinearF32 linear, load_quantized_linear(checkpoint_, spec.module, config_.quantization,
                                                   spec.shape[0], spec.shape[1]));
    return std::move(linear.weight);
  }
  return checkpoint_.get_f32(spec.name);
}

Result<TensorView> WeightSource::get(const WeightSpec& spec) const {
  const AdapterModule* change = adapter_ && spec.linear ? adapter_->find(spec.module) : nullptr;
  TensorView view;
  if (adapter_ && adapter_->replaced().contains(spec.name)) {
    view = adapter_->replaced().find(spec.name)->second;
  } else if (!change && checkpoint_.contains(spec.name)) {
    BM_TRY(StoredTensor stored, checkpoint_.get(spec.name));
    if (!stored.blocks) view = stored.view;
  }
  if (!view.data || view.shape != spec.shape || !is_plain_float(view.dtype)) {
    BM_TRY(auto values, base_f32(spec));
    if (change) apply_adapter(*change, values);
    auto owner = std::make_shared<std::vector<float>>(std::move(values));
    view = TensorView{DType::f32, spec.shape, reinterpret_cast<const std::byte*>(owner->data()), owner};
  }
  if (const int64_t first = first_non_finite_element(view); first >= 0)
    return bad_input("element " + std::to_string(first) + " is NaN or infinite", "The weights are damaged.")
        .in("tensor " + spec.name)
        .in(checkpoint_.path());
  return view;
}

Result<std::optional<QuantizedRows>> WeightSource::codes(const WeightSpec& spec) const {
  std::optional<QuantizedRows> rows;
  if (adapter_ && (adapter_->replaced().contains(spec.name) || (spec.linear && adapter_->find(spec.module))))
    return rows;
  if (spec.linear && is_quantized_module(checkpoint_, spec.module)) {
    BM_TRY(rows,
           load_quantized_rows(checkpoint_, spec.module, config_.quantization, spec.shape[0], spec.shape[1])
               .in(checkpoint_.path()));
  } else {
    BM_TRY(StoredTensor stored, checkpoint_.get(spec.name));
    if (stored.blocks) rows = block_rows(stored, spec.shape[0], spec.shape[1]);
  }
  if (rows && !QuantizedWeights::misfit(rows->form).empty()) rows.reset();
  return rows;
}

Result<std::vector<double>> WeightSource::f64(std::string_view name) const {
  const std::vector<WeightSpec> specs = expected_weights(config_);
  const auto spec =
      std::find_if(specs.begin(), specs.end(), [&](const WeightSpec& s) { return s.name == name; });
  if (spec == specs.end()) return bad_input("the model has no tensor " + std::string(name));
  std::vector<double> result;
  if (adapter_ && adapter_->replaced().contains(name)) {
    BM_TRY(auto values, to_f32(adapter_->replaced().find(name)->second));
    result.assign(values.begin(), values.end());
  } else {
    BM_TRY(auto values, base_f32(*spec));
    result.assign(values.begin(), values.end());
  }
  if (const AdapterModule* change = adapter_ && spec->linear ? adapter_->find(spec->module) : nullptr)
    apply_adapter(*change, result);
  return result;
}

bool has_tokenizer_files(const std::string& folder) {
  return exists(path_join(folder, "tokenizer.json")) || exists(path_join(folder, "tokenizer.model"));
}

Result<OpenedModel> open_model(const std::string& path, const std::string& base_option) {
  std::optional<Adapter> adapter;
  std::string base = path;
  if (is_adapter_folder(path)) {
    BM_TRY(adapter, Adapter::open(path));
    base = base_option.empty() ? adapter->find_base() : base_option;
    if (base.empty())
      return bad_input("the adapter's base model " + json_quote(adapter->base_name()) + " is not there",
                       "Give the base model's folder with --base.")
          .in(path);
  }
  if (!exists(base)) return bad_input("there is no such file or folder").in(base);
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(base));
  const std::string config_path = checkpoint.is_gguf() ? base : path_join(base, "config.json");
  if (checkpoint.config().is_null())
    return bad_input("there is no config.json beside the weights", "Give the folder of a whole model.")
        .in(base);
  BM_TRY(ModelConfig config, parse_model_config(checkpoint.config()).in(config_path));
  std::string tokenizer_folder = adapter && has_tokenizer_files(path) ? path : base;
  const bool fingerprinted = adapter && !adapter->base_fingerprint().empty();
  BM_TRY(WeightSource source,
         WeightSource::open(std::move(checkpoint), std::move(config), std::move(adapter)));
  if (fingerprinted)
    if (const Status same = check_base_fingerprint(*source.adapter(), source); !same.ok())
      log_warning(path + ": " + same.error().paragraph());
  return OpenedModel{std::move(source), std::move(tokenizer_folder)};
}

}  // namespace bm
