#include "quantization/awq_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/log.h"
#include "base/threads.h"
#include "ops/linear.h"
#include "quantization/awq_clip.h"
#include "quantization/awq_half.h"
#include "quantization/awq_math.h"

namespace bm {
namespace {

size_t at(int64_t index) { return static_cast<size_t>(index); }

// Inputs of the layer's linears: q, k and v share one, gate and up another.
struct Features {
  std::vector<float> attention, heads, mlp, down;  // inputs of q/k/v, o, gate/up, down

  const std::vector<float>& of(std::string_view module) const {
    if (module == "self_attn.o_proj") return heads;
    if (module == "mlp.down_proj") return down;
    return module.starts_with("mlp.") ? mlp : attention;
  }
  std::vector<float>& of(std::string_view module) {
    return const_cast<std::vector<float>&>(static_cast<const Features*>(this)->of(module));
  }
};

Features run_and_capture_half(const AwqLayerInput& in, std::vector<float>& x) {
  Features f;
  auto rows = static_cast<int64_t>(x.size()) / in.config.hidden;
  std::vector<float> out(x.size());
  auto add_residual = [&] {
    for (size_t i = 0; i < x.size(); ++i) x[i] = round_to_f16_fast(x[i] + out[i]);
  };
  round_values(DType::f16, x);
  f.attention.resize(x.size());
  rms_norm_half(in.weights.input_layernorm, in.config.rms_epsilon, x.data(), rows, f.attention.data());
  attention_half(in.config, in.weights, in.lengths, f.attention.data(), out.data(), &f.heads);
  add_residual();
  f.mlp.resize(x.size());
  rms_norm_half(in.weights.post_attention_layernorm, in.config.rms_epsilon, x.data(), rows, f.mlp.data());
  mlp_half(in.weights, rows, f.mlp.data(), out.data(), &f.down);
  add_residual();
  return f;
}

Features run_and_capture(const AwqLayerInput& in, DType precision, std::vector<float>& x) {
  if (precision == DType::f16) return run_and_capture_half(in, x);
  Features features;
  run_layer(in.config, in.weights, in.lengths, x.data(),
            [&](std::string_view module, const float* input, int64_t rows, int64_t columns) {
              if (module == "self_attn.k_proj" || module == "self_attn.v_proj" || module == "mlp.up_proj")
                return;
              features.of(module).assign(input, input + rows * columns);
            });
  return features;
}

// What a group's error is measured on: given candidate weights in a copy of the layer, the loss.
class Measure {
 public:
  Measure(const AwqLayerInput& in, const AwqSearchOptions& options, const AwqScaling& scaling,
          const std::vector<float>& x)
      : in_(in), options_(options), scaling_(scaling), x_(x), weights_(in.weights) {
    const LinearF32& first = *weights_.find(scaling.scaled[0]);
    tokens_ = static_cast<int64_t>(x.size()) / first.columns;
    linear_ = scaling.measured_on == "the linear itself";
    if (linear_)
      reference_.resize(at(tokens_ * first.rows));
    else
      reference_.resize(at(tokens_ * in.config.hidden));
    run(reference_);
    output_mean_square_ = mean_square(reference_);
    // Quadratic in the weights: a Gram matrix is the cheaper form when there are more tokens than inputs.
    if (linear_ && options.precision == DType::f32 && tokens_ > first.columns)
      gram_ = gram_matrix(x.data(), tokens_, first.columns, first.columns);
  }

  double output_mean_square() const { return output_mean_square_; }

  double loss(std::span<const float> scales) {
    for (const std::string& module : scaling_.scaled)
      if (in_.quantized(module))
        quantized_candidate(*in_.weights.find(module), scales,
                            options_.search_groups(in_.weights.find(module)->columns),
                            *weights_.find(module));
    if (!gram_.empty()) return gram_loss();
    std::vector<float> output(reference_.size());
    run(output);
    return mean_square_difference(reference_, output, options_.precision);
  }

 private:
  double gram_loss() {
    const LinearF32& original = *in_.weights.find(scaling_.scaled[0]);
    const LinearF32& candidate = *weights_.find(scaling_.scaled[0]);
    std::vector<float> difference(original.weight.size());
    for (size_t i = 0; i < difference.size(); ++i) difference[i] = candidate.weight[i] - original.weight[i];
    double error = quadratic_error(difference, original.rows, original.columns, gram_);
    return std::isnan(error) ? error : std::max(error, 0.0) / static_cast<double>(reference_.size());
  }

