// AWQ's clip search: per output and weight group the largest magnitude kept, the one of ten (100 % … 55 %
// of the group's maximum) whose quantized group changes the group's share of the output least.
// Source: AutoAWQ 0.2.9 quantizer.py _compute_best_clip; semantics.md 1.2 and part 0, item 24.
#pragma once

#include <string_view>
#include <vector>

#include "quantization/awq_search.h"

namespace bm {

// linear: already scaled; x: its inputs [tokens, columns], divided by the same scales.
AwqClip search_clip(std::string_view module, const LinearF32& linear, const std::vector<float>& x,
                    const AwqSearchOptions& options);

// Every how many tokens AutoAWQ takes one: ⌊n/512⌋, at least 1 (so up to 1,023 tokens are used).
inline int64_t clip_token_stride(int64_t tokens) { return tokens / 512 > 1 ? tokens / 512 : 1; }

}  // namespace bm
