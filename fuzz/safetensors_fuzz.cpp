// safetensors headers: whatever is accepted must describe bytes that lie in the file.
#include <cstdlib>

#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  auto header = bm::parse_safetensors_header({reinterpret_cast<const std::byte*>(data), size}, size);
  if (!header.ok()) return 0;
  for (const auto& entry : header->entries)
    if (header->data_start + entry.end > size || entry.bytes() != entry.end - entry.begin) std::abort();
  return 0;
}
