// Filters and tests of Jinja 3.1 (jinja2/filters.py, tests.py); tojson as transformers redefines it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "base/file.h"
#include "tokenizer/jinja_render.h"
#include "tokenizer/unicode.h"

namespace bm::jinja {

namespace {

using Filter = Result<Value> (*)(Renderer&, const Value&, const Arguments&);

const std::string* text_argument(const Arguments& arguments, size_t index, std::string_view name) {
  const Value* value = arguments.get(index, name);
  return value && value->is_string() ? &value->as_string() : nullptr;
}
bool flag_argument(const Arguments& arguments, size_t index, std::string_view name, bool otherwise) {
  const Value* value = arguments.get(index, name);
  return value ? value->truth() : otherwise;
}
int64_t number_argument(const Arguments& arguments, size_t index, std::string_view name, int64_t otherwise) {
  const Value* value = arguments.get(index, name);
  return value && value->is_integer() ? value->as_integer() : otherwise;
}

// Methods of strings serve as filters too: the receiver becomes text first.
template <const char* const& Name>
Result<Value> as_method(Renderer& renderer, const Value& value, const Arguments& arguments) {
  Value text = value.is_string() ? value : Value::string(value.text());
  return renderer.call(method(text, Name), arguments);
}
constexpr const char* upper_name = "upper";
constexpr const char* lower_name = "lower";
constexpr const char* title_name = "title";
constexpr const char* capitalize_name = "capitalize";
constexpr const char* strip_name = "strip";
constexpr const char* replace_name = "replace";

Result<Value> filter_default(Renderer&, const Value& value, const Arguments& arguments) {
  bool use = value.is_undefined() || (flag_argument(arguments, 1, "boolean", false) && !value.truth());
  if (!use) return value;
  const Value* otherwise = arguments.get(0, "default_value");
  return otherwise ? *otherwise : Value::string("");
}

Result<Value> filter_length(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  return Value::integer(static_cast<int64_t>(items.size()));
}

Result<Value> filter_first(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  return items.empty() ? Value::undefined("the first item of an empty sequence") : items.front();
}

Result<Value> filter_last(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  return items.empty() ? Value::undefined("the last item of an empty sequence") : items.back();
}

Result<Value> filter_list(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  return Value::list(std::move(items));
}

Result<Value> filter_reverse(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  std::reverse(items.begin(), items.end());
  if (!value.is_string()) return Value::list(std::move(items));
  std::string out;
  for (const Value& item : items) out += item.as_string();
  return Value::string(std::move(out));
}

// attribute="a.b" or attribute=0 of an item.
Result<Value> attribute_of(Renderer& renderer, const Value& item, const Value* path) {
  if (!path) return item;
  if (path->is_integer()) return renderer.item(item, *path);
  Value value = item;
  for (const std::string& name : split(path->text(), '.')) {
    BM_TRY(value, renderer.item(value, Value::string(name)));
  }
  return value;
}

Result<Value> filter_join(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(auto items, renderer.iterate(value));
  const std::string* between = text_argument(arguments, 0, "d");
  const Value* path = arguments.get(1, "attribute");
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    BM_TRY(Value item, attribute_of(renderer, items[i], path));
    if (i > 0 && between) out += *between;
    out += item.text();
    BM_CHECK_OK(renderer.charge(64));
  }
  BM_CHECK_OK(renderer.charge(out.size()));
  return Value::string(std::move(out));
}

Result<Value> filter_tojson(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(Json json, value.to_json());
  int64_t indent = number_argument(arguments, 0, "indent", -1);
  std::string text =
      indent < 0 ? json.dump_spaced() : json.dump_pretty(static_cast<int>(std::min<int64_t>(indent, 16)));
  BM_CHECK_OK(renderer.charge(text.size()));
  return Value::string(std::move(text));
}

Result<Value> filter_string(Renderer&, const Value& value, const Arguments&) {
  return Value::string(value.text());
}

Result<Value> filter_int(Renderer&, const Value& value, const Arguments& arguments) {
  int64_t otherwise = number_argument(arguments, 0, "default", 0);
  if (value.is_integer() || value.is_boolean()) return Value::integer(value.as_integer());
  double real = 0;
  if (value.is_real()) {
    real = value.as_double();
  } else if (value.is_string()) {
    std::string_view text = trim(value.as_string());
    if (text.starts_with('+')) text.remove_prefix(1);
    int64_t whole = 0;
    auto read = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (read.ec == std::errc() && read.ptr == text.data() + text.size()) return Value::integer(whole);
    auto read_real = std::from_chars(text.data(), text.data() + text.size(), real);
    if (read_real.ec != std::errc() || read_real.ptr != text.data() + text.size())
      return Value::integer(otherwise);
  } else {
    return Value::integer(otherwise);
  }
  if (!(std::fabs(real) < 9e18)) return Value::integer(otherwise);
  return Value::integer(static_cast<int64_t>(real));
}

Result<Value> filter_float(Renderer&, const Value& value, const Arguments& arguments) {
  const Value* given = arguments.get(0, "default");
  Value otherwise = given ? *given : Value::real(0);
  if (value.is_number()) return Value::real(value.as_double());
  if (!value.is_string()) return otherwise;
  std::string_view text = trim(value.as_string());
  double real = 0;
  auto read = std::from_chars(text.data(), text.data() + text.size(), real);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return otherwise;
  return Value::real(real);
}

Result<Value> filter_abs(Renderer& renderer, const Value& value, const Arguments&) {
  if (!value.is_number()) return template_error("abs needs a number");
  if (value.is_real()) return Value::real(std::fabs(value.as_double()));
  return value.as_integer() < 0 ? binary(renderer, "-", Value::integer(0), value) : Result<Value>(value);
}

Result<Value> filter_round(Renderer&, const Value& value, const Arguments& arguments) {
  if (!value.is_number()) return template_error("round needs a number");
  int64_t digits = std::clamp<int64_t>(number_argument(arguments, 0, "precision", 0), -15, 15);
  const std::string* kind = text_argument(arguments, 1, "method");
  if (!value.is_real() && digits >= 0 && !kind) return value;
  double scale = std::pow(10.0, static_cast<double>(digits)), scaled = value.as_double() * scale;
  double rounded = kind && *kind == "ceil"    ? std::ceil(scaled)
                   : kind && *kind == "floor" ? std::floor(scaled)
                                              : std::nearbyint(scaled);
  return Value::real(rounded / scale);
}

Result<Value> filter_items(Renderer& renderer, const Value& value, const Arguments&) {
  if (value.is_undefined()) return Value::list({});
  if (!value.is_dict()) return template_error("items needs a mapping");
  return renderer.call(method(value, "items"), {});
}

Result<Value> filter_dictsort(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(Value pairs, filter_items(renderer, value, {}));
  const std::string* by = text_argument(arguments, 1, "by");
  size_t key = by && *by == "value" ? 1 : 0;
  bool down = flag_argument(arguments, 2, "reverse", false);
  bool case_matters = flag_argument(arguments, 0, "case_sensitive", false);
  std::optional<Error> failure;
  auto folded = [&](const Value& item) {
    if (case_matters || !item.is_string()) return item;
    auto lower = renderer.call(method(item, "lower"), {});
    return lower ? *lower : item;
  };
  std::stable_sort(pairs.items().begin(), pairs.items().end(), [&](const Value& a, const Value& b) {
    auto order = compare(folded(a.items()[key]), folded(b.items()[key]));
    if (!order) failure = order.error();
    return order && (down ? *order > 0 : *order < 0);
  });
  if (failure) return *failure;
  return pairs;
}

Result<Value> filter_sort(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(auto items, renderer.iterate(value));
  bool down = flag_argument(arguments, 0, "reverse", false);
  bool case_matters = flag_argument(arguments, 1, "case_sensitive", false);
  const Value* path = arguments.get(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    BM_TRY(Value key, attribute_of(renderer, item, path));
    if (!case_matters && key.is_string()) {
      BM_TRY(key, renderer.call(method(key, "lower"), {}));
    }
    keyed.emplace_back(std::move(key), item);
  }
  std::optional<Error> failure;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    auto order = compare(a.first, b.first);
    if (!order) failure = order.error();
    return order && (down ? *order > 0 : *order < 0);
  });
  if (failure) return *failure;
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::list(std::move(out));
}

