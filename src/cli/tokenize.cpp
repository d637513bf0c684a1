// biomistral tokenize: {"text"} lines → {"ids"} lines.
#include "cli/tokenizer_argument.h"

namespace bm {
namespace {

struct TokenizeOptions {
  bool no_special = false;
  bool parse_special = false;
  bool offsets = false;
  bool chat = false;
  std::string template_file;
};

TokenizeOptions options;

void describe(Fields& fields, TokenizeOptions& o) {
  fields.add("no-special", o.no_special, "add no BOS/EOS", {.negatable = false});
  fields.add("parse-special", o.parse_special, "turn special strings in the text into control tokens",
             {.negatable = false});
  fields.add("offsets", o.offsets, "also give [start, end) of each token in Unicode code points",
             {.negatable = false});
  fields.add("chat", o.chat, "lines hold {\"messages\": […]}; render the chat template, give text and ids",
             {.negatable = false});
  fields.add("template", o.template_file, "file with a Jinja chat template instead of the model's own");
}

Json ids_json(const std::vector<int32_t>& ids) {
  std::vector<Json> out;
  out.reserve(ids.size());
  for (int32_t id : ids) out.emplace_back(id);
  return Json::array(std::move(out));
}

Json offsets_json(const Encoding& encoding) {
  std::vector<Json> out;
  out.reserve(encoding.offsets.size());
  for (const auto& [start, end] : encoding.offsets) out.push_back(Json::array({Json(start), Json(end)}));
  return Json::array(std::move(out));
}

Result<Json> answer_text(const Tokenizer& tokenizer, const Json& request, const std::string& source) {
  std::string text;
  EncodeOptions encode{.add_special = !options.no_special, .parse_special = options.parse_special};
  Json out = Json::object();
  if (options.chat) {
    ChatOptions chat;
    BM_TRY(chat.add_generation_prompt, request.get_bool("add_generation_prompt", false));
    BM_TRY(chat.continue_final_message, request.get_bool("continue_final_message", false));
    if (!request.contains("messages")) return bad_input("the key \"messages\" is missing");
    BM_TRY(text, tokenizer.render_chat(request["messages"], chat, source));
    encode = {.add_special = false, .parse_special = true};  // the template writes BOS itself
    out.set("text", text);
  } else {
    BM_TRY(text, request.get_string("text"));
  }
  if (!options.offsets) {
    out.set("ids", ids_json(tokenizer.encode(text, encode)));
    return out;
  }
  Encoding encoding = tokenizer.encode_with_offsets(text, encode);
  out.set("ids", ids_json(encoding.ids));
  out.set("offsets", offsets_json(encoding));
  return out;
}

const RegisterVerb verb{{
    .name = "tokenize",
    .summary = "JSON lines {\"text\"} on standard input → {\"ids\"}, in order",
    .details =
        "MODEL may be a model folder, a bare tokenizer.json or tokenizer.model, or a .gguf file. Special "
        "strings such\n"
        "as <s> in the text stay plain text unless --parse-special is given. With --chat a line holds\n"
        "{\"messages\":[{\"role\":…,\"content\":…}],\"add_generation_prompt\":true}. A bad line is answered "
        "by\n"
        "{\"error\"} in its place, and the exit code is then 3.",
    .example = R"(echo '{"text":"Hello world"}' | biomistral tokenize model/ --offsets)",
    .positionals = {{"MODEL", "model folder, tokenizer.json, tokenizer.model or .gguf"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = [](const Invocation& call) -> Result<Outcome> {
      BM_TRY(auto tokenizer, open_tokenizer(call.argument("MODEL")));
      std::string source;
      if (!options.template_file.empty()) {
        BM_TRY(source, read_file(options.template_file));
      }
      return answer_lines(call.common,
                          [&](const Json& request) { return answer_text(*tokenizer, request, source); });
    },
}};

}  // namespace
}  // namespace bm
