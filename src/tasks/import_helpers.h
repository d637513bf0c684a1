// Shared by the importers: collecting items and broken rows, JSON lines and arrays.
#pragma once

#include <set>
#include <string>

#include "tasks/importers.h"

namespace bm {

// Adds items to a file, gives them labels and identifiers, moves defective ones to `broken`.
class ItemCollector {
 public:
  ItemCollector(ImportedFile& file, const ImportLabels& labels) : file_(file), labels_(labels) {}
  void add(std::string place, Result<Item> item);

 private:
  ImportedFile& file_;
  const ImportLabels& labels_;
  std::set<std::string> seen_;
};

// Letter → text object; null entries are absent options.
Status read_options(const Json& options, std::vector<Option>& out);

using ItemReader = Result<Item> (*)(const Json& row);
ImportedFile import_lines(const std::string& path, std::string_view text, const ImportLabels& labels,
                          ItemReader reader);
Result<ImportedFile> import_array(const std::string& path, std::string_view text, const ImportLabels& labels,
                                  ItemReader reader);

// &#39; &amp; &quot; &lt; &gt; &#x27; … as characters; anything else stays.
std::string resolve_html_entities(std::string_view text);

}  // namespace bm