Result<Value> filter_unique(Renderer& renderer, const Value& value, const Arguments&) {
  BM_TRY(auto items, renderer.iterate(value));
  std::vector<Value> out;
  for (Value& item : items) {
    BM_CHECK_OK(renderer.charge(out.size() + 1));
    bool seen = std::any_of(out.begin(), out.end(), [&](const Value& old) { return old.equals(item); });
    if (!seen) out.push_back(std::move(item));
  }
  return Value::list(std::move(out));
}

Result<Value> extreme(Renderer& renderer, const Value& value, const Arguments& arguments, int wanted) {
  BM_TRY(auto items, renderer.iterate(value));
  const Value* path = arguments.get(1, "attribute");
  Value best, best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    BM_TRY(Value key, attribute_of(renderer, items[i], path));
    int order = wanted;
    if (i > 0) {
      BM_TRY(order, compare(key, best_key));
    }
    if (order * wanted > 0) {
      best = items[i];
      best_key = std::move(key);
    }
  }
  return best;
}
Result<Value> filter_max(Renderer& renderer, const Value& value, const Arguments& a) {
  return extreme(renderer, value, a, 1);
}
Result<Value> filter_min(Renderer& renderer, const Value& value, const Arguments& a) {
  return extreme(renderer, value, a, -1);
}

