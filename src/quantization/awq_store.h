// What an AWQ search found, as files: awq_search.safetensors and awq_search.json.
//
//   safetensors, names as "model.layers.0." + module:
//     PREVIOUS.scales, PREVIOUS.x_mean, PREVIOUS.w_mean   [inputs]            per scaling group
//     LINEAR.clip_max, LINEAR.group_abs_max               [rows, groups, 1]   per clipped linear
//     float32, or float16 when the search ran in it
//   json: options, calibration, and "scaling": per group previous, scaled, loss_measured_on, input_shape,
//   ratio (null = identity), losses of the grid, identity_loss, output_mean_square, unscaled (why, or null)
#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "quantization/awq_search.h"

namespace bm {

// Writes layers first_layer, first_layer + 1, … under stem.safetensors and stem.json; `header`: members of
// the JSON before "scaling".
Status write_awq_search(const std::string& stem, std::span<const AwqLayerSearch> layers, int64_t first_layer,
                        int64_t group, DType precision, const Json& header);

struct StoredAwqSearch {
  std::vector<AwqLayerSearch> layers;
  Json json;
};
// bad_input: a missing or malformed file, a layer that is not among first_layer … first_layer + layers - 1.
Result<StoredAwqSearch> read_awq_search(const std::string& stem, int64_t first_layer, int64_t layers);

}  // namespace bm