  void run(std::vector<float>& output) {
    bool half = options_.precision == DType::f16, mlp = scaling_.measured_on == "mlp";
    if (linear_)
      run_linear(*weights_.find(scaling_.scaled[0]), x_.data(), tokens_, output.data());
    else if (mlp && half)
      mlp_half(weights_, tokens_, x_.data(), output.data());
    else if (mlp)
      run_mlp(in_.config, weights_, tokens_, x_.data(), output.data());
    else if (half)
      attention_half(in_.config, weights_, in_.lengths, x_.data(), output.data());
    else
      run_attention(in_.config, weights_, in_.lengths, x_.data(), output.data());
    if (!half) return;
    round_values(options_.precision, output);
    for (float& value : output)  // as the peer clips to the dtype's range
      if (std::isinf(value)) value = std::copysign(65504.0f, value);
  }

  const AwqLayerInput& in_;
  const AwqSearchOptions& options_;
  const AwqScaling& scaling_;
  const std::vector<float>& x_;
  LayerWeightsF32 weights_;
  std::vector<float> reference_, gram_;
  int64_t tokens_ = 0;
  bool linear_ = false;
  double output_mean_square_ = 0;
};

std::vector<AwqScaling> groups_of(const AwqLayerInput& in) {
  const LayerWeightsF32& w = in.weights;
  std::vector<AwqScaling> groups;
  auto add = [&](std::string previous, std::vector<std::string> scaled, std::string measured_on) {
    bool any =
        std::any_of(scaled.begin(), scaled.end(), [&](const std::string& m) { return in.quantized(m); });
    if (!any) return;
    AwqScaling group;
    group.previous = std::move(previous);
    group.scaled = std::move(scaled);
    group.measured_on = std::move(measured_on);
    groups.push_back(std::move(group));
  };
  add("input_layernorm", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, "self_attn");
  if (w.v_proj.rows == w.o_proj.rows && w.v_proj.columns == w.o_proj.columns)
    add("self_attn.v_proj", {"self_attn.o_proj"}, "the linear itself");
  add("post_attention_layernorm", {"mlp.gate_proj", "mlp.up_proj"}, "mlp");
  add("mlp.up_proj", {"mlp.down_proj"}, "the linear itself");
  return groups;
}

const std::vector<float>* norm_of(const LayerWeightsF32& w, std::string_view module) {
  if (module == "input_layernorm") return &w.input_layernorm;
  if (module == "post_attention_layernorm") return &w.post_attention_layernorm;
  return nullptr;
}

float round_stored(DType dtype, float value) {
  if (dtype == DType::bf16) return round_to_bf16(value);
  if (dtype == DType::f16) return round_to_f16_fast(value);
  return value;
}

// Scales such that the norm, divided and rounded as it is stored, is divided by exactly them; 1 where the
// divided weight would vanish or overflow.
void follow_stored_norm(std::span<const float> norm, DType dtype, std::vector<float>& scales) {
  for (size_t c = 0; c < scales.size(); ++c) {
    if (norm[c] == 0) continue;
    float stored = round_stored(dtype, norm[c] / scales[c]);
    scales[c] = stored == 0 || !std::isfinite(stored) ? 1.0f : norm[c] / stored;
  }
}

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

Status search_scale(const AwqLayerInput& in, const AwqSearchOptions& options, const std::vector<float>& x,
                    AwqScaling& scaling) {
  std::vector<const LinearF32*> linears;
  for (const std::string& module : scaling.scaled) linears.push_back(in.weights.find(module));
  int64_t columns = linears[0]->columns, tokens = static_cast<int64_t>(x.size()) / columns;
  scaling.x_mean = column_abs_means(x.data(), tokens, columns, options.precision);
  scaling.w_mean = awq_weight_means(linears, options);
  const std::vector<float> ones(at(columns), 1.0f);
  Measure measure(in, options, scaling, x);
  scaling.output_mean_square = measure.output_mean_square();
  double best = std::numeric_limits<double>::infinity();
  scaling.scales = ones;
  if (options.switches.identity_on_grid) {
    double loss = measure.loss(ones);
    scaling.identity_loss = loss;
    if (loss < best) best = loss;
  }
  for (int64_t step = 0; step < options.grid; ++step) {
    double ratio = static_cast<double>(step) / static_cast<double>(options.grid);
    std::vector<float> scales = awq_scales(scaling.x_mean, scaling.w_mean, ratio, options);
    const std::vector<float>* norm = norm_of(in.weights, scaling.previous);
    if (norm && options.switches.exact_norms) follow_stored_norm(*norm, in.norm_dtype, scales);
    double loss = measure.loss(scales);
    scaling.losses.push_back(loss);
    if (loss < best) {
      best = loss;
      scaling.ratio = ratio;
      scaling.scales = std::move(scales);
    }
  }
  if (std::isfinite(best) && all_finite(scaling.scales)) return {};
  scaling.ratio.reset();
  scaling.scales = ones;
  scaling.unscaled =
      all_finite(x) ? "no candidate has a finite loss" : "its calibration inputs are not finite";
  if (options.switches.leave_non_finite) return {};
  return bad_input("no scale has a finite loss (" + scaling.unscaled + ")",
                   "mode corrected leaves such a group unscaled; check the model's weights")
      .in("scaling after " + scaling.previous);
}

// Divides the features a group's scaling changed, as the previous op now gives them.
void scale_features(const AwqScaling& scaling, DType precision, Features& features) {
  std::vector<float>& x = features.of(scaling.scaled[0]);
  size_t columns = scaling.scales.size();
  parallel_chunks(x.size() / columns, 64, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      for (size_t c = 0; c < columns; ++c) {
        float& value = x[r * columns + c];
        value = round_value(precision, value / scaling.scales[c]);
      }
  });
}

void scale_columns(std::span<const float> scales, DType precision, int64_t rows, std::vector<float>& weight) {
  size_t columns = scales.size();
  for (size_t r = 0; r < at(rows); ++r)
    for (size_t c = 0; c < columns; ++c)
      weight[r * columns + c] = round_value(precision, weight[r * columns + c] * scales[c]);
}

void divide_rows(std::span<const float> scales, DType precision, int64_t columns,
                 std::vector<float>& weight) {
  for (size_t r = 0; r < scales.size(); ++r)
    for (size_t c = 0; c < at(columns); ++c)
      weight[r * at(columns) + c] = round_value(precision, weight[r * at(columns) + c] / scales[r]);
}

Result<std::vector<AwqClip>> clip_linears(const AwqLayerInput& input, const std::vector<AwqScaling>& scalings,
                                          const AwqSearchOptions& options, Features features) {
  LayerWeightsF32 weights = input.weights;
  AwqLayerSearch scaled;
  scaled.scalings = scalings;
  apply_search(scaled, options.precision, weights);
  for (const AwqScaling& scaling : scalings) scale_features(scaling, options.precision, features);
  std::vector<AwqClip> clips;
  for (std::string_view module : kLayerLinears) {
    // The product of q and k makes their errors hard to judge one by one: AWQ leaves them unclipped.
    if (module == "self_attn.q_proj" || module == "self_attn.k_proj" || !input.quantized(module)) continue;
    if (stop_requested()) return interrupted_error("the AWQ search");
    clips.push_back(search_clip(module, *weights.find(module), features.of(module), options));
  }
  return clips;
}

}  // namespace

