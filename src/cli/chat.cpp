// biomistral chat: a conversation, line by line.
#include "serving/chat.h"

#include <cstdio>
#include <iostream>

#include "base/file.h"
#include "base/log.h"
#include "cli/verb.h"
#include "evaluation/score.h"

namespace bm {
namespace {

struct Options {
  std::string system_prompt, template_file, arithmetic = "auto", base;
  GenerateOptions generate;
};
Options options;

Result<Outcome> run_chat(const Invocation& call) {
  const std::string& path = call.argument("MODEL");
  std::string source;
  if (!options.template_file.empty()) {
    BM_TRY(source, read_file(options.template_file));
  }
  BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
  BM_TRY(auto model,
         Model::load(path, {.arithmetic = arithmetic, .need_tokenizer = true, .base = options.base}));
  BM_TRY(Conversation conversation, Conversation::start(*model, options.system_prompt, source));
  options.generate.sampling.seed = call.common.seed_or(0);
  log_info("one message a line; /clear starts over, /exit or end of input ends");
  Outcome outcome = Outcome::done;
  std::string line;
  int64_t count = 0;
  while ((call.common.limit <= 0 || count < call.common.limit) && std::getline(std::cin, line)) {
    if (trim(line).empty()) continue;
    if (trim(line) == "/exit") break;
    if (trim(line) == "/clear") {
      conversation.clear();
      continue;
    }
    ++count;
    TextSink sink;
    if (!call.common.json)
      sink = [](std::string_view text) {
        print(text);
        std::fflush(stdout);  // as it comes, through pipes too
      };
    auto answer = conversation.say(line, options.generate, sink);
    if (!answer) {
      if (answer.error().code() != Code::bad_input) return std::move(answer.error());
      outcome = Outcome::partial;
      log_warning(answer.error().paragraph());
      if (call.common.json) print_line(Json::object({{"error", answer.error().paragraph()}}).dump());
      continue;
    }
    if (call.common.json) {
      print_line(
          Json::object(
              {{"text", answer->text}, {"reason", answer->reason}, {"prompt_tokens", answer->prompt_tokens}})
              .dump());
    } else {
      print_line("");
    }
  }
  return outcome;
}

const RegisterVerb verb{{
    .name = "chat",
    .summary = "a conversation through the model's chat template, one message a line",
    .details = "Reads messages from standard input, writes the answers as they come; the conversation so far "
               "is kept.\n"
               "/clear starts over, /exit ends. --json gives one object an answer.",
    .example = "biomistral chat model/ --temperature 0.7 --system-prompt \"Answer briefly.\"",
    .positionals = {{"MODEL", "model folder, .gguf file or adapter folder"}},
    .describe =
        [](Fields& fields) {
          fields.add("system-prompt", options.system_prompt, "first message, from the system");
          fields.add("template", options.template_file,
                     "file with a Jinja chat template instead of the model's own");
          describe(fields, options.generate);
          fields.add("arith", options.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
                     {.choices = {"auto", "exact", "bf16", "fast"}});
          fields.add("base", options.base, "base model of an adapter folder, if not the one it names");
        },
    .run = run_chat,
}};

}  // namespace
}  // namespace bm
