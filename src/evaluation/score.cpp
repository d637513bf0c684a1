#include "evaluation/score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_set>

#include "base/hash.h"
#include "base/log.h"
#include "evaluation/prefix_runner.h"
#include "evaluation/score_logits.h"
#include "evaluation/score_tokens.h"
#include "formats/checkpoint.h"
#include "ops/cross_entropy.h"

namespace bm {

void describe(Fields& fields, ScoreOptions& o) {
  fields.add("in", o.in, "file of requests (JSON lines) instead of standard input");
  fields.add("out", o.out, "file of answers instead of standard output");
  fields.add("arith", o.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
             {.choices = {"auto", "exact", "bf16", "fast"}});
  fields.add("truncate", o.truncate, "what to do with prompts that are too long",
             {.choices = {"none", "left"}});
  fields.add("max-length", o.max_length, "longest input of the model; 0 = its positions", {.unit = "tokens"});
  fields.add("kv-memory", o.kv_memory, "ceiling of all key/value caches; 0 = 2G",
             {.unit = "bytes", .result_neutral = true});
  fields.add("kv", o.kv, "what key/value caches hold; bf16 halves them and rounds",
             {.choices = {"f32", "bf16"}});
  fields.add("logits", o.logits, "safetensors file to write: last_logits [requests, vocabulary], float32");
  fields.add("all-logits", o.all_logits, "also write logits.<id> [tokens, vocabulary] of each prompt");
  fields.add("base", o.base, "base model of an adapter folder, if not the one it names");
}

Result<Arithmetic> resolve_arithmetic(const std::string& name, const std::string& model_path) {
  if (name != "auto") return parse_arithmetic(name);
  bool quantized = ends_with(model_path, ".gguf");
  std::string config = path_join(model_path, "config.json");
  if (is_directory(model_path) && exists(config)) {
    BM_TRY(Json json, read_json_file(config));
    quantized = !json["quantization_config"].is_null();
  }
  return quantized ? Arithmetic::fast : Arithmetic::exact;
}

namespace {

// What one row of logits is wanted for.
struct Want {
  enum class Kind : uint8_t { continuation, next, prompt_token, last_logits, all_logits } kind;
  size_t request;
  size_t part = 0;     // continuation; tensor of the logits file
  int32_t target = 0;  // token whose probability is asked for
  int64_t token = 0;   // position in the prompt
};

struct Input {
  std::vector<int32_t> tokens;
  std::map<int64_t, std::vector<Want>> rows;
};

class Scorer {
 public:
  Scorer(const Model& model, std::span<const ScoreRequest> requests, const ScoreOptions& options)
      : model_(model), requests_(requests), options_(options), answers_(requests.size()) {
    max_length_ = options.max_length > 0 ? options.max_length : model.config().max_positions;
    if (max_length_ <= 0) max_length_ = std::numeric_limits<int32_t>::max();
  }

  Result<ScorePlan> look_ahead() {
    BM_CHECK_OK(plan_all());
    BM_TRY(PrefixRunOptions run, run_options());
    const auto runs = model_inputs();
    ScorePlan out;
    for (const ScoreAnswer& answer : answers_) out.failed += !answer.error.empty();
    out.prompts = plan_prefixes(model_, runs, run);
    out.seconds = probe_seconds(model_, runs, out.prompts);
    return out;
  }

  Result<std::vector<ScoreAnswer>> run(ScoreReport* report) {
    BM_CHECK_OK(plan_all());
    BM_CHECK_OK(open_logits());
    BM_CHECK_OK(compute());
    if (file_) {
      for (size_t i = 0; i < requests_.size(); ++i) {
        if (!answers_[i].error.empty()) BM_CHECK_OK(file_->write_missing(static_cast<int64_t>(i)));
      }
      BM_CHECK_OK(file_->commit());
    }
    report_.requests = static_cast<int64_t>(requests_.size());
    for (const ScoreAnswer& answer : answers_) {
      report_.failed += !answer.error.empty();
      report_.truncated += answer.dropped_tokens > 0;
    }
    if (report) *report = report_;
    return std::move(answers_);
  }

