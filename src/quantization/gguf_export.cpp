#include "quantization/gguf_export.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/threads.h"
#include "formats/gguf.h"
#include "formats/gguf_vocabulary.h"
#include "kernels/encode.h"
#include "quantization/awq_stage.h"
#include "quantization/targets.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }
uint32_t u32(int64_t value) { return static_cast<uint32_t>(value); }

constexpr float kLargestHalf = 65504.0f;

// Rows in parallel, in chunks of about 64 thousand values.
template <class F>
void for_rows(int64_t rows, int64_t columns, F&& function) {
  int64_t chunk = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, columns));
  parallel_chunks(at(rows), at(chunk), [&](size_t begin, size_t end) { function(begin, end); });
}

void encode_row(const GgufType& type, const float* x, int64_t columns, const float* importance,
                std::byte* out) {
  const EncodeKernels& k = encode_kernels();
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  switch (*type.blocks) {
    case BlockType::q4_k:
      return k.q4_k(columns / 256, x, importance, bytes);
    case BlockType::q5_k:
      return k.q5_k(columns / 256, x, importance, bytes);
    case BlockType::q6_k:
      return k.q6_k(columns / 256, x, importance, bytes);
    default:
      return quantize_blocks(*type.blocks, x, columns, out);
  }
}

// Rows of q and k in GGUF's order.
std::vector<float> permuted(std::vector<float> values, int64_t rows, int64_t heads) {
  size_t columns = values.size() / at(rows);
  std::vector<float> out(values.size());
  for (int64_t row = 0; row < rows; ++row)
    std::copy_n(values.data() + at(row) * columns, columns,
                out.data() + at(permuted_row(row, rows, heads)) * columns);
  return out;
}

void add_rope(GgufKeys& keys, const ModelConfig& config) {
  keys.u32("llama.rope.dimension_count", u32(config.head_dim));
  keys.f32("llama.rope.freq_base", static_cast<float>(config.rope_theta));
  if (config.rope_scaling.kind != RopeScaling::Kind::linear) return;
  keys.text("llama.rope.scaling.type", "linear");
  keys.f32("llama.rope.scaling.factor", static_cast<float>(config.rope_scaling.factor));
}

GgufKeys model_keys(const GgufPlan& plan) {
  const ModelConfig& config = plan.source.config();
  GgufKeys keys;
  keys.text("general.architecture", "llama");
  keys.text("general.type", "model");
  keys.text("general.name", path_name(plan.source.path()));
  keys.u32("general.file_type", plan.mix.file_type);
  keys.u32("general.quantization_version", 2);
  keys.u32("llama.block_count", u32(config.layers));
  keys.u32("llama.context_length", u32(config.max_positions));
  keys.u32("llama.embedding_length", u32(config.hidden));
  keys.u32("llama.feed_forward_length", u32(config.intermediate));
  keys.u32("llama.attention.head_count", u32(config.heads));
  keys.u32("llama.attention.head_count_kv", u32(config.kv_heads));
  keys.f32("llama.attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_epsilon));
  if (config.head_dim * config.heads != config.hidden) {
    keys.u32("llama.attention.key_length", u32(config.head_dim));
    keys.u32("llama.attention.value_length", u32(config.head_dim));
  }
  if (config.sliding_window > 0) keys.u32("llama.attention.sliding_window", u32(config.sliding_window));
  keys.u32("llama.vocab_size", u32(config.vocab));
  add_rope(keys, config);
  return keys;
}

// Llama 3's scaling as llama.cpp reads it: how much slower each pair turns.
GgufOutputTensor rope_factors(const ModelConfig& config) {
  return {"rope_freqs.weight",
          {config.head_dim / 2},
          {DType::f32, std::nullopt},
          [config]() -> Result<TensorView> {
            std::vector<double> scaled = rope_inverse_frequencies(config);
            Tensor factors(DType::f32, {config.head_dim / 2});
            for (size_t i = 0; i < scaled.size(); ++i)
              factors.as<float>()[i] =
                  static_cast<float>(std::pow(config.rope_theta, -2.0 * static_cast<double>(i) /
                                                                     static_cast<double>(config.head_dim)) /
                                     scaled[i]);
            return factors.view();
          }};
}

Result<TensorView> produce(const GgufPlan& plan, const WeightSpec& spec, const GgufType& type,
                           int64_t heads) {
  BM_TRY(auto values, plan.source.values(spec));
  if (heads > 0) values = permuted(std::move(values), spec.shape[0], heads);
  std::span<const float> importance;
  if (plan.importance) {
    auto found = plan.importance->find(spec.module);
    if (found != plan.importance->end()) importance = found->second;
  }
  return encode_gguf_rows(values, spec.shape.back(), type, importance)
      .in("tensor " + spec.name)
      .in(plan.source.path());
}

// Vectors stay float32, as llama.cpp keeps them.
GgufChoice type_of(const GgufPlan& plan, const WeightSpec& spec, std::string_view name, bool skipped) {
  if (spec.shape.size() != 2) return {{DType::f32, std::nullopt}, ""};
  const ModelConfig& config = plan.source.config();
  if (skipped && plan.mix.base.blocks) return {{DType::f16, std::nullopt}, "--skip: F16"};
  GgufTensorPlace place{name,
                        layer_module(spec.module).layer,
                        config.layers,
                        spec.shape[1],
                        name == "output.weight" || (config.tied_embeddings && name == "token_embd.weight"),
                        plan.importance != nullptr};
  return choose_gguf_type(plan.mix, place);
}

}  // namespace

