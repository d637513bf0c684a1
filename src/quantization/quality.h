// What quantizing lost, measured by running both models over a text.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace bm {

// Perplexity of both models, mean, 99 % and largest KL divergence of the next-token distributions, share of
// positions whose likeliest token is the same. data: JSON lines with text or ids; windows of `block`
// tokens without overlap, the first token of a window has no target; at most max_windows are read.
Result<Json> measure_quality(const std::string& original, const std::string& quantized,
                             const std::string& data, int64_t block, int64_t max_windows = 64);

}  // namespace bm
