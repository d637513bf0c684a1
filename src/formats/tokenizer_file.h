// A tokenizer alone, wherever it is kept.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace bm {

// A model folder, a bare tokenizer.json or tokenizer.model, or a .gguf file.
Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& path);

}  // namespace bm
