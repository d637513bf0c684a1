// Methods of strings, lists and dicts, and the global functions.
#include <algorithm>
#include <ctime>
#include <map>

#include "tokenizer/jinja_render.h"
#include "tokenizer/unicode.h"

namespace bm::jinja {

namespace {

using Method = Result<Value> (*)(Renderer&, const Value&, const Arguments&);

bool strips(uint32_t c, const std::string* set) {
  if (!set) return unicode::is_white_space(c) || (c >= 0x1C && c <= 0x1F);  // Python's str.isspace
  for (std::string_view one : characters(*set)) {
    if (unicode::decode(one, 0).value == c) return true;
  }
  return false;
}

Result<Value> strip_sides(const Value& self, const Arguments& arguments, bool left, bool right) {
  const Value* given = arguments.get(0, "chars");
  const std::string* set = given && given->is_string() ? &given->as_string() : nullptr;
  std::string_view text = self.as_string();
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    auto c = unicode::decode_ascii_fast(text, begin);
    if (!strips(c.value, set)) break;
    begin += c.length;
  }
  while (right && end > begin) {
    size_t before = unicode::previous(text, end);
    if (!strips(unicode::decode(text, before).value, set)) break;
    end = before;
  }
  return Value::string(std::string(text.substr(begin, end - begin)));
}
Result<Value> strip(Renderer&, const Value& s, const Arguments& a) { return strip_sides(s, a, true, true); }
Result<Value> lstrip(Renderer&, const Value& s, const Arguments& a) { return strip_sides(s, a, true, false); }
Result<Value> rstrip(Renderer&, const Value& s, const Arguments& a) { return strip_sides(s, a, false, true); }

enum class Casing { upper, lower, title, capitalize };
Result<Value> change_case(Renderer& renderer, const Value& self, Casing casing) {
  std::string out;
  bool start = true;
  for (std::string_view one : characters(self.as_string())) {
    auto c = unicode::decode(one, 0);
    bool up = casing == Casing::upper || (start && casing != Casing::lower);
    if (c.valid) {
      unicode::append(out, up ? unicode::to_upper(c.value) : unicode::to_lower(c.value));
    } else {
      out += one;
    }
    start = casing == Casing::title ? !unicode::is_letter(c.value) : false;
  }
  BM_CHECK_OK(renderer.charge(out.size()));
  return Value::string(std::move(out));
}
Result<Value> upper(Renderer& r, const Value& s, const Arguments&) {
  return change_case(r, s, Casing::upper);
}
Result<Value> lower(Renderer& r, const Value& s, const Arguments&) {
  return change_case(r, s, Casing::lower);
}
Result<Value> title(Renderer& r, const Value& s, const Arguments&) {
  return change_case(r, s, Casing::title);
}
Result<Value> capitalize(Renderer& r, const Value& s, const Arguments&) {
  return change_case(r, s, Casing::capitalize);
}

Result<std::string> need_text(const Arguments& arguments, size_t index, std::string_view name) {
  const Value* value = arguments.get(index, name);
  if (!value || !value->is_string())
    return template_error("a string method needs a string argument '" + std::string(name) + "'");
  return value->as_string();
}

Result<Value> replace(Renderer& renderer, const Value& self, const Arguments& arguments) {
  BM_TRY(std::string from, need_text(arguments, 0, "old"));
  const Value* target = arguments.get(1, "new");
  if (!target) return template_error("replace needs two strings");
  std::string to = target->text();
  const Value* limit = arguments.get(2, "count");
  int64_t left = limit && limit->is_integer() && limit->as_integer() >= 0 ? limit->as_integer() : INT64_MAX;
  const std::string& text = self.as_string();
  std::string out;
  size_t at = 0;
  while (left > 0) {
    size_t found = from.empty() ? at : text.find(from, at);
    if (found == std::string::npos) break;
    out.append(text, at, found - at);
    out += to;
    --left;
    BM_CHECK_OK(renderer.charge(to.size() + 8));
    at = found + from.size();
    if (from.empty()) {
      if (at >= text.size()) {
        at = text.size() + 1;
        break;
      }
      size_t length = unicode::decode(text, at).length;
      out.append(text, at, length);
      at += length;
    }
  }
  if (at < text.size()) out.append(text, at);
  BM_CHECK_OK(renderer.charge(out.size()));
  return Value::string(std::move(out));
}

Result<Value> ends_or_starts(const Value& self, const Arguments& arguments, bool start) {
  const Value* affix = arguments.get(0, "prefix");
  auto holds = [&](const Value& one) {
    return one.is_string() && (start ? self.as_string().starts_with(one.as_string())
                                     : self.as_string().ends_with(one.as_string()));
  };
  if (affix && affix->is_list()) {
    return Value::boolean(std::any_of(affix->items().begin(), affix->items().end(), holds));
  }
  if (!affix || !affix->is_string()) return template_error("startswith and endswith need a string");
  return Value::boolean(holds(*affix));
}
Result<Value> startswith(Renderer&, const Value& s, const Arguments& a) { return ends_or_starts(s, a, true); }
Result<Value> endswith(Renderer&, const Value& s, const Arguments& a) { return ends_or_starts(s, a, false); }

void split_at_spaces(const std::string& text, int64_t limit, bool from_right, std::vector<std::string>& out) {
  auto list = characters(text);
  if (from_right) std::reverse(list.begin(), list.end());
  std::vector<std::string_view> word;
  auto flush = [&] {
    if (word.empty()) return;
    if (from_right) std::reverse(word.begin(), word.end());
    std::string joined;
    for (std::string_view c : word) joined += c;
    out.push_back(std::move(joined));
    word.clear();
  };
  for (std::string_view one : list) {
    bool space = strips(unicode::decode(one, 0).value, nullptr);
    bool rest = static_cast<int64_t>(out.size()) >= limit;
    if (space && (!rest || word.empty())) {
      flush();
    } else {
      word.push_back(one);
    }
  }
  // The rest beyond the limit loses its outer spaces.
  while (!word.empty() && strips(unicode::decode(word.back(), 0).value, nullptr)) word.pop_back();
  flush();
  if (from_right) std::reverse(out.begin(), out.end());
}

Result<Value> split_text(Renderer& renderer, const Value& self, const Arguments& arguments, bool from_right) {
  const Value* separator = arguments.get(0, "sep");
  const Value* maximum = arguments.get(1, "maxsplit");
  int64_t limit =
      maximum && maximum->is_integer() && maximum->as_integer() >= 0 ? maximum->as_integer() : INT64_MAX;
  const std::string& text = self.as_string();
  std::vector<std::string> parts;
  if (!separator || separator->is_none()) {
    split_at_spaces(text, limit, from_right, parts);
  } else {
    if (!separator->is_string() || separator->as_string().empty())
      return template_error("split needs a separator that is not empty");
    const std::string& mark = separator->as_string();
    if (!from_right) {
      size_t at = 0;
      for (size_t found; limit > 0 && (found = text.find(mark, at)) != std::string::npos; --limit) {
        parts.push_back(text.substr(at, found - at));
        at = found + mark.size();
      }
      parts.push_back(text.substr(at));
    } else {
      size_t end = text.size();
      for (; limit > 0 && end >= mark.size(); --limit) {
        size_t found = text.rfind(mark, end - mark.size());
        if (found == std::string::npos) break;
        parts.push_back(text.substr(found + mark.size(), end - found - mark.size()));
        end = found;
      }
      parts.push_back(text.substr(0, end));
      std::reverse(parts.begin(), parts.end());
    }
  }
  BM_CHECK_OK(renderer.charge(text.size() + parts.size() * sizeof(Value)));
  std::vector<Value> out;
  for (std::string& part : parts) out.push_back(Value::string(std::move(part)));
  return Value::list(std::move(out));
}
Result<Value> split(Renderer& r, const Value& s, const Arguments& a) { return split_text(r, s, a, false); }
Result<Value> rsplit(Renderer& r, const Value& s, const Arguments& a) { return split_text(r, s, a, true); }

Result<Value> splitlines(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Value* keep = arguments.get(0, "keepends");
  std::vector<Value> out;
  const std::string& text = self.as_string();
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find_first_of("\n\r", at), text.size());
    size_t after = end;
    if (end < text.size()) after = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
    out.push_back(Value::string(text.substr(at, (keep && keep->truth() ? after : end) - at)));
    at = after;
  }
  BM_CHECK_OK(renderer.charge(text.size() + out.size() * sizeof(Value)));
  return Value::list(std::move(out));
}

