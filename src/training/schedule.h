// Learning rate by step. Source: transformers optimization.py (get_cosine_schedule_with_warmup,
// get_linear_…, get_constant_…, get_wsd_schedule with linear decay).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace bm {

struct Schedule {
  enum class Kind : uint8_t { cosine, linear, constant, wsd };
  Kind kind = Kind::cosine;
  double peak = 0;
  int64_t warmup = 0;  // steps
  int64_t total = 0;   // steps
  int64_t decay = 0;   // wsd: last steps

  // Rate of step s = 0 … total − 1: peak · s / warmup below warmup, so 0 at s = 0 when there is one.
  double at(int64_t step) const;
};
Result<Schedule::Kind> parse_schedule(std::string_view name);

// Steps of a warm-up given as steps, or, below 1, as a share of all steps (rounded up, as warmup_ratio).
int64_t warmup_steps(double warmup, int64_t total);

}  // namespace bm
