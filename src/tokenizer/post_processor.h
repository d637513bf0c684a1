// The "post_processor" of a tokenizer.json: what goes around one text or two (TemplateProcessing,
// BertProcessing, RobertaProcessing), and how offsets are trimmed (ByteLevel).
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm::tokenizer {

struct TemplatePart {
  enum class Kind : uint8_t { ids, first, second } kind = Kind::first;
  std::vector<int32_t> ids;
  int32_t type_id = 0;
};

struct PostProcessor {
  std::vector<TemplatePart> single{{TemplatePart::Kind::first, {}, 0}};
  std::vector<TemplatePart> pair{{TemplatePart::Kind::first, {}, 0}, {TemplatePart::Kind::second, {}, 1}};
  bool trim_offsets = false;  // spaces at a token's ends are no part of its span
};

Result<PostProcessor> parse_post_processor(const Json& json);
// Optional BOS in front, optional EOS behind every text.
PostProcessor bos_eos_processor(int32_t bos, int32_t eos);  // -1 = none

}  // namespace bm::tokenizer
