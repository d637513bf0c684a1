#include "tasks/import_helpers.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "base/file.h"

namespace bm {
namespace {

void append_utf8(std::string& text, uint32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | (c >> 6));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | (c >> 12));
    text += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (c >> 18));
    text += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::string reason_of(const Error& error) {
  std::string reason = error.what();
  for (size_t i = error.where().size(); i-- > 0;) reason = error.where()[i] + ": " + reason;
  return reason;
}

}  // namespace

void ItemCollector::add(std::string place, Result<Item> item) {
  int64_t row = file_.rows++;
  if (!item.ok()) {
    file_.broken.push_back({file_.path, std::move(place), reason_of(item.error())});
    return;
  }
  if (item->identifier.empty()) item->identifier = fmt::format("{}-{:04d}", labels_.identifier_prefix, row);
  if (item->corpus.empty()) item->corpus = labels_.corpus;
  item->language = labels_.language.empty() ? item->language : labels_.language;
  std::string defect = item_defect(*item);
  if (defect.empty() && !seen_.insert(item->corpus + "\n" + item->language + "\n" + item->identifier).second)
    defect = "identifier " + item->identifier + " was seen before";
  if (!defect.empty()) {
    file_.broken.push_back({file_.path, std::move(place), std::move(defect)});
    return;
  }
  file_.items.push_back(std::move(*item));
}

Status read_options(const Json& options, std::vector<Option>& out) {
  if (!options.is_object()) return bad_input("options is no object of letters");
  for (const auto& [letter, text] : options.members()) {
    if (text.is_null()) continue;
    if (!text.is_string()) return bad_input("option " + letter + " is no text");
    out.push_back({letter, text.as_string()});
  }
  return {};
}

ImportedFile import_lines(const std::string& path, std::string_view text, const ImportLabels& labels,
                          ItemReader reader) {
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  int64_t line = 0;
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find('\n', start), text.size());
    std::string_view content = trim(text.substr(start, end - start));
    start = end + 1;
    ++line;
    if (content.empty()) continue;
    auto row = parse_json(content);
    std::string place = "line " + std::to_string(line);
    if (!row.ok()) {
      collector.add(std::move(place), std::move(row.error()));
    } else if (!row->is_object()) {
      collector.add(std::move(place), bad_input("not a JSON object"));
    } else {
      collector.add(std::move(place), reader(*row));
    }
  }
  return file;
}

Result<ImportedFile> import_array(const std::string& path, std::string_view text, const ImportLabels& labels,
                                  ItemReader reader) {
  auto root = parse_json(text);
  if (!root.ok()) return std::move(root.error()).in(path);
  if (!root->is_array()) return bad_input("not a JSON array of questions").in(path);
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  size_t row = 0;
  for (const auto& entry : root->items()) {
    std::string place = "entry " + std::to_string(row++);
    if (entry.is_object())
      collector.add(std::move(place), reader(entry));
    else
      collector.add(std::move(place), bad_input("not a JSON object"));
  }
  return file;
}

std::string resolve_html_entities(std::string_view text) {
  static const std::map<std::string_view, uint32_t> names = {{"amp", '&'},  {"lt", '<'},    {"gt", '>'},
                                                             {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}};
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    size_t end = text[i] == '&' ? text.find(';', i) : std::string_view::npos;
    if (end == std::string_view::npos || end - i > 10) {
      out += text[i];
      continue;
    }
    std::string_view name = text.substr(i + 1, end - i - 1);
    uint32_t code = 0;
    if (auto found = names.find(name); found != names.end()) {
      code = found->second;
    } else if (name.size() > 1 && name[0] == '#') {
      bool hex = name[1] == 'x' || name[1] == 'X';
      const char* first = name.data() + (hex ? 2 : 1);
      auto [last, error] = std::from_chars(first, name.data() + name.size(), code, hex ? 16 : 10);
      if (error != std::errc() || last != name.data() + name.size() || code > 0x10FFFF) code = 0;
    }
    if (code == 0) {
      out += text[i];
    } else {
      append_utf8(out, code);
      i = end;
    }
  }
  return out;
}

}  // namespace bm
