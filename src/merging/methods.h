// The merge methods by name: what each needs and which parameters it takes (mergekit 0.1.5's names,
// defaults and requirements).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

enum class MethodKind {
  passthrough,
  linear,
  slerp,
  task_vectors,
  nuslerp,
  model_stock,
  sce,
  nearswap,
  multislerp,
  karcher,
  arcee_fusion,
  ram,
  ramplus_tl,
};

struct ParameterInfo {
  std::string name;
  bool required = false;
  std::optional<double> otherwise;  // default; nullopt = "not given" has a meaning of its own
};

enum class BaseRule { unused, optional, required };
enum class Sparsifier { none, magnitude, random, magnitude_outliers, della };

struct MethodInfo {
  std::string name, title, reference;  // reference: address of the paper or of the method's description
  MethodKind kind;
  BaseRule base = BaseRule::unused;
  size_t min_inputs = 1;
  size_t max_inputs = 0;                      // 0 = any number; the base counts
  size_t other_inputs = 0;                    // exact number of inputs that are not the base; 0 = any
  std::vector<ParameterInfo> global = {};     // one value per tensor
  std::vector<ParameterInfo> per_input = {};  // one value per tensor and input
  // Task-vector family only.
  Sparsifier sparsifier = Sparsifier::none;
  bool consensus = false;

  const ParameterInfo* find_parameter(std::string_view parameter) const;
};

const std::vector<MethodInfo>& merge_methods();
// bad_input names the nearest method there is.
Result<const MethodInfo*> find_merge_method(std::string_view name);

}  // namespace bm
