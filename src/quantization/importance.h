// Importance of a linear's inputs: their mean square over calibration text, layer by layer on the unquantized
// model. A change d of a weight row changes the output by x·d, so Σ mean(x²)·d² is what its quantizer lowers.
#pragma once

#include "base/result.h"
#include "quantization/gguf_export.h"

namespace bm {

struct Importance {
  ImportanceMatrix matrix;
  std::string calibration, calibration_licence;
};
// Inputs that the text never uses get a small share, so that their weights are not lost.
Result<Importance> measure_importance(const QuantizeSource& source, const QuantizeOptions& options,
                                      uint64_t seed);

}  // namespace bm
