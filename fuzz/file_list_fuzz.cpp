// NLM's lists of licences, and the two ways a licence is read from an article's own words.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "corpus/licence.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)bm::read_licence_address(text);
  (void)bm::read_licence_words(text);
  static const std::string path = "/tmp/file_list_fuzz_" + std::to_string(getpid());
  if (std::FILE* file = std::fopen(path.c_str(), "wb")) {
    std::fwrite(data, 1, size, file);
    std::fclose(file);
  }
  bm::LicenceLists lists;
  if (lists.add(path).ok()) (void)lists.find("PMC1");
  unlink(path.c_str());
  return 0;
}