Result<Value> join(Renderer& renderer, const Value& self, const Arguments& arguments) {
  const Value* list = arguments.get(0, "iterable");
  if (!list) return template_error("join needs a list");
  BM_TRY(auto items, renderer.iterate(*list));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string()) return template_error("join needs strings");
    out += (i > 0 ? self.as_string() : std::string()) + items[i].as_string();
    BM_CHECK_OK(renderer.charge(self.as_string().size() + items[i].as_string().size()));
  }
  return Value::string(std::move(out));
}

Result<Value> find_text(const Value& self, const Arguments& arguments, bool last) {
  BM_TRY(std::string wanted, need_text(arguments, 0, "sub"));
  const std::string& text = self.as_string();
  size_t at = last ? text.rfind(wanted) : text.find(wanted);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(unicode::count(std::string_view(text).substr(0, at))));
}
Result<Value> find(Renderer&, const Value& s, const Arguments& a) { return find_text(s, a, false); }
Result<Value> rfind(Renderer&, const Value& s, const Arguments& a) { return find_text(s, a, true); }

Result<Value> count(Renderer&, const Value& self, const Arguments& arguments) {
  BM_TRY(std::string wanted, need_text(arguments, 0, "sub"));
  if (wanted.empty()) return Value::integer(static_cast<int64_t>(unicode::count(self.as_string())) + 1);
  int64_t n = 0;
  for (size_t at = self.as_string().find(wanted); at != std::string::npos;
       at = self.as_string().find(wanted, at + wanted.size()))
    ++n;
  return Value::integer(n);
}

