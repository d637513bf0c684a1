// How a merge plan is printed: shared by `merge --dry-run` and `merge plan`.
#pragma once

#include "base/json.h"

namespace bm {

void print_merge_plan(const Json& plan, bool json);

}  // namespace bm
