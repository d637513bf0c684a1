#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace bm {

Result<Schedule::Kind> parse_schedule(std::string_view name) {
  if (name == "cosine") return Schedule::Kind::cosine;
  if (name == "linear") return Schedule::Kind::linear;
  if (name == "constant") return Schedule::Kind::constant;
  if (name == "wsd") return Schedule::Kind::wsd;
  return bad_input("unknown schedule \"" + std::string(name) + "\"",
                   "Schedules are cosine, linear, constant and wsd");
}

int64_t warmup_steps(double warmup, int64_t total) {
  if (warmup < 1) return static_cast<int64_t>(std::ceil(warmup * static_cast<double>(total)));
  return static_cast<int64_t>(warmup);
}

double Schedule::at(int64_t step) const {
  auto ratio = [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(std::max<int64_t>(1, b));
  };
  if (step < warmup) return peak * ratio(step, warmup);
  switch (kind) {
    case Kind::cosine: {
      double progress = ratio(step - warmup, total - warmup);
      return peak * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
    }
    case Kind::linear:
      return peak * std::max(0.0, ratio(total - step, total - warmup));
    case Kind::constant:
      return peak;
    case Kind::wsd:
      return step < total - decay ? peak : peak * std::max(0.0, ratio(total - step, decay));
  }
  return peak;
}

}  // namespace bm
