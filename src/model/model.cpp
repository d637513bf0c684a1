#include "model/model.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bm {
namespace {

constexpr uint64_t kKeptWorkspace = uint64_t{512} << 20;  // larger scratch is freed after the call

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const OpenedModel& opened) {
  const Checkpoint& checkpoint = opened.source.checkpoint();
  if (checkpoint.is_gguf()) return Tokenizer::from_gguf(checkpoint.gguf_metadata());
  return Tokenizer::load(opened.tokenizer_folder);
}

}  // namespace

Result<Arithmetic> parse_arithmetic(std::string_view name) {
  if (name == "exact") return Arithmetic::exact;
  if (name == "bf16") return Arithmetic::bf16;
  if (name == "fast") return Arithmetic::fast;
  return bad_input("unknown arithmetic " + json_quote(name), "Choose exact, bf16 or fast.");
}

Model::Model() = default;
Model::~Model() = default;

Result<std::shared_ptr<const Model>> Model::load(const std::string& path, const ModelLoadOptions& options) {
  BM_TRY(OpenedModel opened, open_model(path, options.base));
  auto tokenizer = load_tokenizer(opened);
  if (!tokenizer.ok() && options.need_tokenizer) return std::move(tokenizer).error();
  std::shared_ptr<Model> model(new Model());
  model->weights_ = std::make_unique<Weights>(std::move(opened.source), path);
  if (tokenizer.ok()) {
    model->weights_->tokenizer = *tokenizer;
    if ((*tokenizer)->vocabulary_size() > model->config().vocab)
      log_warning(path + ": the tokenizer has " + std::to_string((*tokenizer)->vocabulary_size()) +
                  " tokens, the model " + std::to_string(model->config().vocab) +
                  "; the last ones cannot be used");
  }
  model->weights_->arithmetic = options.arithmetic;
  BM_CHECK_OK(model->weights_->load());
  return std::shared_ptr<const Model>(std::move(model));
}

const ModelConfig& Model::config() const { return weights_->source.config(); }
const std::string& Model::path() const { return weights_->path; }
const Tokenizer* Model::tokenizer() const { return weights_->tokenizer.get(); }
uint64_t Model::weight_bytes() const { return weights_->bytes; }
int64_t Model::parameter_count() const { return weights_->parameters; }

Model::Weights::Weights(WeightSource source_in, std::string path_in)
    : source(std::move(source_in)), path(std::move(path_in)), specs_(expected_weights(source.config())) {}
Model::Weights::~Weights() = default;

Result<TensorView> Model::Weights::read(const std::string& name) {
  const auto spec =
      std::find_if(specs_.begin(), specs_.end(), [&](const WeightSpec& s) { return s.name == name; });
  assert(spec != specs_.end());
  BM_TRY(TensorView view, source.get(*spec));
  parameters += view.count();
  if (arithmetic != Arithmetic::bf16 || spec->shape.size() != 2 || view.dtype == DType::bf16) return view;
  BM_TRY(Tensor rounded, convert(view, DType::bf16));
  return rounded.view();
}

Result<std::vector<float>> Model::Weights::read_vector(const std::string& name) {
  BM_TRY(TensorView view, read(name));
  bytes += static_cast<uint64_t>(view.count()) * sizeof(float);
  return to_f32(view);
}

Result<PackedWeights> Model::Weights::pack(const std::string& prefix,
                                           const std::vector<std::string>& modules) {
  std::vector<TensorView> views;
  for (const std::string& module : modules) {
    BM_TRY(TensorView view, read(prefix + module + ".weight"));
    views.push_back(std::move(view));
  }
  const bool mixed =
      std::any_of(views.begin(), views.end(), [&](const TensorView& v) { return v.dtype != views[0].dtype; });
  if (mixed)  // e.g. an adapter on q and v only: the stack becomes float32
    for (TensorView& view : views) {
      BM_TRY(Tensor wide, convert(view, DType::f32));
      view = wide.view();
    }
  BM_TRY(PackedWeights packed, PackedWeights::pack_stacked(views));
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
  for (int64_t n = 0; n < config.layers; ++n) BM_CHECK_OK(load_layer(n, layers[static_cast<size_t>(n)]));
  BM_TRY(final_norm, read_vector("model.norm.weight"));
  BM_TRY(TensorView table, read("model.embed_tokens.weight"));
  if (config.tied_embeddings) {
    BM_TRY(head, PackedWeights::pack(table));
    bytes += head.bytes();
    return {};
  }
  embedding = table;
  bytes += embedding.bytes();
  BM_TRY(head, pack("", {"lm_head"}));
  return {};
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

KvCache::KvCache(const ModelConfig& config, int64_t capacity)
    : layers_(config.layers),
      width_(config.kv_width()),
      capacity_(capacity),
      keys_(static_cast<size_t>(layers_ * width_ * capacity)),
      values_(keys_.size()) {}

void KvCache::truncate(int64_t length) { length_ = std::min(length_, length); }

void KvCache::copy_prefix(const KvCache& from, int64_t length) {
  assert(from.layers_ == layers_ && from.width_ == width_ && length <= from.length_ && length <= capacity_);
  const size_t bytes = static_cast<size_t>(length * width_) * sizeof(float);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    std::memcpy(keys(layer), from.keys(layer), bytes);
    std::memcpy(values(layer), from.values(layer), bytes);
  }
  length_ = length;
}

uint64_t KvCache::bytes(const ModelConfig& config, int64_t capacity) {
  return static_cast<uint64_t>(2 * config.layers * config.kv_width() * capacity) * sizeof(float);
}

float* KvCache::keys(int64_t layer) { return keys_.data() + layer * capacity_ * width_; }
float* KvCache::values(int64_t layer) { return values_.data() + layer * capacity_ * width_; }
const float* KvCache::keys(int64_t layer) const { return keys_.data() + layer * capacity_ * width_; }
const float* KvCache::values(int64_t layer) const { return values_.data() + layer * capacity_ * width_; }

}  // namespace bm
