// biomistral detokenize: {"ids"} lines → {"text"} lines.
#include "cli/tokenizer_argument.h"

namespace bm {
namespace {

struct DetokenizeOptions {
  bool skip_special = false;
};

DetokenizeOptions options;

Result<Json> answer_ids(const Tokenizer& tokenizer, const Json& request) {
  const Json& list = request["ids"];
  if (!list.is_array()) return bad_input("the key \"ids\" is missing or no list");
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list.items()) {
    bool known =
        id.type() == Json::Type::integer && id.as_int() >= 0 && id.as_int() < tokenizer.vocabulary_size();
    if (!known) {
      return bad_input(id.dump() + " is no id of this vocabulary (0…" +
                       std::to_string(tokenizer.vocabulary_size() - 1) + ")");
    }
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return Json::object({{"text", tokenizer.decode(ids, options.skip_special)}});
}

const RegisterVerb verb{{
    .name = "detokenize",
    .summary = "JSON lines {\"ids\"} on standard input → {\"text\"}, in order",
    .details = "MODEL may be a model folder, a bare tokenizer.json or tokenizer.model, or a .gguf file. "
               "Bytes that are no\n"
               "UTF-8 become U+FFFD. A bad line is answered by {\"error\"} in its place, and the exit code "
               "is then 3.",
    .example = R"(echo '{"ids":[1,22557,1526]}' | biomistral detokenize model/ --skip-special)",
    .positionals = {{"MODEL", "model folder, tokenizer.json, tokenizer.model or .gguf"}},
    .describe =
        [](Fields& fields) {
          fields.add("skip-special", options.skip_special, "leave control tokens such as <s> out",
                     {.negatable = false});
        },
    .run = [](const Invocation& call) -> Result<Outcome> {
      BM_TRY(auto tokenizer, open_tokenizer(call.argument("MODEL")));
      return answer_lines(call.common, [&](const Json& request) { return answer_ids(*tokenizer, request); });
    },
}};

}  // namespace
}  // namespace bm
