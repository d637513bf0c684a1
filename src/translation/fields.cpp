#include "translation/fields.h"

#include <map>

#include "base/file.h"
#include "base/hash.h"
#include "translation/checks.h"

namespace bm {
namespace {

// The outermost {...}: models like to wrap JSON in a fence or a sentence.
std::string_view json_part(std::string_view content) {
  size_t first = content.find('{'), last = content.rfind('}');
  if (first == std::string_view::npos || last == std::string_view::npos || last < first) return content;
  return content.substr(first, last - first + 1);
}

std::string keys_of(const Json& object) {
  std::string keys;
  for (const auto& [key, value] : object.members()) keys += (keys.empty() ? "" : ", ") + key;
  return keys;
}

// Options that were different must stay different, or two letters would be right.
std::string collapse_defect(const Json& source, const Json& translation) {
  std::map<std::string, std::string> seen;  // translation → source
  for (const auto& [key, value] : translation.members()) {
    std::string before(trim(source[key].as_string())), after(trim(value.as_string()));
    auto [at, fresh] = seen.try_emplace(after, before);
    if (!fresh && at->second != before) return "two different options became the same text: " + after;
  }
  return "";
}

}  // namespace

std::string FieldRequest::system() const {
  std::string from = back ? language_name(language) : "English",
              to = back ? "English" : language_name(language);
  return "You translate medical examination questions from " + from + " into " + to +
         ". You get a JSON object and return a JSON object with exactly the same keys; each value is the "
         "translation of the value under that key. Translate faithfully: keep every number, unit, dose, drug "
         "name, gene symbol and negation; do not answer, explain, shorten or add anything. Return the JSON "
         "object only.";
}

std::string FieldRequest::user() const { return source.dump_spaced(); }

std::string FieldRequest::key(const std::string& model) const {
  return sha256_hex(std::string(kTranslationPrompt) + "\n" + model + "\n" + (back ? "from " : "to ") +
                    language + "\n" + field + "\n" + source.dump());
}

Result<Json> FieldRequest::read(const std::string& content) const {
  auto json = parse_json(json_part(content));
  if (!json.ok() || !json->is_object()) return bad_input("it is no JSON object");
  Json translation = Json::object();
  for (const auto& [key, text] : source.members()) {
    const Json& value = (*json)[key];
    if (!value.is_string())
      return bad_input("the keys must be exactly " + keys_of(source) + ", each with a text; it has " +
                       (json->size() ? keys_of(*json) : "none"));
    const std::string& before = text.as_string();
    std::string after(trim(value.as_string()));
    std::string defect = back ? (after.empty() && !trim(before).empty() ? "the translation is empty" : "")
                              : translation_defect(before, after, language);
    if (!defect.empty()) return bad_input("under \"" + key + "\": " + defect);
    translation.set(key, std::move(after));
  }
  if (json->size() != source.size())
    return bad_input("the keys must be exactly " + keys_of(source) + "; it has " + keys_of(*json));
  if (field == "options" && !back)
    if (std::string defect = collapse_defect(source, translation); !defect.empty()) return bad_input(defect);
  return translation;
}

std::vector<FieldRequest> field_requests(const Item& item, const std::string& language) {
  std::vector<FieldRequest> requests;
  requests.push_back({"question", Json::object({{"text", item.question}}), language, false});
  Json options = Json::object();
  for (const auto& option : item.options) options.set(option.letter, option.text);
  requests.push_back({"options", std::move(options), language, false});
  if (!item.context.empty())
    requests.push_back({"context", Json::object({{"text", item.context}}), language, false});
  return requests;
}

}  // namespace bm
