// Parameter settings of a merge configuration: a number, a gradient over the layers, or a list of
// values with filters on the tensor's name. Source: mergekit's configuration (semantics.md 1.1,
// PART 0 item 20).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

// One entry of a filter list; the whole setting may also be one entry without a filter.
struct ConditionalValue {
  std::optional<std::string> filter;  // absent or "*" = every tensor, else a substring of its name
  std::vector<double> values;         // one number, or a gradient
  bool steps = false;                 // holds booleans: a step function instead of interpolation
  uint32_t line = 0;

  bool matches(std::string_view tensor) const;
  // t in [0, 1]: position of the layer inside its slice.
  double at(double t) const;
};

class ParameterSetting {
 public:
  // bad_input: text that is no number, an empty list, a mapping without `value`.
  static Result<ParameterSetting> parse(const Json& value);
  // The first entry that matches; nullopt = the next outer scope decides.
  std::optional<double> evaluate(std::string_view tensor, double t) const;
  const std::vector<ConditionalValue>& entries() const { return entries_; }

 private:
  std::vector<ConditionalValue> entries_;
};

// The `parameters:` mapping of one scope.
struct ParameterScope {
  std::map<std::string, ParameterSetting, std::less<>> settings;
  uint32_t line = 0;

  static Result<ParameterScope> parse(const Json& value);
  std::optional<double> evaluate(std::string_view name, std::string_view tensor, double t) const;
};

}  // namespace bm
