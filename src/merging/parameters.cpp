#include "merging/parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/file.h"

namespace bm {
namespace {

Error at(const Json& value, std::string what, std::string cure = {}) {
  Error error = bad_input(std::move(what), std::move(cure));
  if (value.line()) error.in("line " + std::to_string(value.line()));
  return error;
}

bool is_scalar(const Json& value) { return value.is_number() || value.is_bool() || value.is_string(); }

// Numbers, booleans (1 and 0) and text that spells a number ("5e-1").
Result<double> scalar(const Json& value) {
  if (value.is_bool()) return value.as_bool() ? 1.0 : 0.0;
  if (value.is_number()) return value.as_double();
  if (value.is_string()) {
    std::string_view text = trim(value.as_string());
    if (!text.empty() && text[0] == '+') text.remove_prefix(1);
    double number = 0;
    auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code == std::errc() && stop == text.data() + text.size() && !text.empty() && std::isfinite(number))
      return number;
  }
  return at(value, "is " + value.dump() + ", a number is wanted",
            "Write a number, a list of numbers (a gradient over the layers) or a list of {filter, value}.");
}

Status read_values(const Json& value, ConditionalValue& out) {
  if (!value.is_array()) {
    BM_TRY(double number, scalar(value));
    out.values = {number};
    return {};
  }
  if (value.size() == 0) return at(value, "is an empty list, at least one number is wanted");
  for (const Json& item : value.items()) {
    BM_TRY(double number, scalar(item));
    out.values.push_back(number);
    out.steps = out.steps || item.is_bool();
  }
  return {};
}

Result<ConditionalValue> conditional(const Json& value) {
  ConditionalValue out;
  out.line = value.line();
  for (const Json::Member& member : value.members()) {
    if (member.first == "filter") {
      if (member.second.is_null()) continue;
      if (!member.second.is_string())
        return at(member.second, "filter is no text", "A filter is part of a tensor's name.");
      out.filter = member.second.as_string();
    } else if (member.first != "value") {
      return at(member.second, "unknown key \"" + member.first + "\"",
                "An entry holds `filter` and `value`.");
    }
  }
  const Json* inner = value.find("value");
  if (!inner) return at(value, "an entry without `value`", "An entry holds `filter` and `value`.");
  BM_CHECK_OK(read_values(*inner, out).in("value"));
  return out;
}

}  // namespace

bool ConditionalValue::matches(std::string_view tensor) const {
  return !filter || *filter == "*" || tensor.find(*filter) != std::string_view::npos;
}

double ConditionalValue::at(double t) const {
  double scaled = t * static_cast<double>(values.size() - 1);
  size_t low = static_cast<size_t>(std::max(0.0, scaled));
  low = std::min(low, values.size() - 1);
  if (steps || values.size() == 1) return values[low];
  double fraction = scaled - static_cast<double>(low);
  size_t high = std::min(values.size() - 1, low + 1);
  return (1 - fraction) * values[low] + fraction * values[high];
}

Result<ParameterSetting> ParameterSetting::parse(const Json& value) {
  ParameterSetting setting;
  if (value.is_object()) {
    BM_TRY(ConditionalValue entry, conditional(value));
    setting.entries_.push_back(std::move(entry));
    return setting;
  }
  bool filtered = value.is_array() && std::any_of(value.items().begin(), value.items().end(),
                                                  [](const Json& item) { return item.is_object(); });
  if (!filtered) {
    if (!value.is_array() && !is_scalar(value))
      return at(value, "has no value", "Write a number, a list of numbers or a list of {filter, value}.");
    ConditionalValue entry;
    entry.line = value.line();
    BM_CHECK_OK(read_values(value, entry));
    setting.entries_.push_back(std::move(entry));
    return setting;
  }
  for (const Json& item : value.items()) {
    if (!item.is_object()) return at(item, "mixes plain numbers with {filter, value} entries");
    BM_TRY(ConditionalValue entry, conditional(item));
    setting.entries_.push_back(std::move(entry));
  }
  return setting;
}

std::optional<double> ParameterSetting::evaluate(std::string_view tensor, double t) const {
  for (const ConditionalValue& entry : entries_)
    if (entry.matches(tensor)) return entry.at(t);
  return std::nullopt;
}

Result<ParameterScope> ParameterScope::parse(const Json& value) {
  ParameterScope scope;
  scope.line = value.line();
  if (value.is_null()) return scope;
  if (!value.is_object()) return at(value, "is no mapping of parameter names to values");
  for (const Json::Member& member : value.members()) {
    BM_TRY(ParameterSetting setting, ParameterSetting::parse(member.second).in(member.first));
    scope.settings.emplace(member.first, std::move(setting));
  }
  return scope;
}

std::optional<double> ParameterScope::evaluate(std::string_view name, std::string_view tensor,
                                               double t) const {
  auto found = settings.find(name);
  if (found == settings.end()) return std::nullopt;
  return found->second.evaluate(tensor, t);
}

}  // namespace bm
