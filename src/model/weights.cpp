#include "model/weights.h"

#include <algorithm>
#include <cassert>

#include "model/workspace.h"
#include "ops/embedding.h"

namespace bm {
namespace {

constexpr uint64_t kKeptWorkspace = uint64_t{512} << 20;  // larger scratch is freed after the call

}  // namespace

Model::Weights::Weights(WeightSource source_in, std::string path_in)
    : source(std::move(source_in)), path(std::move(path_in)), specs_(expected_weights(source.config())) {}
Model::Weights::~Weights() = default;

const WeightSpec& Model::Weights::spec_of(const std::string& name) const {
  const auto spec =
      std::find_if(specs_.begin(), specs_.end(), [&](const WeightSpec& s) { return s.name == name; });
  assert(spec != specs_.end());
  return *spec;
}

Result<TensorView> Model::Weights::read(const WeightSpec& spec) {
  BM_TRY(TensorView view, source.get(spec));
  parameters += view.count();
  if (arithmetic != Arithmetic::bf16 || spec.shape.size() != 2 || view.dtype == DType::bf16) return view;
  BM_TRY(Tensor rounded, convert(view, DType::bf16));
  return rounded.view();
}

Result<std::vector<float>> Model::Weights::read_vector(const std::string& name) {
  BM_TRY(TensorView view, read(spec_of(name)));
  bytes += static_cast<uint64_t>(view.count()) * sizeof(float);
  return to_f32(view);
}

Result<LinearWeights> Model::Weights::pack(const std::string& prefix,
                                           const std::vector<std::string>& modules) {
  LinearWeights packed;
  packed.set_arithmetic(arithmetic == Arithmetic::fast   ? LinearArithmetic::fast
                        : arithmetic == Arithmetic::bf16 ? LinearArithmetic::bf16
                                                         : LinearArithmetic::exact);
  std::vector<QuantizedRows> codes;  // neighbours of one form go into one part
  std::vector<TensorView> views;
  auto flush = [&]() -> Status {
    if (!codes.empty()) {
      BM_TRY(QuantizedWeights part, QuantizedWeights::pack(codes).in(prefix + modules.front()).in(path));
      packed.add(std::move(part));
      codes.clear();
    }
    if (!views.empty()) {
      BM_TRY(PackedWeights part, PackedWeights::pack_stacked(views));
      packed.add(std::move(part));
      views.clear();
    }
    return {};
  };
  for (const std::string& module : modules) {
    const WeightSpec& spec = spec_of(prefix + module + ".weight");
    std::optional<QuantizedRows> rows;
    if (arithmetic != Arithmetic::bf16) {
      BM_TRY(rows, source.codes(spec));
    }
    if (rows) {
      parameters += rows->outputs * rows->form.inputs;
      if (!views.empty() || (!codes.empty() && codes.back().form != rows->form)) BM_CHECK_OK(flush());
      codes.push_back(std::move(*rows));
      continue;
    }
    BM_TRY(TensorView view, read(spec));
    if (!codes.empty() || (!views.empty() && views.back().dtype != view.dtype)) BM_CHECK_OK(flush());
    views.push_back(std::move(view));
  }
  BM_CHECK_OK(flush());
  bytes += packed.bytes();
  return packed;
}

Result<std::vector<float>> Model::Weights::bias(const std::string& prefix,
                                                const std::vector<std::string>& modules, bool wanted) {
  std::vector<float> result;
  if (!wanted) return result;
  for (const std::string& module : modules) {
    BM_TRY(auto part, read_vector(prefix + module + ".bias"));
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

Status Model::Weights::load_layer(int64_t number, PackedLayer& layer) {
  const ModelConfig& config = source.config();
  const std::string prefix = "model.layers." + std::to_string(number) + ".";
  const std::vector<std::string> qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
  const std::vector<std::string> gate_up = {"mlp.gate_proj", "mlp.up_proj"};
  BM_TRY(layer.input_layernorm, read_vector(prefix + "input_layernorm.weight"));
  BM_TRY(layer.post_attention_layernorm, read_vector(prefix + "post_attention_layernorm.weight"));
  BM_TRY(layer.qkv, pack(prefix, qkv));
  BM_TRY(layer.o, pack(prefix, {"self_attn.o_proj"}));
  BM_TRY(layer.gate_up, pack(prefix, gate_up));
  BM_TRY(layer.down, pack(prefix, {"mlp.down_proj"}));
  BM_TRY(layer.qkv_bias, bias(prefix, qkv, config.attention_bias));
  BM_TRY(layer.o_bias, bias(prefix, {"self_attn.o_proj"}, config.attention_bias));
  BM_TRY(layer.gate_up_bias, bias(prefix, gate_up, config.mlp_bias));
  BM_TRY(layer.down_bias, bias(prefix, {"mlp.down_proj"}, config.mlp_bias));
  return {};
}

Status Model::Weights::load() {
  const ModelConfig& config = source.config();
  layers.resize(static_cast<size_t>(config.layers));
  for (int64_t n = 0; n < config.layers; ++n) {
    BM_CHECK_OK(load_layer(n, layers[static_cast<size_t>(n)]));
    source.checkpoint().drop_pages();  // what was packed is not held twice
  }
  BM_TRY(final_norm, read_vector("model.norm.weight"));
  BM_CHECK_OK(load_tables());
  source.checkpoint().drop_pages();
  return {};
}

// Embedding and head. A dense embedding of its own is read from the file's map, row by row.
Status Model::Weights::load_tables() {
  if (source.config().tied_embeddings) {
    BM_TRY(head, pack("", {"model.embed_tokens"}));
    return {};
  }
  BM_TRY(auto codes, source.codes(spec_of("model.embed_tokens.weight")));
  if (codes && arithmetic != Arithmetic::bf16) {
    BM_TRY(embedding_codes, pack("", {"model.embed_tokens"}));
  } else {
    BM_TRY(embedding, read(spec_of("model.embed_tokens.weight")));
    bytes += embedding.bytes();
  }
  BM_TRY(head, pack("", {"lm_head"}));
  return {};
}

void Model::Weights::embed(std::span<const int32_t> tokens, float* out) const {
  if (embedding.data) return embedding_lookup(embedding, tokens, out);
  const LinearWeights& table = source.config().tied_embeddings ? head : embedding_codes;
  for (size_t i = 0; i < tokens.size(); ++i)
    table.read_row(tokens[i], out + static_cast<int64_t>(i) * table.inputs());
}

std::shared_ptr<const RotaryTable> Model::Weights::rotary(int64_t positions) const {
  std::lock_guard lock(mutex_);
  if (!rotary_ || rotary_->positions() < positions) {
    int64_t size = std::max<int64_t>(positions, 512);
    if (rotary_) size = std::max(size, 2 * rotary_->positions());
    rotary_ = std::make_shared<const RotaryTable>(rope_inverse_frequencies(source.config()), size);
  }
  return rotary_;
}

std::unique_ptr<ForwardWorkspace> Model::Weights::take_workspace() const {
  std::lock_guard lock(mutex_);
  if (workspaces_.empty()) return std::make_unique<ForwardWorkspace>();
  auto result = std::move(workspaces_.back());
  workspaces_.pop_back();
  return result;
}

void Model::Weights::give_back(std::unique_ptr<ForwardWorkspace> workspace) const {
  if (workspace->bytes() > kKeptWorkspace) return;
  std::lock_guard lock(mutex_);
  workspaces_.push_back(std::move(workspace));
}

}  // namespace bm