Result<Value> filter_sum(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(auto items, renderer.iterate(value));
  const Value* path = arguments.get(0, "attribute");
  const Value* start = arguments.get(1, "start");
  Value total = start ? *start : Value::integer(0);
  for (const Value& item : items) {
    BM_TRY(Value one, attribute_of(renderer, item, path));
    BM_TRY(total, binary(renderer, "+", total, one));
  }
  return total;
}

Result<Value> filter_map(Renderer& renderer, const Value& value, const Arguments& arguments) {
  BM_TRY(auto items, renderer.iterate(value));
  std::vector<Value> out;
  const Value* path = arguments.positional.empty() ? arguments.get(0, "attribute") : nullptr;
  const Value* otherwise = arguments.positional.empty() ? arguments.get(1, "default") : nullptr;
  if (!path && arguments.positional.empty()) return template_error("map needs a filter or an attribute");
  Arguments rest;
  if (!path) rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  for (const Value& item : items) {
    Value mapped;
    if (path) {
      BM_TRY(mapped, attribute_of(renderer, item, path));
      if (mapped.is_undefined() && otherwise) mapped = *otherwise;
    } else {
      BM_TRY(mapped, renderer.apply_filter(arguments.positional[0].text(), item, rest));
    }
    out.push_back(std::move(mapped));
  }
  return Value::list(std::move(out));
}

Result<Value> choose(Renderer& renderer, const Value& value, const Arguments& arguments, bool by_attribute,
                     bool keep) {
  BM_TRY(auto items, renderer.iterate(value));
  size_t first = by_attribute ? 1 : 0;
  if (arguments.positional.size() < first)
    return template_error("selectattr and rejectattr need an attribute");
  const Value* path = by_attribute ? &arguments.positional[0] : nullptr;
  const Value* test = first < arguments.positional.size() ? &arguments.positional[first] : nullptr;
  Arguments rest;
  if (test)
    rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(first) + 1,
                           arguments.positional.end());
  std::vector<Value> out;
  for (const Value& item : items) {
    BM_TRY(Value subject, attribute_of(renderer, item, path));
    bool holds = subject.truth();
    if (test) {
      BM_TRY(holds, renderer.apply_test(test->text(), subject, rest));
    }
    if (holds == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}
Result<Value> filter_select(Renderer& r, const Value& v, const Arguments& a) {
  return choose(r, v, a, false, true);
}
Result<Value> filter_reject(Renderer& r, const Value& v, const Arguments& a) {
  return choose(r, v, a, false, false);
}
Result<Value> filter_selectattr(Renderer& r, const Value& v, const Arguments& a) {
  return choose(r, v, a, true, true);
}
Result<Value> filter_rejectattr(Renderer& r, const Value& v, const Arguments& a) {
  return choose(r, v, a, true, false);
}

Result<Value> filter_indent(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Value* width = arguments.get(0, "width");
  std::string pad =
      width && width->is_string()
          ? width->as_string()
          : std::string(
                static_cast<size_t>(std::clamp<int64_t>(number_argument(arguments, 0, "width", 4), 0, 200)),
                ' ');
  bool first = flag_argument(arguments, 1, "first", false),
       blank = flag_argument(arguments, 2, "blank", false);
  auto lines = split(value.text(), '\n');
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    bool indented = i == 0 ? first : (blank || !lines[i].empty());
    out += (i > 0 ? "\n" : "") + (indented ? pad : std::string()) + lines[i];
  }
  BM_CHECK_OK(renderer.charge(out.size()));
  return Value::string(std::move(out));
}

