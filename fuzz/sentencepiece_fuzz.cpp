// tokenizer.model: any bytes are read or refused; what loads encodes the input itself and decodes again.
#include <cstdlib>
#include <string_view>

#include "tokenizer/pipeline.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  auto parts = bm::tokenizer::parts_from_sentencepiece(input, bm::Json::object());
  if (!parts.ok()) return 0;
  bm::tokenizer::PipelineTokenizer tokenizer(std::move(*parts));
  auto ids = tokenizer.encode(input, {});
  if (tokenizer.encode_with_offsets(input, {}).ids != ids) std::abort();
  tokenizer.decode(ids, true);
  return 0;
}
