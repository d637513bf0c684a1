#include "tokenizer/post_processor.h"

#include <string>

#include "tokenizer/vocabulary.h"

namespace bm::tokenizer {

namespace {

Result<int32_t> checked_id(const Json& value) {
  if (!value.is_integer() || value.as_int() < 0 || value.as_int() > largest_token_id) {
    return bad_input("post-processor names an id that is no id: " + value.dump());
  }
  return static_cast<int32_t>(value.as_int());
}

Result<std::vector<TemplatePart>> parse_template(const Json& list, const Json& special_tokens) {
  if (!list.is_array()) return bad_input("TemplateProcessing has no list \"single\" or \"pair\"");
  std::vector<TemplatePart> parts;
  for (const Json& item : list.items()) {
    TemplatePart part;
    const Json& body = item.contains("SpecialToken") ? item["SpecialToken"] : item["Sequence"];
    BM_TRY(std::string id, body.get_string("id"));
    BM_TRY(int64_t type_id, body.get_int("type_id", 0));
    part.type_id = static_cast<int32_t>(type_id);
    if (item.contains("SpecialToken")) {
      part.kind = TemplatePart::Kind::ids;
      const Json& ids = special_tokens[id]["ids"];
      if (!ids.is_array())
        return bad_input("TemplateProcessing uses \"" + id + "\" but special_tokens lacks it");
      for (const Json& value : ids.items()) {
        BM_TRY(int32_t checked, checked_id(value));
        part.ids.push_back(checked);
      }
    } else if (id == "A" || id == "B") {
      part.kind = id == "A" ? TemplatePart::Kind::first : TemplatePart::Kind::second;
    } else {
      return bad_input("TemplateProcessing sequence \"" + id + "\" is neither A nor B");
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

// [CLS] A [SEP] (B [SEP] or, Roberta, [SEP] B [SEP])
Status parse_cls_sep(const Json& json, bool roberta, PostProcessor& out) {
  BM_TRY(int32_t cls, checked_id(json["cls"][1]));
  BM_TRY(int32_t sep, checked_id(json["sep"][1]));
  using Kind = TemplatePart::Kind;
  out.single = {{Kind::ids, {cls}, 0}, {Kind::first, {}, 0}, {Kind::ids, {sep}, 0}};
  out.pair = out.single;
  int32_t type = roberta ? 0 : 1;
  if (roberta) out.pair.push_back({Kind::ids, {sep}, 0});
  out.pair.push_back({Kind::second, {}, type});
  out.pair.push_back({Kind::ids, {sep}, type});
  if (!roberta) return {};
  BM_TRY(out.trim_offsets, json.get_bool("trim_offsets", true));
  return {};
}

Status add_processor(const Json& json, PostProcessor& out, int depth) {
  if (depth > 8) return bad_input("post-processors nested too deep");
  BM_TRY(std::string type, json.get_string("type"));
  if (type == "Sequence") {
    const Json& list = json["processors"];
    if (!list.is_array()) return bad_input("post-processor Sequence has no list \"processors\"");
    for (const Json& step : list.items()) BM_CHECK_OK(add_processor(step, out, depth + 1));
  } else if (type == "TemplateProcessing") {
    BM_TRY(out.single, parse_template(json["single"], json["special_tokens"]));
    BM_TRY(out.pair, parse_template(json["pair"], json["special_tokens"]));
  } else if (type == "ByteLevel") {
    BM_TRY(out.trim_offsets, json.get_bool("trim_offsets", true));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    BM_CHECK_OK(parse_cls_sep(json, type[0] == 'R', out));
  } else {
    return bad_input(
        "post-processor \"" + type + "\" is not supported",
        "Supported: TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence.");
  }
  return {};
}

}  // namespace

Result<PostProcessor> parse_post_processor(const Json& json) {
  PostProcessor out;
  if (!json.is_null()) BM_CHECK_OK(add_processor(json, out, 0));
  return out;
}

PostProcessor bos_eos_processor(int32_t bos, int32_t eos) {
  using Kind = TemplatePart::Kind;
  PostProcessor out;
  out.single.clear();
  out.pair.clear();
  auto add = [&](std::vector<TemplatePart>& parts, Kind text, int32_t type) {
    if (bos >= 0) parts.push_back({Kind::ids, {bos}, type});
    parts.push_back({text, {}, type});
    if (eos >= 0) parts.push_back({Kind::ids, {eos}, type});
  };
  add(out.single, Kind::first, 0);
  add(out.pair, Kind::first, 0);
  add(out.pair, Kind::second, 1);
  return out;
}

}  // namespace bm::tokenizer
