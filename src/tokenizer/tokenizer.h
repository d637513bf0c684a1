// Tokenizers of the models: SentencePiece BPE with byte fallback (tokenizer.model, tokenizer.json) and
// byte-level BPE (tokenizer.json, GGUF metadata, GPT-2's vocab.json + merges.txt). tokenizer.json is the
// reference where both exist (semantics.md part 0, item 34). Thread-safe after loading.
// How it works and what is supported: docs/tokenizer.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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
  std::vector<int32_t> type_ids;                     // 0 or 1; filled by encode_pair
};

struct ChatMessage {
  std::string role, content;
};

struct ChatOptions {
  bool add_generation_prompt = false;
  bool continue_final_message = false;  // the rendered text ends with the last message's content
};

class Tokenizer {
 public:
  // A model folder (tokenizer.json, else tokenizer.model, else vocab.json + merges.txt or encoder.json +
  // vocab.bpe; tokenizer_config.json and chat_template.jinja beside it), or a bare tokenizer.json or
  // tokenizer.model file. bad_input names the file and what is wrong or not supported in it.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& path);
  // From GGUF metadata (tokenizer.ggml.*), as formats/ reads it.
  static Result<std::shared_ptr<const Tokenizer>> from_gguf(const Json& metadata);
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual Encoding encode_with_offsets(std::string_view text, const EncodeOptions& options = {}) const = 0;
  // Two texts as the post-processor joins them ("<s> A <s> B"); with offsets and type ids.
  virtual Encoding encode_pair(std::string_view text, std::string_view pair, const EncodeOptions& options = {}) const;
  // Ids that stand for nothing are left out.
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special = false) const = 0;
  virtual int64_t vocabulary_size() const = 0;  // largest id + 1
  virtual std::optional<int32_t> token_id(std::string_view token) const = 0;
  virtual std::string token_text(int32_t id) const = 0;  // as stored: "▁the", "Ġthe", "<0x0A>"
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  // True when encode() with add_special puts BOS in front.
  bool adds_bos() const;

  // The chat template's source (Jinja), "" when there is none; renders messages with it.
  virtual const std::string& chat_template() const = 0;
  Result<std::string> render_chat(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const;
  // Messages as JSON ({"role", "content", …: anything a template reads}); `source` replaces the
  // model's own template unless empty. bad_input for an empty conversation, as transformers.
  Result<std::string> render_chat(const Json& messages, const ChatOptions& options,
                                  std::string_view source = {}) const;
  // The names of special tokens that templates see: bos_token, eos_token, unk_token, …
  virtual Json chat_names() const;
};

// Turns a stream of ids into text as soon as it is certain; flush() releases what is held back.
// push() gives exactly what tokenizers' DecodeStream gives, with "" for "held back".
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  std::string push(int32_t id);
  std::string flush();

 private:
  std::string unshown() const;
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int32_t> pending_;  // ids whose text may still change, behind some that give the context
  size_t read_ = 0;               // how many of them are already shown
  std::string shown_;             // text of the shown ones
};

// Keeps the first (or last) `limit` ids of a text encoded with add_special = false, then adds what the
// post-processor adds, so that BOS survives; further windows overlap by `stride` ids. The first window
// is the kept one, the others are what tokenizers calls overflowing. bad_input when the limit leaves no
// room or stride is not below it.
struct TruncationOptions {
  int64_t limit = 512;   // ids, special ones included
  int64_t stride = 0;    // ids that windows share
  bool from_left = false;
  bool add_special = true;
};
Result<std::vector<std::vector<int32_t>>> encode_truncated(const Tokenizer& tokenizer, std::string_view text,
                                                          const TruncationOptions& options, bool parse_special = false);

// Renders a Jinja chat template as transformers does (trim_blocks, lstrip_blocks, raise_exception).
// context: messages, add_generation_prompt, bos_token, eos_token, …
Result<std::string> render_chat_template(std::string_view source, const Json& context);

}  // namespace bm
