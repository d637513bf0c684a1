// The catalogue's table (catalog_entries.cpp): one entry a task and language.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tasks/catalog.h"

namespace bm {

struct TaskFile {
  std::vector<std::string>
      names;  // relative to the data folder, first that exists; then by file name anywhere
};

struct CatalogEntry {
  std::string name, language, corpus;
  int64_t published_size = 0;
  TaskFile scored;
  TaskFile pool;        // empty: none published here, items are held out
  std::string prefix;   // of identifiers
  std::string subject;  // MMLU
  std::optional<LmEvalStyle> lm_eval;
  Result<ImportedFile> (*read)(const std::string& path, const CatalogEntry& entry, uint64_t seed) = nullptr;
};

const std::vector<CatalogEntry>& catalog_entries();
const CatalogEntry* find_entry(const std::string& name, const std::string& language);

}  // namespace bm