Result<Value> removeprefix(Renderer&, const Value& self, const Arguments& arguments) {
  BM_TRY(std::string affix, need_text(arguments, 0, "prefix"));
  return self.as_string().starts_with(affix) ? Value::string(self.as_string().substr(affix.size())) : self;
}
Result<Value> removesuffix(Renderer&, const Value& self, const Arguments& arguments) {
  BM_TRY(std::string affix, need_text(arguments, 0, "suffix"));
  const std::string& text = self.as_string();
  return text.ends_with(affix) ? Value::string(text.substr(0, text.size() - affix.size())) : self;
}

template <bool (*In)(uint32_t)>
Result<Value> all_are(Renderer&, const Value& self, const Arguments&) {
  auto list = characters(self.as_string());
  return Value::boolean(!list.empty() && std::all_of(list.begin(), list.end(), [](std::string_view c) {
    return In(unicode::decode(c, 0).value);
  }));
}
template <bool Upper>
Result<Value> has_case(Renderer&, const Value& self, const Arguments&) {
  bool cased = false;
  for (std::string_view one : characters(self.as_string())) {
    uint32_t c = unicode::decode(one, 0).value;
    if (Upper ? unicode::to_upper(c) != c : unicode::to_lower(c) != c) return Value::boolean(false);
    cased = cased || unicode::to_lower(c) != unicode::to_upper(c);
  }
  return Value::boolean(cased);
}
bool letter_or_number(uint32_t c) { return unicode::is_letter(c) || unicode::is_number(c); }

const std::map<std::string_view, Method>& string_methods() {
  static const std::map<std::string_view, Method> table = {
      {"strip", strip},
      {"lstrip", lstrip},
      {"rstrip", rstrip},
      {"upper", upper},
      {"lower", lower},
      {"title", title},
      {"capitalize", capitalize},
      {"replace", replace},
      {"startswith", startswith},
      {"endswith", endswith},
      {"split", split},
      {"rsplit", rsplit},
      {"splitlines", splitlines},
      {"join", join},
      {"find", find},
      {"rfind", rfind},
      {"count", count},
      {"removeprefix", removeprefix},
      {"removesuffix", removesuffix},
      {"isdigit", all_are<unicode::is_number>},
      {"isalpha", all_are<unicode::is_letter>},
      {"isspace", all_are<unicode::is_white_space>},
      {"isalnum", all_are<letter_or_number>},
      {"isupper", has_case<true>},
      {"islower", has_case<false>},
  };
  return table;
}

