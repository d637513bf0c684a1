// Loading of models to train, and what callers see of them. The passes: trainable_pass.cpp.
#include "model/trainable.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/hash.h"
#include "model/base_fingerprint.h"
#include "model/trainable_state.h"

namespace bm {
namespace {

size_t size_of(int64_t count) { return static_cast<size_t>(count); }

Parameter parameter_of(std::string name, Shape shape, Floats values) {
  const size_t count = values.size();
  return {std::move(name), std::move(shape), std::move(values), Floats(count)};
}

}  // namespace

Result<Checkpointing> parse_checkpointing(std::string_view name) {
  if (name == "none") return Checkpointing::none;
  if (name == "cheap") return Checkpointing::cheap;
  if (name == "block") return Checkpointing::block;
  return bad_input("unknown checkpointing \"" + std::string(name) + "\"", "none, cheap and block are known");
}

std::string_view checkpointing_name(Checkpointing checkpointing) {
  return checkpointing == Checkpointing::none    ? "none"
         : checkpointing == Checkpointing::cheap ? "cheap"
                                                 : "block";
}

Parameter* TrainableModel::State::find(const std::string& name) {
  for (Parameter& p : parameters)
    if (p.name == name) return &p;
  return nullptr;
}

void TrainableModel::State::for_each_linear(const std::function<void(TrainableLinear&)>& visit) {
  for (TrainableLayer& l : layers)
    for (TrainableLinear* linear : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) visit(*linear);
}

void TrainableModel::State::bind_low_rank(const std::string& module, TrainableLinear& linear) {
  for (const LoraTarget& target : lora->targets) {
    if (target.spec.module != module) continue;
    linear.low_rank = LowRank{find(module + ".lora_A.weight"),
                              find(module + ".lora_B.weight"),
                              find(module + ".lora_magnitude_vector"),
                              target.rank,
                              static_cast<float>(target.scale),
                              lora->options.dropout,
                              hash64(module, mix64(lora->options.seed)),
                              {},
                              {}};
  }
}

Result<TrainableLinear> TrainableModel::State::bind_linear(const std::string& module,
                                                           const WeightSource* source, BaseFormat format) {
  TrainableLinear linear;
  linear.weight = find(module + ".weight");
  linear.bias = find(module + ".bias");
  for (const WeightSpec& spec : expected_weights(config)) {
    if (spec.module != module) continue;
    if (ends_with(spec.name, ".weight")) {
      linear.outputs = spec.shape[0];
      linear.inputs = spec.shape[1];
      if (linear.weight || !source) continue;
      BM_TRY(linear.frozen, FrozenMatrix::load(*source, spec, format));
      frozen_bytes += linear.frozen.bytes();
    } else if (!linear.bias && source) {
      BM_TRY(TensorView view, source->get(spec));
      BM_TRY(linear.frozen_bias, to_f32(view));
    }
  }
  if (lora) bind_low_rank(module, linear);
  return linear;
}

Result<TrainableVector> TrainableModel::State::bind_vector(const std::string& name,
                                                           const WeightSource* source) {
  TrainableVector vector{find(name), {}};
  if (vector.parameter || !source) return vector;
  for (const WeightSpec& spec : expected_weights(config)) {
    if (spec.name != name) continue;
    BM_TRY(TensorView view, source->get(spec));
    BM_TRY(vector.frozen, to_f32(view));
  }
  return vector;
}

Status TrainableModel::State::bind_ends(const WeightSource* source) {
  BM_TRY(final_norm, bind_vector("model.norm.weight", source));
  embedding = find("model.embed_tokens.weight");
  head = config.tied_embeddings ? embedding : find("lm_head.weight");
  if (!source) return {};
  for (const WeightSpec& spec : expected_weights(config)) {
    const bool is_embedding = spec.name == "model.embed_tokens.weight",
               is_head = spec.name == "lm_head.weight";
    if (!head && (is_head || (is_embedding && config.tied_embeddings))) {
      BM_TRY(frozen_head, FrozenMatrix::load(*source, spec, BaseFormat::stored));
      frozen_bytes += static_cast<uint64_t>(frozen_head.count()) * sizeof(float);
    }
    if (!embedding && is_embedding && !config.tied_embeddings) {
      BM_TRY(frozen_embedding, FrozenMatrix::load(*source, spec, BaseFormat::stored));
      frozen_bytes += frozen_embedding.bytes();
    }
  }
  return {};
}

Status TrainableModel::State::bind(const WeightSource* source, BaseFormat format) {
  BM_CHECK_OK(bind_ends(source));
  for (int64_t n = 0; n < config.layers; ++n) {
    const std::string prefix = "model.layers." + std::to_string(n) + ".";
    TrainableLayer layer;
    const auto linear = [&](TrainableLinear& to, const char* module) -> Status {
      BM_TRY(to, bind_linear(prefix + module, source, format));
      return {};
    };
    BM_CHECK_OK(linear(layer.q, "self_attn.q_proj"));
    BM_CHECK_OK(linear(layer.k, "self_attn.k_proj"));
    BM_CHECK_OK(linear(layer.v, "self_attn.v_proj"));
    BM_CHECK_OK(linear(layer.o, "self_attn.o_proj"));
    BM_CHECK_OK(linear(layer.gate, "mlp.gate_proj"));
    BM_CHECK_OK(linear(layer.up, "mlp.up_proj"));
    BM_CHECK_OK(linear(layer.down, "mlp.down_proj"));
    BM_TRY(layer.input_norm, bind_vector(prefix + "input_layernorm.weight", source));
    BM_TRY(layer.post_norm, bind_vector(prefix + "post_attention_layernorm.weight", source));
    layers.push_back(std::move(layer));
  }
  return {};
}

Status TrainableModel::State::load_all(const WeightSource& source) {
  for (const WeightSpec& spec : expected_weights(config)) {
    BM_TRY(TensorView view, source.get(spec));
    BM_TRY(auto values, to_f32(view));
    parameters.push_back(parameter_of(spec.name, spec.shape, std::move(values)));
  }
  return bind(nullptr, BaseFormat::stored);
}

Status TrainableModel::State::load_lora(const WeightSource& source, LoraPlan plan, BaseFormat format) {
  lora = std::make_unique<LoraPlan>(std::move(plan));
  for (const LoraTarget& target : lora->targets) {
    const std::string& module = target.spec.module;
    const AdapterModule* start = lora->start ? lora->start->find(module) : nullptr;
    const int64_t rows = target.spec.shape[0], columns = target.spec.shape[1];
    parameters.push_back(parameter_of(module + ".lora_A.weight", {target.rank, columns},
                                      start ? start->a : first_lora_a(target, lora->options.seed)));
    parameters.push_back(parameter_of(module + ".lora_B.weight", {rows, target.rank},
                                      start ? start->b : Floats(size_of(rows * target.rank))));
    if (!lora->options.dora) continue;
    Floats magnitude = start ? start->magnitude : Floats();
    if (magnitude.empty()) {
      BM_TRY(TensorView view, source.get(target.spec));
      BM_TRY(auto weight, to_f32(view));
      for (int64_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (int64_t c = 0; c < columns; ++c)
          squares += std::pow(static_cast<double>(weight[size_of(r * columns + c)]), 2);
        magnitude.push_back(static_cast<float>(std::sqrt(squares)));
      }
    }
    parameters.push_back(parameter_of(module + ".lora_magnitude_vector", {rows}, std::move(magnitude)));
  }
  for (const WeightSpec& spec : lora->saved) {
    TensorView view;
    if (lora->start && lora->start->replaced().contains(spec.name)) {
      view = lora->start->replaced().find(spec.name)->second;
    } else {
      BM_TRY(view, source.get(spec));
    }
    BM_TRY(auto values, to_f32(view));
    parameters.push_back(parameter_of(spec.name, spec.shape, std::move(values)));
  }
  return bind(&source, format);
}

TrainableModel::TrainableModel() : state_(std::make_unique<State>()) {}
TrainableModel::~TrainableModel() = default;

Result<std::unique_ptr<TrainableModel>> TrainableModel::load(const std::string& path,
                                                             const std::string& base) {
  BM_TRY(OpenedModel opened, open_model(path, base));
  std::unique_ptr<TrainableModel> model(new TrainableModel());
  model->state_->config = opened.source.config();
  model->state_->base_path = path;
  BM_CHECK_OK(model->state_->load_all(opened.source));
  return model;
}

Result<std::unique_ptr<TrainableModel>> TrainableModel::load_lora(const std::string& path,
                                                                  const std::string& base,
                                                                  const LoraOptions& options,
                                                                  BaseFormat format) {
  std::optional<Adapter> adapter;
  std::string base_path = path;
  if (is_adapter_folder(path)) {
    BM_TRY(OpenedModel fitted, open_model(path, base));  // that the adapter fits its base
    adapter = fitted.source.adapter();
    base_path = base.empty() ? adapter->find_base() : base;
  }
  BM_TRY(OpenedModel opened, open_model(base_path));
  if (opened.source.adapter())
    return bad_input("the base is itself an adapter", "Merge that one first.").in(base_path);
  std::unique_ptr<TrainableModel> model(new TrainableModel());
  State& state = *model->state_;
  state.config = opened.source.config();
  state.base_path = base_path;
  BM_TRY(state.fingerprint, bm::base_fingerprint(opened.source));
  if (adapter) BM_CHECK_OK(check_base_fingerprint(*adapter, opened.source).in(path));
  LoraPlan plan;
  if (adapter) {
    BM_TRY(plan, plan_lora(state.config, *adapter, options));
  } else {
    BM_TRY(plan, plan_lora(state.config, options));
  }
  BM_CHECK_OK(state.load_lora(opened.source, std::move(plan), format));
  return model;
}

const ModelConfig& TrainableModel::config() const { return state_->config; }
std::vector<Parameter>& TrainableModel::parameters() { return state_->parameters; }
const std::vector<Parameter>& TrainableModel::parameters() const { return state_->parameters; }
const LoraPlan* TrainableModel::lora() const { return state_->lora.get(); }
const std::string& TrainableModel::base_path() const { return state_->base_path; }
const std::string& TrainableModel::base_fingerprint() const { return state_->fingerprint; }
uint64_t TrainableModel::frozen_bytes() const { return state_->frozen_bytes; }
void TrainableModel::set_checkpointing(Checkpointing checkpointing) { state_->checkpointing = checkpointing; }

void TrainableModel::zero_gradients() {
  for (Parameter& p : state_->parameters) std::fill(p.gradient.begin(), p.gradient.end(), 0.0f);
}

Result<LossSum> TrainableModel::forward_backward(const TrainingBatch& batch, double scale) {
  return state_->run(batch, scale, true);
}

Result<LossSum> TrainableModel::evaluate(const TrainingBatch& batch) { return state_->run(batch, 1, false); }

uint64_t training_activation_bytes(const ModelConfig& c, int64_t rows, int64_t length,
                                   Checkpointing checkpointing) {
  const int64_t mlp = 2 * c.intermediate;
  const int64_t attention = c.hidden + 2 + 2 * c.q_width() + 2 * c.kv_width() + c.heads;
  int64_t layer = c.hidden, shared = 0;  // floats a token
  (checkpointing == Checkpointing::block ? shared : layer) += attention;
  (checkpointing == Checkpointing::none ? layer : shared) += mlp;
  shared += 4 * c.hidden + 1 + 2 * c.q_width() + 2 * c.kv_width() + 2 * c.intermediate;
  const int64_t head_rows = std::min<int64_t>(rows * length, 256);
  const int64_t logits = head_rows * (c.vocab + 2 * c.hidden);
  return static_cast<uint64_t>(rows * length * (c.layers * layer + shared) + logits) * sizeof(float);
}

uint64_t TrainableModel::activation_bytes(int64_t rows, int64_t length) const {
  uint64_t bytes = training_activation_bytes(state_->config, rows, length, state_->checkpointing);
  if (!state_->lora) return bytes;
  // Low-rank activations, and the float32 copies of one frozen matrix and of the inputs dropout touches.
  const ModelConfig& c = state_->config;
  uint64_t low = 0, rank = 0;
  for (const LoraTarget& target : state_->lora->targets) {
    low += static_cast<uint64_t>(target.rank);
    rank = std::max(rank, static_cast<uint64_t>(target.rank));
  }
  const auto tokens = static_cast<uint64_t>(rows * length);
  const auto widest = static_cast<uint64_t>(std::max({c.intermediate, c.hidden, c.q_width()}));
  if (state_->lora->options.dropout > 0) bytes += 2 * tokens * widest * sizeof(float);
  if (state_->lora->options.dora) bytes += tokens * widest * sizeof(float);
  bytes += static_cast<uint64_t>(c.hidden) * widest * sizeof(float);
  return bytes + tokens * (low + rank) * sizeof(float);
}

std::string TrainableModel::first_non_finite() const {
  const State& s = *state_;
  const auto bad = [](const Floats& values) {
    return std::any_of(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  };
  for (const Parameter& p : s.parameters)
    if (bad(p.value)) return "the value of " + p.name;
  for (size_t n = 0; n < s.activations.size() && s.keep; ++n)
    if (bad(s.activations[n].input)) return n == 0 ? "the embedding" : "layer " + std::to_string(n - 1);
  if (s.keep && bad(s.x)) return "layer " + std::to_string(s.layers.size() - 1);
  if (s.keep && bad(s.normed)) return "the final norm";
  for (size_t i = s.parameters.size(); i-- > 0;)
    if (bad(s.parameters[i].gradient)) return "the gradient of " + s.parameters[i].name;
  return "";
}

}  // namespace bm