std::vector<float> awq_scales(std::span<const float> x_mean, std::span<const float> w_mean, double ratio,
                              const AwqSearchOptions& options) {
  auto round = [&](float v) { return round_value(options.precision, v); };
  const float floor = round(1e-4f), epsilon = options.switches.epsilon_in_scales ? 1e-4f : 0.0f;
  // torch casts the exponent to the tensor's dtype.
  const float x_power = round(static_cast<float>(ratio)), w_power = round(static_cast<float>(1.0 - ratio));
  std::vector<float> scales(x_mean.size());
  float most = 0, least = std::numeric_limits<float>::infinity();
  for (size_t c = 0; c < scales.size(); ++c) {
    float s = round(std::pow(x_mean[c], x_power));
    if (options.duo_scaling) s = round(s / round(round(std::pow(w_mean[c], w_power)) + epsilon));
    s = s < floor ? floor : s;  // NaN stays, as with torch's clamp
    scales[c] = s;
    most = s > most || std::isnan(s) ? s : most;
    least = s < least || std::isnan(s) ? s : least;
  }
  float middle = round(std::sqrt(round(most * least)));
  for (float& s : scales) {
    s = round(s / middle);
    if (!std::isfinite(s)) s = 1.0f;
  }
  return scales;
}

std::vector<float> awq_weight_means(std::span<const LinearF32* const> linears,
                                    const AwqSearchOptions& options) {
  auto round = [&](float v) { return round_value(options.precision, v); };
  const float epsilon = round(1e-6f);
  int64_t columns = linears[0]->columns, rows = 0;
  for (const LinearF32* linear : linears) rows += linear->rows;
  // Inputs no group divides (a linear left unquantized) count as one group a row.
  int64_t group = columns % options.group_of(columns) == 0 ? options.group_of(columns) : columns;
  std::vector<float> means(at(columns));
  parallel_for(at(columns / group), [&](size_t g) {
    std::vector<CascadeSum> sums(at(group), CascadeSum(rows));
    for (const LinearF32* linear : linears)
      for (int64_t r = 0; r < linear->rows; ++r) {
        const float* w = linear->weight.data() + r * columns + static_cast<int64_t>(g) * group;
        float top = 0;
        for (int64_t c = 0; c < group; ++c) top = std::max(top, std::fabs(w[c]));
        float divisor = round(top + epsilon);
        for (int64_t c = 0; c < group; ++c) sums[at(c)].add(round(std::fabs(w[c]) / divisor));
      }
    for (int64_t c = 0; c < group; ++c)
      means[g * at(group) + at(c)] = round(sums[at(c)].total() / static_cast<float>(rows));
  });
  return means;
}

