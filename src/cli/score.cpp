// biomistral score: log-likelihoods, the low door.
#include "evaluation/score.h"

#include <iostream>

#include "base/file.h"
#include "base/log.h"
#include "cli/verb.h"
#include "evaluation/score_io.h"

namespace bm {
namespace {

ScoreOptions options;

// Lines of --in or standard input, empty ones skipped, at most `limit` (0 = all).
Result<std::vector<ScoreRequest>> read_requests(int64_t limit) {
  std::vector<ScoreRequest> requests;
  auto take = [&](std::string_view line) {
    if (!trim(line).empty()) requests.push_back(parse_score_request(line));
    return limit <= 0 || static_cast<int64_t>(requests.size()) < limit;
  };
  if (!options.in.empty()) {
    BM_TRY(MappedFile file, MappedFile::open(options.in));
    std::string_view text = file.text();
    for (size_t begin = 0; begin < text.size();) {
      size_t end = std::min(text.find('\n', begin), text.size());
      if (!take(text.substr(begin, end - begin))) break;
      begin = end + 1;
    }
    return requests;
  }
  std::string line;
  while (std::getline(std::cin, line) && take(line)) {
  }
  return requests;
}

Status write_answers(const std::vector<ScoreRequest>& requests, const std::vector<ScoreAnswer>& answers,
                     const Tokenizer* tokenizer) {
  std::optional<AtomicFile> file;
  if (!options.out.empty()) {
    BM_TRY(AtomicFile created, AtomicFile::create(options.out));
    file.emplace(std::move(created));
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    std::string line = score_answer_json(requests[i], answers[i], tokenizer).dump();
    if (file) {
      BM_CHECK_OK(file->append(line + "\n"));
    } else {
      print_line(line);
    }
  }
  return file ? file->commit() : Status();
}

Result<Outcome> run_score(const Invocation& call) {
  const std::string& path = call.argument("MODEL");
  BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
  BM_TRY(auto requests, read_requests(call.common.limit));
  bool text =
      std::any_of(requests.begin(), requests.end(), [](const auto& r) { return r.prompt.has_value(); });
  ScoreOptions scoring = options;
  if (scoring.kv_memory.bytes == 0 && call.common.memory.bytes > 0)
    scoring.kv_memory.bytes = call.common.memory.bytes / 2;
  BM_TRY(auto model, Model::load(path, {.arithmetic = arithmetic, .base = options.base}));
  if (text && !model->tokenizer()) log_warning("the model has no tokenizer: requests with text will fail");
  if (call.common.dry_run) {
    BM_TRY(ScorePlan plan, plan_scoring(*model, requests, scoring));
    print_line("would score " + std::to_string(requests.size()) + " requests" +
               (plan.failed ? " (" + std::to_string(plan.failed) + " of them fail)" : "") + ": " +
               plan.prompts.text() + ", about " + format_duration(plan.seconds));
    print_line("weights " + format_bytes(model->weight_bytes()) + ", key/value caches up to " +
               format_bytes(scoring.kv_memory.bytes ? scoring.kv_memory.bytes : uint64_t{2} << 30) + " (" +
               format_bytes(plan.prompts.least_memory) + " are needed for one prompt)");
    return Outcome::done;
  }
  ScoreReport report;
  BM_TRY(auto answers, score_requests(*model, requests, scoring, &report));
  BM_CHECK_OK(write_answers(requests, answers, model->tokenizer()));
  if (report.truncated > 0)
    log_info(format_count(static_cast<uint64_t>(report.truncated)) + " requests were cut on the left");
  log_info(format_count(static_cast<uint64_t>(report.requests)) + " requests, " +
           format_count(static_cast<uint64_t>(report.input_tokens)) + " input tokens, " +
           format_count(static_cast<uint64_t>(report.computed_tokens)) + " computed, caches of " +
           format_bytes(report.kv_bytes));
  return report.failed > 0 ? Outcome::partial : Outcome::done;
}

const RegisterVerb verb{{
    .name = "score",
    .summary = "log-likelihoods of continuations, next tokens and prompts, as JSON lines",
    .details =
        "A line asks for one of, or several of:\n"
        "  {\"id\":\"q1\",\"prompt\":\"text\",\"continuations\":[\" A\",\" B\"]}   tokenized as "
        "lm-evaluation-harness does\n"
        "  {\"id\":\"q2\",\"prompt_ids\":[1,22,7],\"continuation_ids\":[[330],[365,5]]}   taken as they are\n"
        "  … \"next\":5   the 5 likeliest next tokens;  … \"token_logprobs\":true   of the prompt itself\n"
        "Answers come in the order of the requests; one that cannot be scored is {\"id\",\"error\"} and "
        "makes the exit\n"
        "code 3. Minus infinity is null. docs/scoring.md says the rest.",
    .example = R"(echo '{"prompt":"Fever is","continuations":[" hot"," cold"]}' | biomistral score model/)",
    .positionals = {{"MODEL", "model folder, .gguf file or adapter folder"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run_score,
}};

}  // namespace
}  // namespace bm
