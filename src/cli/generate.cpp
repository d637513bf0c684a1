// biomistral generate: text behind a prompt.
#include "serving/generate.h"

#include <cstdio>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "cli/verb.h"
#include "evaluation/prefix_runner.h"
#include "evaluation/score.h"
#include "formats/jsonl.h"
#include "serving/generate_batch.h"

namespace bm {
namespace {

struct Options {
  std::string prompt, prompt_file, prompts, arithmetic = "auto", base, kv = "f32";
  ByteSize kv_memory;
  int64_t batch = 8, samples = 1;
  GenerateOptions generate;
};
Options options;

struct Asked {
  Json id;  // of the line, null when it has none
  BatchPrompt prompt;
};

Json generation_json(const Generation& made) {
  Json list = Json::array();
  for (int32_t id : made.ids) list.push_back(id);
  return Json::object(
      {{"text", made.text}, {"ids", list}, {"reason", made.reason}, {"prompt_tokens", made.prompt_tokens}});
}

// {"prompt": text} or {"prompt_ids": […]}, with or without "id", one a line.
Result<std::vector<int32_t>> prompt_ids(const Json& line, const Tokenizer* tokenizer) {
  if (!line["prompt_ids"].is_array()) {
    BM_TRY(std::string text, line.get_string("prompt"));
    if (!tokenizer) return bad_input("the model has no tokenizer", "Give \"prompt_ids\".");
    return tokenizer->encode(text, {.parse_special = true});
  }
  std::vector<int32_t> ids;
  for (const Json& id : line["prompt_ids"].items()) {
    const bool fits = id.type() == Json::Type::integer && id.as_int() >= 0 && id.as_int() <= INT32_MAX;
    if (!fits) return bad_input("\"prompt_ids\" holds " + id.dump() + ", which is no id");
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return ids;
}

Result<std::vector<Asked>> read_prompts(const Tokenizer* tokenizer, int64_t limit) {
  std::vector<Asked> asked;
  BM_TRY(JsonlReader reader, JsonlReader::open(options.prompts));
  Json line;
  for (int64_t count = 0; limit <= 0 || count < limit; ++count) {
    BM_TRY(bool more, reader.next(line));
    if (!more) break;
    auto ids = prompt_ids(line, tokenizer);
    if (!ids) return std::move(ids.error().in("line " + std::to_string(reader.line())).in(options.prompts));
    for (int64_t s = 0; s < options.samples; ++s)
      asked.push_back({line["id"], {*ids, static_cast<uint64_t>(s)}});
  }
  return asked;
}

// One JSON object a text, in the order of the prompts.
Result<Outcome> generate_many(const Model& model, const std::vector<Asked>& asked) {
  std::vector<BatchPrompt> prompts;
  for (const Asked& a : asked) prompts.push_back(a.prompt);
  GenerateBatchOptions batch;
  batch.sequences = options.batch;
  if (options.kv_memory.bytes > 0) batch.kv_memory = options.kv_memory.bytes;
  BM_TRY(batch.kv_dtype, parse_kv_dtype(options.kv));
  Outcome outcome = Outcome::done;
  std::map<size_t, std::string> waiting;  // lines whose turn has not come
  size_t next = 0;
  BM_CHECK_OK(generate_batch(
      model, prompts, options.generate, batch, [&](size_t i, Result<Generation> made) -> Status {
        Json line = made ? generation_json(*made) : Json::object({{"error", made.error().paragraph()}});
        if (!asked[i].id.is_null()) line.set("id", asked[i].id);
        if (options.samples > 1) line.set("sample", asked[i].prompt.sample);
        if (!made) outcome = Outcome::partial;
        waiting[i] = line.dump();
        for (auto first = waiting.begin(); first != waiting.end() && first->first == next; ++next) {
          print_line(first->second);
          first = waiting.erase(first);
        }
        std::fflush(stdout);
        return {};
      }));
  return outcome;
}

Result<Outcome> generate_one(const Model& model, const std::string& prompt, bool json) {
  auto ids = model.tokenizer()->encode(prompt, {.parse_special = true});
  if (options.samples > 1) {
    std::vector<Asked> asked;
    for (int64_t s = 0; s < options.samples; ++s) asked.push_back({{}, {ids, static_cast<uint64_t>(s)}});
    return generate_many(model, asked);
  }
  BM_TRY(DType kv, parse_kv_dtype(options.kv));
  GenerationSession session(model, kv);
  TextSink sink;
  if (!json)
    sink = [](std::string_view text) {
      print(text);
      std::fflush(stdout);  // as it comes, through pipes too
    };
  BM_TRY(Generation made, session.generate(ids, options.generate, sink));
  print_line(json ? generation_json(made).dump() : "");
  return Outcome::done;
}

Result<Outcome> run_generate(const Invocation& call) {
  const int ways = call.given("prompt") + call.given("prompt-file") + call.given("prompts");
  if (ways != 1) return bad_input("give one of --prompt TEXT, --prompt-file FILE and --prompts FILE");
  if (options.samples < 1) return bad_input("--samples must be 1 or more");
  std::string prompt = options.prompt;
  if (call.given("prompt-file")) {
    BM_TRY(prompt, read_file(options.prompt_file));
  }
  const std::string& path = call.argument("MODEL");
  const bool many = call.given("prompts");
  BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
  BM_TRY(auto model,
         Model::load(path, {.arithmetic = arithmetic, .need_tokenizer = !many, .base = options.base}));
  if (call.common.dry_run) {
    print_line("would generate up to " + std::to_string(options.generate.max_tokens) + " tokens; weights " +
               format_bytes(model->weight_bytes()));
    return Outcome::done;
  }
  options.generate.sampling.seed = call.common.seed_or(0);
  if (!many) return generate_one(*model, prompt, call.common.json);
  BM_TRY(auto asked, read_prompts(model->tokenizer(), call.common.limit));
  return generate_many(*model, asked);
}

const RegisterVerb verb{{
    .name = "generate",
    .summary = "text behind a prompt, as a stream, or behind many prompts at once",
    .details =
        "Writes only what follows the prompt. Special strings in the prompt (<s>, <|im_start|>) become "
        "control tokens\n"
        "and the tokenizer adds BOS, as transformers does. The same seed gives the same text. --json gives "
        "one object\n"
        "with text, ids, the reason it ended (eos, stop, length, context) and the number of prompt tokens.\n"
        "--prompts FILE takes JSON lines with \"prompt\" or \"prompt_ids\" (and \"id\"), generates --batch "
        "of them at a\n"
        "time and writes one object a line, in their order; each text is the one that its prompt gives "
        "alone.\n"
        "--samples N draws N texts behind each prompt.",
    .example =
        "biomistral generate model/ --prompt \"Aspirin is\" --max-tokens 40 --temperature 0.7 --seed 1",
    .positionals = {{"MODEL", "model folder, .gguf file or adapter folder"}},
    .describe =
        [](Fields& fields) {
          fields.add("prompt", options.prompt, "text to go on from");
          fields.add("prompt-file", options.prompt_file, "file that holds it instead");
          fields.add("prompts", options.prompts, "file of prompts, JSON lines");
          fields.add("batch", options.batch, "texts made at the same time", {.unit = "texts"});
          fields.add("samples", options.samples, "texts behind each prompt", {.unit = "texts"});
          describe(fields, options.generate);
          fields.add("arith", options.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
                     {.choices = {"auto", "exact", "bf16", "fast"}});
          fields.add("kv", options.kv, "what key/value caches hold; bf16 halves them and rounds",
                     {.choices = {"f32", "bf16"}});
          fields.add("kv-memory", options.kv_memory, "ceiling of key/value caches with --prompts; 0 = 2G",
                     {.unit = "bytes", .result_neutral = true});
          fields.add("base", options.base, "base model of an adapter folder, if not the one it names");
        },
    .run = run_generate,
}};

}  // namespace
}  // namespace bm
