// The pickle reader and the zip directory around it.
#include <cstdlib>

#include "formats/pytorch.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  size_t position = 0;
  auto dict = bm::read_state_dict_pickle(bytes, position);
  if (dict.ok())
    for (const auto& tensor : dict->tensors)
      if (!dict->storages.count(tensor.storage)) std::abort();
  auto members = bm::read_zip_directory(bytes);
  if (members.ok())
    for (const auto& member : *members)
      if (!member.data.empty() && (member.data.data() < bytes.data() ||
                                   member.data.data() + member.data.size() > bytes.data() + size))
        std::abort();
  return 0;
}
