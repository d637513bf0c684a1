#include "merging/documents.h"

#include <algorithm>

#include "base/file.h"

namespace bm {
namespace {

// The text of each document, without the lines that divide them; the whole text when that is not clear.
std::vector<std::string> texts_of(const std::string& text, size_t documents) {
  if (documents <= 1) return {text};
  std::vector<std::string> out = {""};
  for (const std::string& line : split(text, '\n')) {
    if (starts_with(line, "---")) {
      out.emplace_back();
    } else {
      out.back() += line + "\n";
    }
  }
  std::erase_if(out, [](const std::string& part) { return trim(part).empty(); });
  if (out.size() != documents) out.assign(documents, text);
  return out;
}

Status find_needs(std::vector<MergeDocument>& documents) {
  for (MergeDocument& document : documents)
    for (const ModelReference& model : document.configuration.models())
      for (const MergeDocument& other : documents)
        if (!other.name.empty() && other.name == model.path) {
          if (&other == &document)
            return bad_input("\"" + document.name + "\" is an input of itself")
                .in("line " + std::to_string(model.line));
          document.needs.push_back(other.name);
        }
  return {};
}

// Each after what it needs, else in the order of the file.
Result<std::vector<MergeDocument>> sorted(std::vector<MergeDocument> documents) {
  std::vector<MergeDocument> out;
  auto made = [&](const std::string& name) {
    return std::any_of(out.begin(), out.end(), [&](const MergeDocument& d) { return d.name == name; });
  };
  while (!documents.empty()) {
    auto ready = std::find_if(documents.begin(), documents.end(), [&](const MergeDocument& d) {
      bool last = d.name.empty() && documents.size() > 1;
      return !last && std::all_of(d.needs.begin(), d.needs.end(), made);
    });
    if (ready == documents.end())
      return bad_input("the configurations need each other in a circle" +
                       (documents[0].name.empty() ? "" : " (\"" + documents[0].name + "\" is one of them)"));
    out.push_back(std::move(*ready));
    documents.erase(ready);
  }
  return out;
}

}  // namespace

Result<std::vector<MergeDocument>> read_merge_documents(const std::string& file) {
  BM_TRY(std::string text, read_file(file));
  BM_TRY(std::vector<Json> values, parse_yaml_documents(text).in(file));
  if (values.empty()) values.emplace_back();
  std::vector<std::string> texts = texts_of(text, values.size());
  std::vector<MergeDocument> documents;
  for (size_t i = 0; i < values.size(); ++i) {
    MergeDocument document;
    BM_TRY(document.configuration, parse_merge_configuration(values[i], texts[i]).in(file));
    if (values.size() > 1 && values[i]["name"].is_string()) document.name = values[i]["name"].as_string();
    for (const MergeDocument& other : documents) {
      if (document.name.empty() && other.name.empty())
        return bad_input("two configurations have no `name`",
                         "Only the one that makes the result goes without.")
            .in(file);
      if (document.name == other.name)
        return bad_input("two configurations are named \"" + document.name + "\"", "Give each its own name.")
            .in(file);
    }
    if (document.name.find('/') != std::string::npos || starts_with(document.name, "."))
      return bad_input("the name \"" + document.name + "\" cannot be a folder's",
                       "Use letters, digits, - and _.")
          .in(file);
    documents.push_back(std::move(document));
  }
  BM_CHECK_OK(find_needs(documents).in(file));
  BM_TRY(std::vector<MergeDocument> out, sorted(std::move(documents)).in(file));
  if (out.size() > 1) out.back().name.clear();
  return out;
}

}  // namespace bm
