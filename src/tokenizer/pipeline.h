// The one implementation of Tokenizer: added tokens, normalizer, pre-tokenizer, model, post-processor,
// decoder, put together by the loaders below.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/model.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace bm::tokenizer {

struct Parts {
  Vocabulary vocabulary;  // added tokens included
  std::vector<AddedToken> added;
  NormalizerChain normalizer;
  PreTokenizerChain pre_tokenizer;
  std::unique_ptr<const PieceModel> model;
  PostProcessor post_processor;
  DecoderChain decoder;
  std::optional<int32_t> bos, eos;
  std::string chat_template;
  Json chat_names = Json::object();  // "bos_token": "<s>", … for templates
};

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(Parts parts);
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  Encoding encode_with_offsets(std::string_view text, const EncodeOptions& options) const override;
  Encoding encode_pair(std::string_view text, std::string_view pair,
                       const EncodeOptions& options) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  int64_t vocabulary_size() const override { return parts_.vocabulary.size(); }
  std::optional<int32_t> token_id(std::string_view token) const override {
    return parts_.vocabulary.id(token);
  }
  std::string token_text(int32_t id) const override { return parts_.vocabulary.text(id); }
  bool is_special(int32_t id) const override;
  std::optional<int32_t> bos_id() const override { return parts_.bos; }
  std::optional<int32_t> eos_id() const override { return parts_.eos; }
  const std::string& chat_template() const override { return parts_.chat_template; }
  Json chat_names() const override { return parts_.chat_names; }

 private:
  Encoding encode_text(std::string_view text, const EncodeOptions& options, bool offsets) const;
  void encode_stretch(AlignedText text, const EncodeOptions& options, Encoding& out,
                      std::vector<Span>* places) const;
  void encode_plain(AlignedText text, Encoding& out, std::vector<Span>* places) const;
  void trim_place(int32_t id, Span& place, std::string_view text) const;
  Encoding assemble(const std::vector<TemplatePart>& parts, const Encoding& first, const Encoding& second,
                    bool add_special, bool offsets) const;

  Parts parts_;
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::vector<bool> special_;
};

// Loaders. `names` = what tokenizer_config.json (or special_tokens_map.json) says, or null.
Result<Parts> parts_from_tokenizer_json(const Json& json);
Result<Parts> parts_from_sentencepiece(std::string_view bytes, const Json& names);
Result<Parts> parts_from_gpt2_files(const Json& vocabulary, std::string_view merges);
Result<Parts> parts_from_gguf(const Json& metadata);

}  // namespace bm::tokenizer
