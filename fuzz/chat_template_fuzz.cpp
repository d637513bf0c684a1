// Chat templates: any text renders or is refused, within bounded time and memory.
#include <string_view>

#include "base/json.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static const bm::Json context = *bm::parse_json(
      R"({"messages":[{"role":"user","content":" Fever 39 °C? "},{"role":"assistant","content":"Yes."}],)"
      R"("bos_token":"<s>","eos_token":"</s>","add_generation_prompt":true})");
  auto text = bm::render_chat_template(std::string_view(reinterpret_cast<const char*>(data), size), context);
  (void)text;
  return 0;
}
