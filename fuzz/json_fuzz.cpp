// JSON: what parses must print and parse to the same value again.
#include <cstdlib>
#include <string_view>

#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto json = bm::parse_json(text);
  if (!json.ok()) return 0;
  auto again = bm::parse_json(json->dump());
  if (!again.ok() || !(*again == *json)) std::abort();
  return 0;
}
