#include "quantization/importance.h"

#include <numeric>

#include "base/log.h"
#include "quantization/awq_stage.h"
#include "quantization/calibration.h"

namespace bm {
namespace {

std::vector<float> mean_squares(const float* x, int64_t rows, int64_t columns) {
  std::vector<double> sums(static_cast<size_t>(columns), 0.0);
  for (int64_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < sums.size(); ++c) {
      auto value = static_cast<double>(x[static_cast<size_t>(r * columns) + c]);
      sums[c] += value * value;
    }
  double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(columns);
  std::vector<float> out(sums.size(), 1.0f);
  if (!(mean > 0)) return out;
  // Relative to the mean, which keeps the sums of the search in float32's middle.
  for (size_t c = 0; c < sums.size(); ++c) out[c] = static_cast<float>(sums[c] / mean + 1e-3);
  return out;
}

}  // namespace

Result<Importance> measure_importance(const QuantizeSource& source, const QuantizeOptions& options,
                                      uint64_t seed) {
  const ModelConfig& config = source.config();
  BM_TRY(auto calibration,
         read_calibration(options.calibration, options.samples, options.calibration_block, config.vocab, seed,
                          [&] { return Tokenizer::load(source.path()); }));
  log_info("calibration: " + std::to_string(calibration.blocks.size()) + " blocks of " +
           std::to_string(options.calibration_block) + " tokens from " + calibration.source);
  BM_TRY(auto stream, embed_blocks(source, calibration.blocks));
  std::vector<int64_t> lengths;
  for (const auto& block : calibration.blocks) lengths.push_back(static_cast<int64_t>(block.size()));
  Importance importance{{}, calibration.source, calibration.licence};
  Progress progress("importance of inputs", "layers", static_cast<uint64_t>(config.layers));
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (stop_requested()) return interrupted_error("measuring importance");
    BM_TRY(auto weights, read_layer_weights(source, layer, DType::f32));
    std::string prefix = "model.layers." + std::to_string(layer) + ".";
    run_layer(config, weights, lengths, stream.data(),
              [&](std::string_view module, const float* input, int64_t rows, int64_t columns) {
                importance.matrix[prefix + std::string(module)] = mean_squares(input, rows, columns);
              });
    progress.advance();
  }
  return importance;
}

}  // namespace bm