Result<Value> filter_escape(Renderer& renderer, const Value& value, const Arguments&) {
  std::string out;
  for (char c : value.text()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  BM_CHECK_OK(renderer.charge(out.size()));
  return Value::string(std::move(out));
}

Result<Value> filter_wordcount(Renderer&, const Value& value, const Arguments&) {
  int64_t words = 0;
  bool inside = false;
  for (std::string_view c : characters(value.text())) {
    bool word = unicode::is_word(unicode::decode(c, 0).value);
    if (word && !inside) ++words;
    inside = word;
  }
  return Value::integer(words);
}

Result<Value> filter_attr(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const std::string* name = text_argument(arguments, 0, "name");
  if (!name) return template_error("attr needs a name");
  return renderer.attribute(value, *name);
}

Result<Value> filter_safe(Renderer&, const Value& value, const Arguments&) { return value; }

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> table = {
      {"abs", filter_abs},
      {"attr", filter_attr},
      {"capitalize", as_method<capitalize_name>},
      {"count", filter_length},
      {"d", filter_default},
      {"default", filter_default},
      {"dictsort", filter_dictsort},
      {"e", filter_escape},
      {"escape", filter_escape},
      {"first", filter_first},
      {"float", filter_float},
      {"indent", filter_indent},
      {"int", filter_int},
      {"items", filter_items},
      {"join", filter_join},
      {"last", filter_last},
      {"length", filter_length},
      {"list", filter_list},
      {"lower", as_method<lower_name>},
      {"map", filter_map},
      {"max", filter_max},
      {"min", filter_min},
      {"reject", filter_reject},
      {"rejectattr", filter_rejectattr},
      {"replace", as_method<replace_name>},
      {"reverse", filter_reverse},
      {"round", filter_round},
      {"safe", filter_safe},
      {"select", filter_select},
      {"selectattr", filter_selectattr},
      {"sort", filter_sort},
      {"string", filter_string},
      {"sum", filter_sum},
      {"title", as_method<title_name>},
      {"tojson", filter_tojson},
      {"trim", as_method<strip_name>},
      {"unique", filter_unique},
      {"upper", as_method<upper_name>},
      {"wordcount", filter_wordcount},
  };
  return table;
}

}  // namespace

Result<Value> Renderer::apply_filter(const std::string& name, const Value& operand,
                                     const Arguments& arguments) {
  auto found = filters().find(name);
  if (found == filters().end()) return template_error("there is no filter '" + name + "' here");
  return found->second(*this, operand, arguments);
}

static Result<bool> compare_test(const std::string& name, const Value& a, const Value& b) {
  if (name == "eq" || name == "equalto" || name == "==") return a.equals(b);
  if (name == "ne" || name == "!=") return !a.equals(b);
  if (name == "in") return contains(b, a);
  if (name == "sameas") {
    bool same_object = a.identity() && a.identity() == b.identity();
    return same_object || (!a.identity() && !b.identity() && a.type_name() == b.type_name() && a.equals(b));
  }
  if (name == "divisibleby") {
    if (!a.is_integer() || !b.is_integer() || b.as_integer() == 0)
      return template_error("divisibleby needs two integers");
    return b.as_integer() == -1 || a.as_integer() % b.as_integer() == 0;
  }
  BM_TRY(int order, compare(a, b));
  if (name == "lt" || name == "lessthan" || name == "<") return order < 0;
  if (name == "le" || name == "<=") return order <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return order > 0;
  return order >= 0;
}

Result<bool> Renderer::apply_test(const std::string& name, const Value& value, const Arguments& arguments) {
  static const std::vector<std::string_view> binary_tests = {
      "eq",       "equalto", "==", "ne", "!=", "in",          "sameas", "divisibleby", "lt",
      "lessthan", "<",       "le", "<=", "gt", "greaterthan", ">",      "ge",          ">="};
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "string") return value.is_string();
  if (name == "number") return value.is_number();
  if (name == "integer") return value.is_integer();
  if (name == "float") return value.is_real();
  if (name == "boolean") return value.is_boolean();
  if (name == "true") return value.is_boolean() && value.as_boolean();
  if (name == "false") return value.is_boolean() && !value.as_boolean();
  if (name == "mapping") return value.is_dict();
  if (name == "sequence" || name == "iterable") {
    return value.is_list() || value.is_string() || value.is_dict() || value.is_undefined();
  }
  if (name == "callable") return value.is_function();
  if (name == "odd" || name == "even") {
    if (!value.is_integer()) return template_error(name + " needs an integer");
    return (value.as_integer() % 2 != 0) == (name == "odd");
  }
  if (name == "lower" || name == "upper") {
    BM_TRY(Value changed, apply_filter(name, value, {}));
    return changed.as_string() == value.text();
  }
  if (name == "filter") return filters().contains(value.text());
  if (std::find(binary_tests.begin(), binary_tests.end(), name) != binary_tests.end()) {
    if (arguments.positional.empty()) return template_error("the test '" + name + "' needs an argument");
    return compare_test(name, value, arguments.positional[0]);
  }
  return template_error("there is no test '" + name + "' here");
}

}  // namespace bm::jinja
