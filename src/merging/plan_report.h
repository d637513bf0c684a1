// A merge plan in numbers: what `merge plan` prints and manifests keep.
#pragma once

#include "base/json.h"
#include "base/stage.h"
#include "merging/plan.h"

namespace bm {

// Method, mode, seed, counts, warnings.
Json plan_summary(const MergePlan& plan, Mode mode, uint64_t seed);
// The same with every tensor and the estimates of memory, disk and time.
Json plan_details(const MergePlan& plan, Mode mode, uint64_t seed);

}  // namespace bm
