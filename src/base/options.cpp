#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/file.h"

namespace bm {
namespace {

template <class... F>
struct Visitor : F... {
  using F::operator()...;
};
template <class... F>
Visitor(F...) -> Visitor<F...>;

Result<int64_t> read_integer(std::string_view text) {
  int64_t value = 0;
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  auto [end, code] = std::from_chars(begin, text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size())
    return bad_input("\"" + std::string(text) + "\" is no whole number");
  return value;
}
Result<uint64_t> read_unsigned(std::string_view text) {
  uint64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size())
    return bad_input("\"" + std::string(text) + "\" is no whole number of 0 or more");
  return value;
}
Result<double> read_real(std::string_view text) {
  double value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return bad_input("\"" + std::string(text) + "\" is no number");
  return value;
}
Result<bool> read_flag(std::string_view text) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  return bad_input("\"" + std::string(text) + "\" is neither true nor false");
}

template <class T, class R>
Status store(T& target, R result) {
  if (!result.ok()) return std::move(result).error();
  target = std::move(result).value();
  return {};
}

Status check_choice(const Field& field, const std::string& value) {
  const auto& choices = field.info.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
  std::string list;
  for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  return bad_input("\"" + value + "\" is none of: " + list);
}

std::string same_dashes(std::string_view name) {
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '_', '-');
  return plain;
}

}  // namespace

Result<ByteSize> parse_byte_size(std::string_view text) {
  std::string_view number = trim(text);
  if (number.ends_with('B') || number.ends_with('b')) number.remove_suffix(1);
  if (number.ends_with('i')) number.remove_suffix(1);
  double factor = 1;
  if (!number.empty()) {
    char unit = static_cast<char>(number.back() & ~0x20);
    if (unit == 'K') factor = 1024.0;
    if (unit == 'M') factor = 1024.0 * 1024;
    if (unit == 'G') factor = 1024.0 * 1024 * 1024;
    if (unit == 'T') factor = 1024.0 * 1024 * 1024 * 1024;
    if (factor > 1) number = trim(number.substr(0, number.size() - 1));
  }
  Result<double> value = read_real(number);
  if (!value.ok() || *value < 0 || *value * factor > 9e18)
    return bad_input("\"" + std::string(text) + "\" is no size", "Write it as 4096, 64K, 1.5M or 4G.");
  return ByteSize{static_cast<uint64_t>(*value * factor + 0.5)};
}

bool Field::is_flag() const {
  return std::holds_alternative<bool*>(target) || std::holds_alternative<std::optional<bool>*>(target);
}
bool Field::is_list() const { return std::holds_alternative<std::vector<std::string>*>(target); }

Status Field::set_text(std::string_view value) {
  std::string text(value);
  Status status = std::visit(Visitor{
                                 [&](bool* t) { return store(*t, read_flag(value)); },
                                 [&](int64_t* t) { return store(*t, read_integer(value)); },
                                 [&](uint64_t* t) { return store(*t, read_unsigned(value)); },
                                 [&](double* t) { return store(*t, read_real(value)); },
                                 [&](std::string* t) -> Status {
                                   BM_CHECK_OK(check_choice(*this, text));
                                   *t = text;
                                   return {};
                                 },
                                 [&](ByteSize* t) { return store(*t, parse_byte_size(value)); },
                                 [&](std::vector<std::string>* t) -> Status {
                                   for (const std::string& part : split(value, ',')) {
                                     BM_CHECK_OK(check_choice(*this, part));
                                     if (!part.empty()) t->push_back(part);
                                   }
                                   return {};
                                 },
                                 [&](std::optional<int64_t>* t) { return store(*t, read_integer(value)); },
                                 [&](std::optional<double>* t) { return store(*t, read_real(value)); },
                                 [&](std::optional<std::string>* t) -> Status {
                                   BM_CHECK_OK(check_choice(*this, text));
                                   *t = text;
                                   return {};
                                 },
                                 [&](std::optional<bool>* t) { return store(*t, read_flag(value)); },
                             },
                             target);
  return std::move(status).in("--" + name);
}

Status Field::set_json(const Json& value) {
  if (value.is_null()) return {};
  if (auto** list = std::get_if<std::vector<std::string>*>(&target)) {
    (*list)->clear();
    if (!value.is_array()) return set_text(value.is_string() ? value.as_string() : value.dump());
    for (const Json& item : value.items()) {
      std::string text = item.is_string() ? item.as_string() : item.dump();
      BM_CHECK_OK(check_choice(*this, text));
      (*list)->push_back(text);
    }
    return {};
  }
  if (value.is_array() || value.is_object()) {
    Error error = bad_input("\"" + name + "\" takes a single value");
    if (value.line()) error.in("line " + std::to_string(value.line()));
    return error;
  }
  Status status = set_text(value.is_string() ? value.as_string() : value.dump());
  if (!status.ok() && value.line()) status.error().in("line " + std::to_string(value.line()));
  return status;
}

Json Field::value() const {
  return std::visit(Visitor{
                        [](const ByteSize* t) { return Json(t->bytes); },
                        [](const std::vector<std::string>* t) {
                          Json list = Json::array();
                          for (const std::string& item : *t) list.push_back(item);
                          return list;
                        },
                        [](const std::optional<int64_t>* t) { return *t ? Json(**t) : Json(); },
                        [](const std::optional<double>* t) { return *t ? Json(**t) : Json(); },
                        [](const std::optional<std::string>* t) { return *t ? Json(**t) : Json(); },
                        [](const std::optional<bool>* t) { return *t ? Json(**t) : Json(); },
                        [](const auto* t) { return Json(*t); },
                    },
                    target);
}

Fields& Fields::add_field(Field field) {
  Json value = field.value();
  bool empty = value.is_null() || (value.is_array() && value.size() == 0) ||
               (value.is_string() && value.as_string().empty());
  if (!empty && std::holds_alternative<ByteSize*>(field.target)) {
    uint64_t bytes = std::get<ByteSize*>(field.target)->bytes;
    field.default_text = bytes ? std::to_string(bytes) : "";
  } else if (!empty) {
    field.default_text = value.is_string() ? value.as_string() : value.dump();
  }
  fields_.push_back(std::move(field));
  return *this;
}

Field* Fields::find(std::string_view name) {
  std::string wanted = same_dashes(name);
  for (Field& field : fields_)
    if (field.name == wanted || (!field.info.alias.empty() && field.info.alias == wanted)) return &field;
  return nullptr;
}

Status Fields::set_from(const Json& object, std::span<const std::string> ignored) {
  for (const Json::Member& member : object.members()) {
    if (std::find(ignored.begin(), ignored.end(), member.first) != ignored.end()) continue;
    if (Field* field = find(member.first)) {
      BM_CHECK_OK(field->set_json(member.second));
      continue;
    }
    std::vector<std::string> known(ignored.begin(), ignored.end());
    for (const Field& field : fields_) known.push_back(field.name);
    std::string near = nearest_word(same_dashes(member.first), known);
    Error error = bad_input("unknown key \"" + member.first + "\"",
                            near.empty() ? "" : "Did you mean \"" + near + "\"?");
    if (member.second.line()) error.in("line " + std::to_string(member.second.line()));
    return error;
  }
  return {};
}

Json Fields::dump() const {
  Json object = Json::object();
  for (const Field& field : fields_) object.set(field.name, field.value());
  return object;
}

Json Fields::dump_identity() const {
  Json object = Json::object();
  for (const Field& field : fields_)
    if (!field.info.result_neutral) object.set(field.name, field.value());
  return object;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        size_t change = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace bm