Result<AwqLayerSearch> search_layer(const AwqLayerInput& input, const AwqSearchOptions& options,
                                    std::vector<float>& x) {
  AwqLayerSearch search;
  Features features = run_and_capture(input, options.precision, x);
  search.scalings = groups_of(input);
  for (AwqScaling& scaling : search.scalings) {
    if (stop_requested()) return interrupted_error("the AWQ search");
    BM_CHECK_OK(search_scale(input, options, features.of(scaling.scaled[0]), scaling));
  }
  if (options.clip) {
    BM_TRY(search.clips, clip_linears(input, search.scalings, options, std::move(features)));
  }
  return search;
}

Result<std::vector<AwqClip>> search_clips(const AwqLayerInput& input, const std::vector<AwqScaling>& scalings,
                                          const AwqSearchOptions& options, std::vector<float> x) {
  return clip_linears(input, scalings, options, run_and_capture(input, options.precision, x));
}

void apply_search_to_linear(const AwqLayerSearch& search, std::string_view module, DType precision,
                            int64_t rows, int64_t columns, std::vector<float>& weight) {
  for (const AwqScaling& scaling : search.scalings) {
    if (scaling.previous == module) divide_rows(scaling.scales, precision, columns, weight);
    if (std::find(scaling.scaled.begin(), scaling.scaled.end(), module) != scaling.scaled.end())
      scale_columns(scaling.scales, precision, rows, weight);
  }
  for (const AwqClip& clip : search.clips) {
    if (clip.module != module) continue;
    auto group = static_cast<int64_t>(weight.size() / clip.clip_max.size());
    for (size_t g = 0; g < clip.clip_max.size(); ++g) {
      float limit = clip.clip_max[g];
      for (int64_t i = static_cast<int64_t>(g) * group; i < static_cast<int64_t>(g + 1) * group; ++i)
        weight[at(i)] = std::clamp(weight[at(i)], -limit, limit);
    }
  }
}

void apply_search_to_vector(const AwqLayerSearch& search, std::string_view module, DType precision,
                            std::vector<float>& values) {
  for (const AwqScaling& scaling : search.scalings)
    if (scaling.previous == module)
      for (size_t c = 0; c < values.size(); ++c)
        values[c] = round_value(precision, values[c] / scaling.scales[c]);
}

void apply_search(const AwqLayerSearch& search, DType precision, LayerWeightsF32& weights) {
  apply_search_to_vector(search, "input_layernorm", precision, weights.input_layernorm);
  apply_search_to_vector(search, "post_attention_layernorm", precision, weights.post_attention_layernorm);
  for (std::string_view module : kLayerLinears) {
    LinearF32& linear = *weights.find(module);
    apply_search_to_linear(search, module, precision, linear.rows, linear.columns, linear.weight);
    if (!linear.bias.empty()) apply_search_to_vector(search, module, precision, linear.bias);
  }
}

}  // namespace bm