Result<TensorView> encode_gguf_rows(const std::vector<float>& values, int64_t columns, const GgufType& type,
                                    std::span<const float> importance) {
  bool halves = type.blocks || type.dtype == DType::f16;
  auto count = static_cast<int64_t>(values.size());
  for (size_t i = 0; halves && i < values.size(); ++i)
    if (std::fabs(values[i]) > kLargestHalf)
      return bad_input("element " + std::to_string(i) + " is " + std::to_string(values[i]) +
                           ", beyond float16, in which this format keeps values or scales",
                       "write bf16 or f32");
  Tensor out(DType::u8, {static_cast<int64_t>(type.bytes(count))});
  if (type.dtype) {
    const auto* from = reinterpret_cast<const std::byte*>(values.data());
    BM_CHECK_OK(convert_elements(from, DType::f32, out.data(), *type.dtype, count));
    return out.view();
  }
  size_t row_bytes = type.bytes(columns);
  const float* weights = importance.empty() ? nullptr : importance.data();
  for_rows(count / columns, columns, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row)
      encode_row(type, values.data() + row * at(columns), columns, weights, out.data() + row * row_bytes);
  });
  return out.view();
}

Result<GgufContent> gguf_content(const GgufPlan& plan) {
  const ModelConfig& config = plan.source.config();
  GgufContent content{model_keys(plan), {}, {}, 0, 0};
  BM_CHECK_OK(add_vocabulary(content.keys, plan.source.path(), config.vocab));
  std::vector<bool> used(plan.skip.size(), false);
  for (WeightSpec& spec : expected_weights(config)) {
    auto place = map_hf_tensor(spec.name, config.heads, config.kv_heads);
    if (!place) return bad_input("has no place in a GGUF file of a llama model").in("tensor " + spec.name);
    bool skipped = false;
    for (size_t i = 0; i < plan.skip.size(); ++i)
      if (skip_word_matches(plan.skip[i], spec.module)) used[i] = skipped = true;
    GgufChoice choice = type_of(plan, spec, place->name, skipped);
    if (!choice.reason.empty()) content.other_types.push_back({place->name, choice.reason});
    content.quantized += choice.type.blocks ? 1 : 0;
    GgufOutputTensor tensor{place->name, spec.shape, choice.type,
                            [plan, spec, type = choice.type, heads = place->rotary_heads] {
                              return produce(plan, spec, type, heads);
                            }};
    content.bytes += tensor.bytes();
    content.tensors.push_back(std::move(tensor));
    if (spec.name == "model.embed_tokens.weight" && config.rope_scaling.kind == RopeScaling::Kind::llama3)
      content.tensors.push_back(rope_factors(config));
  }
  for (size_t i = 0; i < plan.skip.size(); ++i)
    if (!used[i])
      return bad_input("--skip " + plan.skip[i] + " names no module of this model",
                       "examples: down_proj, mlp.down_proj, model.layers.0");
  return content;
}

}  // namespace bm
