// Tokenizers of the models: SentencePiece BPE with byte fallback (tokenizer.model, tokenizer.json) and
// byte-level BPE (tokenizer.json, GGUF metadata). tokenizer.json is the reference where both exist
// (semantics.md part 0, item 34). Thread-safe after loading.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

struct EncodeOptions {
  bool add_special = true;     // BOS/EOS as the post-processor says
  bool parse_special = false;  // special strings in the text become control tokens
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<std::pair<int64_t, int64_t>> offsets;  // [start, end) in Unicode code points; filled on request
};

struct ChatMessage {
  std::string role, content;
};

class Tokenizer {
 public:
  // A model folder (tokenizer.json, else tokenizer.model; tokenizer_config.json and chat_template.jinja
  // beside it), a bare tokenizer.json or tokenizer.model file.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& path);
  // From GGUF metadata (tokenizer.ggml.*), as formats/ reads it.
  static Result<std::shared_ptr<const Tokenizer>> from_gguf(const Json& metadata);
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual Encoding encode_with_offsets(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special = false) const = 0;
  virtual int64_t vocabulary_size() const = 0;  // largest id + 1
  virtual std::optional<int32_t> token_id(std::string_view token) const = 0;
  virtual std::string token_text(int32_t id) const = 0;  // as stored: "▁the", "Ġthe", "<0x0A>"
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  // The chat template's source (Jinja), "" when there is none; renders messages with it.
  virtual const std::string& chat_template() const = 0;
  Result<std::string> render_chat(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const;
};

// Turns a stream of ids into text as soon as it is certain; flush() releases what is held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  std::string push(int32_t id);
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int32_t> pending_;
  std::string shown_;
};

// Renders a Jinja chat template as transformers does (trim_blocks, lstrip_blocks, raise_exception).
// context: messages, add_generation_prompt, bos_token, eos_token, …
Result<std::string> render_chat_template(std::string_view source, const Json& context);

}  // namespace bm