 private:
  Status plan_all() {
    if (options_.truncate != "none" && options_.truncate != "left") {
      return bad_input("--truncate is none or left, not \"" + options_.truncate + "\"");
    }
    for (size_t i = 0; i < requests_.size(); ++i) {
      auto status = plan(i);
      if (status.ok()) continue;
      answers_[i] = {};
      answers_[i].error = status.error().paragraph();
    }
    return {};
  }

  Status check_ids(std::span<const int32_t> ids, const char* what) const {
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= 0 && ids[i] < model_.config().vocab) continue;
      return bad_input(std::string(what) + " holds the id " + std::to_string(ids[i]) + " at position " +
                       std::to_string(i) + "; the model's ids are 0…" +
                       std::to_string(model_.config().vocab - 1));
    }
    return {};
  }

  Status check_length(int64_t dropped) const {
    if (dropped == 0 || options_.truncate == "left") return {};
    return bad_input("the input is " + std::to_string(dropped) + " tokens longer than the model's " +
                         std::to_string(max_length_),
                     "Shorten it, or cut it with --truncate left.");
  }

  // Where the logits of an input go; equal inputs become one.
  Input& input_of(std::vector<int32_t> tokens) {
    uint64_t key = hash64({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t)});
    auto [first, last] = index_.equal_range(key);
    for (auto at = first; at != last; ++at) {
      if (inputs_[at->second].tokens == tokens) return inputs_[at->second];
    }
    index_.emplace(key, inputs_.size());
    inputs_.push_back({std::move(tokens), {}});
    return inputs_.back();
  }

  Status plan(size_t i) {
    const ScoreRequest& request = requests_[i];
    if (!request.error.empty()) return bad_input(request.error);
    if (request.prompt.has_value() == request.prompt_ids.has_value()) {
      return bad_input("a request needs either \"prompt\" or \"prompt_ids\"");
    }
    if (request.prompt && !model_.tokenizer()) {
      return bad_input("the model has no tokenizer, so text cannot be scored",
                       "Give prompt_ids and continuation_ids.");
    }
    if (request.next < 0) return bad_input("\"next\" must not be negative");
    std::vector<EncodedPair> pairs;
    BM_TRY(pairs, encode_pairs(request));
    std::vector<int32_t> prompt =
        request.prompt ? encode_as_lm_eval(*model_.tokenizer(), *request.prompt) : *request.prompt_ids;
    BM_CHECK_OK(check_ids(prompt, "the prompt"));
    ScoreAnswer& answer = answers_[i];
    answer.prompt_tokens = static_cast<int64_t>(pairs.empty() ? prompt.size() : pairs[0].context.size());
    answer.continuations.resize(pairs.size());
    for (const EncodedPair& pair : pairs) {
      BM_CHECK_OK(check_length(scoring_input(pair.context, pair.continuation, max_length_).dropped));
    }
    bool whole_prompt =
        request.next > 0 || request.token_logprobs || !options_.logits.empty() || pairs.empty();
    if (whole_prompt) BM_CHECK_OK(plan_prompt(i, std::move(prompt)));
    for (size_t k = 0; k < pairs.size(); ++k) plan_continuation(i, k, pairs[k]);
    return {};
  }

  Result<std::vector<EncodedPair>> encode_pairs(const ScoreRequest& request) const {
    std::vector<EncodedPair> pairs;
    for (const std::string& text : request.continuations) {
      if (!request.prompt) return bad_input("\"continuations\" are texts and need a \"prompt\"");
      BM_TRY(EncodedPair pair, encode_pair_as_lm_eval(*model_.tokenizer(), *request.prompt, text));
      pairs.push_back(std::move(pair));
    }
    for (const auto& ids : request.continuation_ids) {
      if (!request.prompt_ids) return bad_input("\"continuation_ids\" need \"prompt_ids\"");
      if (request.prompt_ids->empty())
        return bad_input("\"prompt_ids\" is empty: a continuation needs a token before it");
      pairs.push_back({*request.prompt_ids, ids});
    }
    for (size_t k = 0; k < pairs.size(); ++k) {
      BM_CHECK_OK(check_ids(pairs[k].context, "the prompt"));
      BM_CHECK_OK(check_ids(pairs[k].continuation, "a continuation"));
      auto length = static_cast<int64_t>(pairs[k].continuation.size());
      if (length == 0) return bad_input("continuation " + std::to_string(k) + " is empty: it has no tokens");
      if (length > max_length_)
        return bad_input("continuation " + std::to_string(k) + " alone is longer than the model's input");
    }
    return pairs;
  }

  Status plan_prompt(size_t i, std::vector<int32_t> prompt) {
    const ScoreRequest& request = requests_[i];
    if (prompt.empty()) return bad_input("the prompt has no tokens");
    auto length = static_cast<int64_t>(prompt.size());
    int64_t dropped = std::max<int64_t>(0, length - max_length_);
    BM_CHECK_OK(check_length(dropped));
    prompt.erase(prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(dropped));
    length -= dropped;
    ScoreAnswer& answer = answers_[i];
    answer.dropped_tokens = std::max(answer.dropped_tokens, dropped);
    Input& input = input_of(std::move(prompt));
    bool file = !options_.logits.empty();
    if (request.next > 0) input.rows[length - 1].push_back({Want::Kind::next, i});
    if (file) input.rows[length - 1].push_back({Want::Kind::last_logits, i});
    if (request.token_logprobs) {
      answer.token_logprobs.resize(static_cast<size_t>(length) - 1);
      for (int64_t t = 0; t + 1 < length; ++t) {
        input.rows[t].push_back(
            {Want::Kind::prompt_token, i, 0, input.tokens[static_cast<size_t>(t) + 1], t});
      }
    }
    if (file && options_.all_logits) {
      std::string name = request.id.is_string() ? request.id.as_string()
                         : request.id.is_null() ? std::to_string(i)
                                                : request.id.dump();
      for (int64_t t = 0; t < length; ++t)
        input.rows[t].push_back({Want::Kind::all_logits, i, tensors_.size(), 0, t});
      tensors_.push_back({std::move(name), length});
    }
    return {};
  }

  void plan_continuation(size_t i, size_t k, const EncodedPair& pair) {
    ScoringInput scored = scoring_input(pair.context, pair.continuation, max_length_);
    auto count = static_cast<int64_t>(pair.continuation.size());
    auto first = static_cast<int64_t>(scored.tokens.size()) - count;
    answers_[i].dropped_tokens = std::max(answers_[i].dropped_tokens, scored.dropped);
    answers_[i].continuations[k] = {count, 0, true};
    Input& input = input_of(std::move(scored.tokens));
    for (int64_t t = 0; t < count; ++t) {
      input.rows[first + t].push_back(
          {Want::Kind::continuation, i, k, pair.continuation[static_cast<size_t>(t)]});
    }
  }

  Status open_logits() {
    if (options_.logits.empty()) {
      if (options_.all_logits) return bad_input("--all-logits needs --logits FILE");
      return {};
    }
    std::unordered_set<std::string> names;
    for (const auto& tensor : tensors_) {
      if (!names.insert(tensor.name).second) {
        return bad_input(
            "two requests have the id \"" + tensor.name + "\", so their logits would share a name",
            "Give every request its own id.");
      }
    }
    BM_TRY(LogitsFile file, LogitsFile::create(options_.logits, static_cast<int64_t>(requests_.size()),
                                               model_.config().vocab, tensors_));
    file_.emplace(std::move(file));
    return {};
  }

  // Takes the tokens out of inputs_; what is left in it are the rows.
  std::vector<PrefixRequest> model_inputs() {
    std::erase_if(inputs_, [](const Input& input) { return input.rows.empty(); });  // only had to be checked
    std::vector<PrefixRequest> runs;
    for (Input& input : inputs_) {
      PrefixRequest run{std::move(input.tokens), {}};
      for (const auto& [row, wants] : input.rows) run.rows.push_back(row);
      report_.input_tokens += static_cast<int64_t>(run.tokens.size());
      runs.push_back(std::move(run));
    }
    return runs;
  }

  Result<PrefixRunOptions> run_options() const {
    PrefixRunOptions out;
    if (options_.kv_memory.bytes > 0) out.kv_memory = options_.kv_memory.bytes;
    BM_TRY(out.kv_dtype, parse_kv_dtype(options_.kv));
    return out;
  }

  Status compute() {
    const auto runs = model_inputs();
    BM_TRY(PrefixRunOptions how, run_options());
    Progress progress("score", "inputs", runs.size());
    Status write_status;
    auto sink = [&](size_t run, size_t row, const float* logits) {
      const auto& wants = inputs_[run].rows.at(runs[run].rows[row]);
      auto status = deliver(wants, logits);
      if (write_status.ok() && !status.ok()) write_status = std::move(status);
    };
    auto after = [&](std::span<const size_t> finished) -> Status {
      progress.advance(finished.size());
      if (!write_status.ok()) return write_status;
      if (stop_requested()) return interrupted_error("scoring");
      return {};
    };
    BM_TRY(PrefixRunReport done, run_shared_prefixes(model_, runs, how, sink, after));
    report_.computed_tokens = done.computed_tokens;
    report_.kv_bytes = done.kv_bytes;
    return write_status;
  }

  Status deliver(const std::vector<Want>& wants, const float* logits) {
    int64_t vocab = model_.config().vocab;
    double normalizer = 0;
    log_sum_exp(logits, 1, vocab, &normalizer);
    int32_t best = -1;
    for (const Want& want : wants) {
      ScoreAnswer& answer = answers_[want.request];
      double logprob = static_cast<double>(logits[want.target]) - normalizer;
      switch (want.kind) {
        case Want::Kind::continuation:
          if (best < 0) best = static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
          answer.continuations[want.part].logprob += logprob;
          answer.continuations[want.part].greedy &= want.target == best;
          break;
        case Want::Kind::next:
          top_tokens(logits, normalizer, requests_[want.request].next, answer.next);
          break;
        case Want::Kind::prompt_token:
          answer.token_logprobs[static_cast<size_t>(want.token)] = logprob;
          break;
        case Want::Kind::last_logits:
          BM_CHECK_OK(file_->write_last(static_cast<int64_t>(want.request), logits));
          break;
        case Want::Kind::all_logits:
          BM_CHECK_OK(file_->write_row(want.part, want.token, logits));
          break;
      }
    }
    return {};
  }

  void top_tokens(const float* logits, double normalizer, int64_t count, std::vector<NextToken>& out) const {
    std::vector<int32_t> ids(static_cast<size_t>(model_.config().vocab));
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    auto k = static_cast<ptrdiff_t>(std::min<int64_t>(count, model_.config().vocab));
    std::partial_sort(ids.begin(), ids.begin() + k, ids.end(), [&](int32_t a, int32_t b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    for (ptrdiff_t i = 0; i < k; ++i) {
      int32_t id = ids[static_cast<size_t>(i)];
      out.push_back({id, static_cast<double>(logits[id]) - normalizer});
    }
  }

  const Model& model_;
  std::span<const ScoreRequest> requests_;
  const ScoreOptions& options_;
  int64_t max_length_ = 0;
  std::vector<ScoreAnswer> answers_;
  std::vector<Input> inputs_;
  std::unordered_multimap<uint64_t, size_t> index_;
  std::vector<LogitsFile::PerRequest> tensors_;
  std::optional<LogitsFile> file_;
  ScoreReport report_;
};

}  // namespace

Result<ScorePlan> plan_scoring(const Model& model, std::span<const ScoreRequest> requests,
                               const ScoreOptions& options) {
  return Scorer(model, requests, options).look_ahead();
}

Result<std::vector<ScoreAnswer>> score_requests(const Model& model, std::span<const ScoreRequest> requests,
                                                const ScoreOptions& options, ScoreReport* report) {
  return Scorer(model, requests, options).run(report);
}

}  // namespace bm