Result<Value> dict_items(Renderer&, const Value& self, const Arguments&) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().entries) out.push_back(Value::tuple({key, value}));
  return Value::list(std::move(out));
}
Result<Value> dict_keys(Renderer&, const Value& self, const Arguments&) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().entries) out.push_back(key);
  return Value::list(std::move(out));
}
Result<Value> dict_values(Renderer&, const Value& self, const Arguments&) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.as_dict().entries) out.push_back(value);
  return Value::list(std::move(out));
}
Result<Value> dict_get(Renderer&, const Value& self, const Arguments& arguments) {
  const Value* key = arguments.get(0, "key");
  if (!key) return template_error("get needs a key");
  if (const Value* found = self.as_dict().find(*key)) return *found;
  const Value* otherwise = arguments.get(1, "default");
  return otherwise ? *otherwise : Value::none();
}
const std::map<std::string_view, Method>& dict_methods() {
  static const std::map<std::string_view, Method> table = {
      {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}, {"get", dict_get}};
  return table;
}

Result<Value> list_index(Renderer&, const Value& self, const Arguments& arguments) {
  for (size_t i = 0; !arguments.positional.empty() && i < self.items().size(); ++i) {
    if (self.items()[i].equals(arguments.positional[0])) return Value::integer(static_cast<int64_t>(i));
  }
  return template_error("index: the value is not in the list");
}
Result<Value> list_count(Renderer&, const Value& self, const Arguments& arguments) {
  int64_t n = 0;
  for (const Value& item : self.items())
    n += !arguments.positional.empty() && item.equals(arguments.positional[0]);
  return Value::integer(n);
}
const std::map<std::string_view, Method>& list_methods() {
  static const std::map<std::string_view, Method> table = {{"index", list_index}, {"count", list_count}};
  return table;
}

Result<Value> range(Renderer& renderer, const Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  size_t n = arguments.positional.size();
  if (n < 1 || n > 3) return template_error("range needs one to three integers");
  for (size_t i = 0; i < n; ++i) {
    if (!arguments.positional[i].is_integer()) return template_error("range needs integers");
    bounds[n == 1 ? 1 : i] =
        std::clamp<int64_t>(arguments.positional[i].as_integer(), -(int64_t{1} << 40), int64_t{1} << 40);
  }
  if (bounds[2] == 0) return template_error("range: the step is 0");
  std::vector<Value> out;
  for (int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1]; i += bounds[2]) {
    if (out.size() >= 100'000) return template_error("range is longer than 100,000");
    BM_CHECK_OK(renderer.charge(sizeof(Value)));
    out.push_back(Value::integer(i));
  }
  return Value::list(std::move(out));
}

Result<Value> make_dict(const Arguments& arguments, bool assignable) {
  Value out = Value::dict();
  out.as_dict().assignable = assignable;
  for (const Value& value : arguments.positional) {
    if (!value.is_dict()) return template_error("dict and namespace take a mapping");
    for (const auto& [key, entry] : value.as_dict().entries) out.as_dict().set(key, entry);
  }
  for (const auto& [name, value] : arguments.named) out.as_dict().set(Value::string(name), value);
  return out;
}

Result<Value> strftime_now(Renderer&, const Arguments& arguments) {
  const Value* format = arguments.get(0, "format");
  if (!format || !format->is_string() || format->as_string().size() > 200)
    return template_error("strftime_now needs a format");
  std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[2048];
  size_t length = std::strftime(buffer, sizeof buffer, format->as_string().c_str(), &local);
  return Value::string(std::string(buffer, length));
}

}  // namespace

Value method(const Value& object, const std::string& name) {
  const std::map<std::string_view, Method>* table = nullptr;
  if (object.is_string()) table = &string_methods();
  if (object.is_dict()) table = &dict_methods();
  if (object.is_list()) table = &list_methods();
  if (!table) return Value();
  auto found = table->find(name);
  if (found == table->end()) return Value();
  Method function = found->second;
  return Value::function([object, function](Renderer& renderer, const Arguments& arguments) {
    return function(renderer, object, arguments);
  });
}

void add_builtin_globals(Renderer& renderer) {
  renderer.set_global("range", Value::function(range));
  renderer.set_global("strftime_now", Value::function(strftime_now));
  renderer.set_global("namespace",
                      Value::function([](Renderer&, const Arguments& a) { return make_dict(a, true); }));
  renderer.set_global("dict",
                      Value::function([](Renderer&, const Arguments& a) { return make_dict(a, false); }));
  renderer.set_global(
      "raise_exception", Value::function([](Renderer&, const Arguments& a) -> Result<Value> {
        const Value* message = a.get(0, "message");
        return bad_input(message ? message->text() : "the chat template refuses this conversation");
      }));
}

}  // namespace bm::jinja
