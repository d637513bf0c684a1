// tokenizer.json: whatever loads must encode, and its ids must decode, without harm. The first line of the
// input is the text to encode, the rest the file.
#include <cstdlib>
#include <string_view>

#include "base/json.h"
#include "tokenizer/pipeline.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  size_t line = input.find('\n');
  std::string_view text = input.substr(0, line == std::string_view::npos ? 0 : line);
  auto json = bm::parse_json(line == std::string_view::npos ? input : input.substr(line + 1));
  if (!json.ok()) return 0;
  auto parts = bm::tokenizer::parts_from_tokenizer_json(*json);
  if (!parts.ok()) return 0;
  bm::tokenizer::PipelineTokenizer tokenizer(std::move(*parts));
  auto ids = tokenizer.encode(text, {.parse_special = true});
  if (tokenizer.encode_with_offsets(text, {.parse_special = true}).ids != ids) std::abort();
  tokenizer.decode(ids, false);
  return 0;
}
