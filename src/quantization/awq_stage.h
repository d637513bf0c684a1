// AWQ over a whole model: calibration text in, search results per layer out; resumable per layer.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/stage.h"
#include "quantization/awq_search.h"
#include "quantization/quantize.h"
#include "quantization/source.h"
#include "quantization/targets.h"

namespace bm {

struct AwqSearch {
  std::vector<AwqLayerSearch> layers;
  Json record;  // what awq_search.json holds
  std::string calibration, calibration_licence;
};

Result<AwqSearchOptions> awq_search_options(const QuantizeOptions& options, Mode mode);

// Searches all layers, or reads --search-from; leaves awq_search.safetensors and awq_search.json in folder.
// Layers found by an interrupted run are kept in folder/search and not searched again.
Result<AwqSearch> awq_search(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
                             const QuantizeOptions& options, const AwqSearchOptions& search, uint64_t seed,
                             const std::string& folder);

// A layer's weights as the quantizer reads them (after --dtype, checked); precision f16 rounds them.
Result<LayerWeightsF32> read_layer_weights(const QuantizeSource& source, int64_t layer, DType precision);
// Rows of the embedding for all tokens of all blocks, [tokens, hidden].
Result<std::vector<float>> embed_blocks(const QuantizeSource& source,
                                        const std::vector<std::vector<int32_t>>& blocks);

// Bytes awq_search holds at its peak, estimated.
uint64_t awq_memory_need(const ModelConfig& config, const QuantizeOptions& options);

// "model.layers.3.mlp.up_proj" → layer 3 and "mlp.up_proj"; layer -1 outside layers.
struct LayerModule {
  int64_t layer = -1;
  std::string module;
};
LayerModule layer_module(std::string_view name);

}  // namespace bm
