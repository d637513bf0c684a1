// AWQ's search over one decoder layer: a scale per input channel of each group of linears that share an
// input, then a clip maximum per weight group. Sources: AWQ (Lin et al. 2023), AutoAWQ 0.2.9
// quantizer.py; semantics.md 1.2 and part 0, items 24-26.
//
//   group                                      error measured on
//   input_layernorm → q, k, v                  the whole self_attn output
//   v_proj → o_proj (only if shapes are equal) the linear's output
//   post_attention_layernorm → gate, up        the whole mlp output
//   up_proj → down_proj                        the linear's output
//
// All scale searches run on the unscaled layer; then scales are applied (previous op divided, columns
// multiplied, inputs divided) and clips are searched on the scaled weights, q and k left out.
// The errors of single linears are quadratic in the weights: mean (x·d)² = dᵀ(XᵀX/n)d for the change d of
// a row, so one Gram matrix of the inputs replaces a pass over the tokens per candidate.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/block.h"
#include "quantization/awq_options.h"

namespace bm {

struct AwqScaling {
  std::string previous;             // within the layer: "input_layernorm", "mlp.up_proj"
  std::vector<std::string> scaled;  // "self_attn.q_proj", …
  std::string measured_on;          // "self_attn", "mlp", "the linear itself"
  std::optional<double> ratio;      // none: identity, or left unscaled
  std::vector<double> losses;       // of the grid, in order of ratio
  std::optional<double> identity_loss;
  double output_mean_square = 0;  // of the unquantized output, to judge the losses by
  std::vector<float> scales;      // [inputs of the scaled linears]
  std::vector<float> x_mean, w_mean;
  std::string unscaled;  // why no scale was usable; "" when one was
};

struct AwqClip {
  std::string module;
  int64_t groups = 0;                // per row
  std::vector<float> clip_max;       // [rows, groups]
  std::vector<float> group_abs_max;  // before clipping
};

struct AwqLayerSearch {
  std::vector<AwqScaling> scalings;
  std::vector<AwqClip> clips;
};

struct AwqLayerInput {
  const ModelConfig& config;
  const LayerWeightsF32& weights;
  std::function<bool(std::string_view module)> quantized;  // which linears will be packed
  std::span<const int64_t> lengths;                        // tokens of each calibration block
  DType norm_dtype = DType::f32;                           // what the norms are stored in
};

// x: the layer's input [tokens, hidden]; becomes its output, computed with the unquantized weights as
// AutoAWQ does, so that errors do not travel from layer to layer.
// bad_input (unless switches.leave_non_finite): no finite loss in a group.
Result<AwqLayerSearch> search_layer(const AwqLayerInput& input, const AwqSearchOptions& options,
                                    std::vector<float>& x);

// The clips alone, for scalings found before (x: the layer's input, not changed).
Result<std::vector<AwqClip>> search_clips(const AwqLayerInput& input, const std::vector<AwqScaling>& scalings,
                                          const AwqSearchOptions& options, std::vector<float> x);

// Applies what a search found. `weights`: the whole layer.
void apply_search(const AwqLayerSearch& search, DType precision, LayerWeightsF32& weights);
// One linear's weight [rows, columns], or one norm's: for files written tensor by tensor.
void apply_search_to_linear(const AwqLayerSearch& search, std::string_view module, DType precision,
                            int64_t rows, int64_t columns, std::vector<float>& weight);
void apply_search_to_vector(const AwqLayerSearch& search, std::string_view module, DType precision,
                            std::vector<float>& values);  // a norm's weight or a linear's bias

// Best scales for means x_mean, w_mean [columns] at a ratio; the formula alone, exposed for tests.
std::vector<float> awq_scales(std::span<const float> x_mean, std::span<const float> w_mean, double ratio,
                              const AwqSearchOptions& options);
// Mean over rows of |w| / (its group's maximum + 1e-6), linears one under the other.
std::vector<float> awq_weight_means(std::span<const LinearF32* const> linears,
                                    const AwqSearchOptions& options);

}  // namespace bm
