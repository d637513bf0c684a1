#include "base/leftovers.h"

#include <filesystem>

#include "base/file.h"

namespace bm {

bool is_abandoned(const std::string& name) {
  size_t at = name.rfind(".tmp-");
  return at != std::string::npos && at + 5 < name.size() &&
         name.find_first_not_of("0123456789", at + 5) == std::string::npos;
}

void remove_abandoned(const std::string& folder) {
  auto files = list_files(folder);
  if (!files.ok()) return;
  std::error_code ignored;
  for (const std::string& file : *files)
    if (is_abandoned(file)) fs::remove(file, ignored);
}

}  // namespace bm
