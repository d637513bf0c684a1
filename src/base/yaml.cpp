// YAML through yaml-cpp, as Json values that know their line.
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>

#include "base/json.h"

namespace bm {
namespace {

// The core schema's scalars (YAML 1.2, 10.3.2), with Python's readings of .inf/.nan left out.
Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return Json(text);  // quoted
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return Json();
  if (text == "true" || text == "True" || text == "TRUE") return Json(true);
  if (text == "false" || text == "False" || text == "FALSE") return Json(false);
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  int64_t integer = 0;
  if (auto [stop, code] = std::from_chars(begin, end, integer); code == std::errc() && stop == end)
    return Json(integer);
  if (text.find_first_of("0123456789") == std::string::npos) return Json(text);
  double real = 0;
  if (auto [stop, code] = std::from_chars(begin, end, real);
      code == std::errc() && stop == end && std::isfinite(real))
    return Json(real);
  return Json(text);
}

Error at_line(std::string what, const YAML::Mark& mark) {
  Error error = bad_input(std::move(what));
  if (!mark.is_null()) error.in("line " + std::to_string(mark.line + 1));
  return error;
}

Result<Json> to_json(const YAML::Node& node, int depth, size_t& budget) {
  if (depth > 100) return at_line("nested deeper than 100 levels", node.Mark());
  // Aliases can blow a small file up ("billion laughs").
  if (budget-- == 0) return at_line("more than 1,000,000 values after expanding aliases", node.Mark());
  Json value;
  if (node.IsScalar()) {
    value = scalar(node);
  } else if (node.IsSequence()) {
    value = Json::array();
    for (const YAML::Node& item : node) {
      BM_TRY(Json converted, to_json(item, depth + 1, budget));
      value.push_back(std::move(converted));
    }
  } else if (node.IsMap()) {
    value = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return at_line("a key must be a plain word", entry.first.Mark());
      const std::string& key = entry.first.Scalar();
      if (value.contains(key)) return at_line("duplicate key \"" + key + "\"", entry.first.Mark());
      BM_TRY(Json converted, to_json(entry.second, depth + 1, budget));
      converted.set_line(static_cast<uint32_t>(entry.first.Mark().line + 1));
      value.set(key, std::move(converted));
    }
  }
  if (!node.Mark().is_null()) value.set_line(static_cast<uint32_t>(node.Mark().line + 1));
  return value;
}

void emit(YAML::Emitter& out, const Json& value) {
  switch (value.type()) {
    case Json::Type::null:
      out << YAML::Null;
      break;
    case Json::Type::boolean:
      out << value.as_bool();
      break;
    case Json::Type::array: {
      bool flat = true;
      for (const Json& item : value.items()) flat = flat && !item.is_array() && !item.is_object();
      out << (flat ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const Json& item : value.items()) emit(out, item);
      out << YAML::EndSeq;
      break;
    }
    case Json::Type::object:
      out << YAML::BeginMap;
      for (const Json::Member& member : value.members()) {
        out << YAML::Key << member.first << YAML::Value;
        emit(out, member.second);
      }
      out << YAML::EndMap;
      break;
    case Json::Type::string: {
      // Quote what would read back as something else.
      YAML::Node probe(value.as_string());
      Json back = scalar(probe);
      if (!back.is_string()) out << YAML::DoubleQuoted;
      out << value.as_string();
      break;
    }
    default:
      out << value.dump();
  }
}

}  // namespace

Result<std::vector<Json>> parse_yaml_documents(std::string_view text) {
  try {
    std::vector<Json> documents;
    size_t budget = 1'000'000;
    for (const YAML::Node& node : YAML::LoadAll(std::string(text))) {
      BM_TRY(Json value, to_json(node, 0, budget));
      documents.push_back(std::move(value));
    }
    return documents;
  } catch (const YAML::Exception& exception) {
    return at_line("not valid YAML: " + exception.msg, exception.mark);
  } catch (const std::exception&) {
    return bad_input("not valid YAML");
  }
}

Result<Json> parse_yaml(std::string_view text) {
  BM_TRY(std::vector<Json> documents, parse_yaml_documents(text));
  if (documents.empty()) return bad_input("the file is empty");
  if (documents.size() > 1)
    return bad_input("the file holds " + std::to_string(documents.size()) + " YAML documents, one is wanted");
  return std::move(documents[0]);
}

std::string dump_yaml(const Json& value) {
  YAML::Emitter out;
  emit(out, value);
  return std::string(out.c_str()) + "\n";
}

}  // namespace bm
