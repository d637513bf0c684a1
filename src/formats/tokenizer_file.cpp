#include "formats/tokenizer_file.h"

#include "base/file.h"
#include "formats/checkpoint.h"

namespace bm {

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& path) {
  if (!ends_with(path, ".gguf")) return Tokenizer::load(path);
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(path));
  return Tokenizer::from_gguf(checkpoint.gguf_metadata()).in(path);
}

}  // namespace bm
