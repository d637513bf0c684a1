// Archives of articles (tar, zip, gzip, Zstandard): names, sizes and streams are a stranger's.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "corpus/inputs.h"
#include "formats/compressed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto bytes = std::as_bytes(std::span(data, size));
  (void)bm::decompress(bytes, uint64_t{1} << 20);
  static const std::string stem = "/tmp/archive_fuzz_" + std::to_string(getpid());
  for (const char* ending : {".tar", ".tar.gz", ".zip"}) {
    std::string path = stem + ending;
    if (std::FILE* file = std::fopen(path.c_str(), "wb")) {
      std::fwrite(data, 1, size, file);
      std::fclose(file);
    }
    auto parts = bm::plan_inputs({path});
    if (!parts.ok()) continue;
    for (const bm::InputPart& part : *parts) {
      bm::PartReader reader(part, uint64_t{1} << 20);
      bool more = true;
      for (int batches = 0; more && batches < 100; ++batches) {
        std::vector<bm::RawArticle> articles;
        more = reader.next(articles, uint64_t{1} << 20, 64);
      }
    }
    unlink(path.c_str());
  }
  return 0;
}
