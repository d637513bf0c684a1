// GGUF: parsing must end in a value or an error.
#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  (void)bm::check_gguf({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
