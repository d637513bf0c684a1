// biomistral generate: text behind a prompt.
#include "serving/generate.h"

#include <cstdio>

#include "base/file.h"
#include "base/log.h"
#include "cli/verb.h"
#include "evaluation/score.h"

namespace bm {
namespace {

struct Options {
  std::string prompt, prompt_file, arithmetic = "auto", base;
  GenerateOptions generate;
};
Options options;

const RegisterVerb verb{{
    .name = "generate",
    .summary = "text behind a prompt, as a stream",
    .details =
        "Writes only what follows the prompt. Special strings in the prompt (<s>, <|im_start|>) become "
        "control tokens\n"
        "and the tokenizer adds BOS, as transformers does. The same seed gives the same text. --json gives "
        "one object\n"
        "with text, ids, the reason it ended (eos, stop, length, context) and the number of prompt tokens.",
    .example =
        "biomistral generate model/ --prompt \"Aspirin is\" --max-tokens 40 --temperature 0.7 --seed 1",
    .positionals = {{"MODEL", "model folder, .gguf file or adapter folder"}},
    .describe =
        [](Fields& fields) {
          fields.add("prompt", options.prompt, "text to go on from");
          fields.add("prompt-file", options.prompt_file, "file that holds it instead");
          describe(fields, options.generate);
          fields.add("arith", options.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
                     {.choices = {"auto", "exact", "bf16", "fast"}});
          fields.add("base", options.base, "base model of an adapter folder, if not the one it names");
        },
    .run = [](const Invocation& call) -> Result<Outcome> {
      if (call.given("prompt") == call.given("prompt-file"))
        return bad_input("give either --prompt TEXT or --prompt-file FILE");
      std::string prompt = options.prompt;
      if (call.given("prompt-file")) {
        BM_TRY(prompt, read_file(options.prompt_file));
      }
      const std::string& path = call.argument("MODEL");
      BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
      BM_TRY(auto model,
             Model::load(path, {.arithmetic = arithmetic, .need_tokenizer = true, .base = options.base}));
      if (call.common.dry_run) {
        print_line("would generate up to " + std::to_string(options.generate.max_tokens) +
                   " tokens; weights " + format_bytes(model->weight_bytes()));
        return Outcome::done;
      }
      options.generate.sampling.seed = call.common.seed_or(0);
      auto ids = model->tokenizer()->encode(prompt, {.parse_special = true});
      GenerationSession session(*model);
      TextSink sink;
      if (!call.common.json)
        sink = [](std::string_view text) {
          print(text);
          std::fflush(stdout);  // as it comes, through pipes too
        };
      BM_TRY(Generation made, session.generate(ids, options.generate, sink));
      if (!call.common.json) {
        print_line("");
        return Outcome::done;
      }
      Json list = Json::array();
      for (int32_t id : made.ids) list.push_back(id);
      print_line(Json::object({{"text", made.text},
                               {"ids", list},
                               {"reason", made.reason},
                               {"prompt_tokens", made.prompt_tokens}})
                     .dump());
      return Outcome::done;
    },
}};

}  // namespace
}  // namespace bm
