// biomistral perplexity: how well a model predicts a text.
#include "evaluation/perplexity.h"

#include "cli/verb.h"
#include "evaluation/score.h"

namespace bm {
namespace {

PerplexityOptions options;

const RegisterVerb verb{{
    .name = "perplexity",
    .summary = "perplexity and bits per byte of a text, by windows; JSON on standard output",
    .details = "\"perplexity\" follows the rule named in \"protocol\": exact (sum of −ln p over all scored "
               "tokens by their\n"
               "number), hf-page (transformers' page on fixed-length models) or window-means (mean of window "
               "means); the\n"
               "others stand beside it. Each line of JSON lines is a text of its own; any other file is one "
               "text. The first\n"
               "token of a text is never scored.",
    .example = "biomistral perplexity model/ --data heldout.jsonl --window 512 --stride 256",
    .positionals = {{"MODEL", "model folder, .gguf file or adapter folder"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = [](const Invocation& call) -> Result<Outcome> {
      if (options.data.empty()) return bad_input("--data FILE is missing");
      const std::string& path = call.argument("MODEL");
      BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
      BM_TRY(auto model, Model::load(path, {.arithmetic = arithmetic, .base = options.base}));
      BM_TRY(auto documents, read_text_ids(options.data, model->tokenizer(), call.common.limit));
      BM_TRY(PerplexityResult result, perplexity_of(*model, documents, options));
      Json out = perplexity_json(result, options.average);
      out.set("model", path);
      out.set("data", options.data);
      print_line(out.dump());
      return Outcome::done;
    },
}};

}  // namespace
}  // namespace bm
