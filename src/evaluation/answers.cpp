#include "evaluation/answers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "base/threads.h"

namespace bm {
namespace {

double log_sum_exp(const float* logits, int64_t n) {
  double top = *std::max_element(logits, logits + n), sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  return top + std::log(sum);
}

Error not_finite() {
  return failed("the model's logits are not finite",
                "its weights hold infinities or NaN: `biomistral inspect` finds them");
}

// Minus infinity has no JSON number.
Json logprob_json(double logprob) { return std::isfinite(logprob) ? Json(logprob) : Json(); }

// One prompt on its way through the model.
struct Asked {
  size_t prompt = 0;
  int64_t prompt_tokens = 0, truncated = 0;
  std::vector<size_t> requests;  // one, or one a choice
  size_t waiting = 0;            // requests not answered yet
  std::string line;              // the finished prediction
  std::vector<ChoiceLikelihood> likelihoods;
};

struct RequestOwner {
  size_t asked = 0, choice = 0;
};

class Answering {
 public:
  Answering(const Model& model, const Plan& plan, const std::vector<size_t>& prompts,
            const AnswerOptions& options, Journal& journal, const std::string& label)
      : model_(model),
        tokenizer_(*model.tokenizer()),
        plan_(plan),
        options_(options),
        journal_(journal),
        vocabulary_(model.config().vocab),
        ids_(tokenizer_, vocabulary_, all_letters(plan)),
        progress_(label, "prompts", prompts.size()),
        asked_(prompts.size()) {
    for (size_t i = 0; i < prompts.size(); ++i) asked_[i].prompt = prompts[i];
  }

  Result<AnswerReport> run() {
    double start = now_seconds();
    BM_CHECK_OK(encode());
    BM_CHECK_OK(score_unconditional());
    auto sink = [this](size_t request, size_t row, const float* logits) { receive(request, row, logits); };
    auto run = run_shared_prefixes(model_, requests_, options_.run, sink,
                                   [this](std::span<const size_t> done) { return finish(done); });
    BM_CHECK_OK(journal_.sync(true));
    if (!run.ok()) return std::move(run.error());
    report_.run = *run;
    report_.seconds = now_seconds() - start;
    return std::move(report_);
  }

 private:
  static std::vector<std::string> all_letters(const Plan& plan) {
    std::set<std::string> letters;
    for (const auto& prompt : plan.prompts) letters.insert(prompt.letters.begin(), prompt.letters.end());
    return {letters.begin(), letters.end()};
  }

  void fail(const Asked& asked, std::string reason) {
    auto line = Json::object({{"failed", std::move(reason)}}).dump();
    if (auto status = journal_.append(asked.prompt, line); !status.ok() && !error_)
      error_ = std::move(status.error());
    ++report_.failed;
    progress_.advance();
  }

  Result<std::string> chat_text(const std::string& user) const {
    std::vector<ChatMessage> messages;
    if (!options_.system_prompt.empty()) messages.push_back({"system", options_.system_prompt});
    messages.push_back({"user", user});
    return tokenizer_.render_chat(messages, true);
  }

  Result<std::string> prompt_text(const PlannedPrompt& prompt) const {
    if (options_.chat) return chat_text(prompt.text);
    if (!options_.system_prompt.empty()) return options_.system_prompt + "\n\n" + prompt.text;
    return prompt.text;
  }

  // Encodes all open prompts in parallel, then makes the requests in order.
  Status encode() {
    struct Encoded {
      std::vector<std::vector<int32_t>> contexts, continuations;
      std::optional<Error> error;
    };
    std::vector<Encoded> encoded(asked_.size());
    parallel_for(asked_.size(), [&](size_t a) {
      const auto& prompt = plan_.prompts[asked_[a].prompt];
      auto text = prompt_text(prompt);
      if (!text.ok()) {
        encoded[a].error = text.error();
        return;
      }
      if (plan_.rule != DecisionRule::lm_eval) {
        EncodeOptions how{.add_special = !options_.chat, .parse_special = options_.chat};
        encoded[a].contexts.push_back(tokenizer_.encode(*text, how));
        return;
      }
      for (const auto& continuation : prompt.continuations) {
        // The delimiter is "" behind a chat template, as in lm-eval.
        auto pair = encode_pair(tokenizer_, *text, options_.chat ? continuation.substr(1) : continuation);
        encoded[a].contexts.push_back(std::move(pair.context));
        encoded[a].continuations.push_back(std::move(pair.continuation));
      }
    });
    for (size_t a = 0; a < asked_.size(); ++a) {
      if (encoded[a].error) return *encoded[a].error;
      if (plan_.rule == DecisionRule::lm_eval)
        add_choices(a, encoded[a].contexts, encoded[a].continuations);
      else
        add_single(a, std::move(encoded[a].contexts[0]));
    }
    return {};
  }

  bool too_long(Asked& asked, int64_t tokens) {
    asked.truncated = std::max(asked.truncated, std::max<int64_t>(0, tokens - options_.max_length));
    if (tokens <= options_.max_length) return false;
    if (options_.truncate_left) return false;
    fail(asked, "the prompt has " + std::to_string(tokens) + " tokens, the model takes " +
                    std::to_string(options_.max_length));
    return true;
  }

  void add_request(size_t a, size_t choice, std::vector<int32_t> tokens, std::vector<int64_t> rows) {
    asked_[a].requests.push_back(requests_.size());
    ++asked_[a].waiting;
    owners_.push_back({a, choice});
    requests_.push_back({std::move(tokens), std::move(rows)});
  }

  void add_single(size_t a, std::vector<int32_t> ids) {
    Asked& asked = asked_[a];
    asked.prompt_tokens = static_cast<int64_t>(ids.size());
    if (ids.empty()) {
      fail(asked, "the prompt has no tokens");
      return;
    }
    if (too_long(asked, asked.prompt_tokens)) return;
    if (asked.truncated) ids.erase(ids.begin(), ids.begin() + asked.truncated);
    report_.truncated += asked.truncated > 0;
    int64_t last = static_cast<int64_t>(ids.size()) - 1;
    add_request(a, 0, std::move(ids), {last});
  }

  // The last max_length + 1 ids of context and continuation, without the last one, go into the model.
  void add_choices(size_t a, std::vector<std::vector<int32_t>>& contexts,
                   std::vector<std::vector<int32_t>>& continuations) {
    Asked& asked = asked_[a];
    asked.likelihoods.resize(contexts.size());
    asked.prompt_tokens = contexts.empty() ? 0 : static_cast<int64_t>(contexts[0].size());
    for (size_t c = 0; c < contexts.size(); ++c) {
      int64_t inputs = static_cast<int64_t>(contexts[c].size() + continuations[c].size()) - 1;
      if (continuations[c].empty() || inputs < 1 ||
          static_cast<int64_t>(continuations[c].size()) > options_.max_length) {
        fail(asked,
             "choice " + std::to_string(c) + " cannot be scored: it is empty or longer than the model takes");
        return;
      }
      if (too_long(asked, inputs)) return;
    }
    report_.truncated += asked.truncated > 0;
    for (size_t c = 0; c < contexts.size(); ++c) {
      asked.likelihoods[c].tokens = static_cast<int64_t>(continuations[c].size());
      add_request(a, c, {}, {});
      make_scored(requests_.back(), contexts[c], continuations[c]);
      targets_.resize(requests_.size());
      targets_.back() = std::move(continuations[c]);
    }
  }

  void make_scored(PrefixRequest& request, const std::vector<int32_t>& context,
                   const std::vector<int32_t>& continuation) const {
    request.tokens = context;
    request.tokens.insert(request.tokens.end(), continuation.begin(), continuation.end() - 1);
    int64_t surplus = static_cast<int64_t>(request.tokens.size()) - options_.max_length;
    if (surplus > 0) request.tokens.erase(request.tokens.begin(), request.tokens.begin() + surplus);
    int64_t first = static_cast<int64_t>(request.tokens.size()) - static_cast<int64_t>(continuation.size());
    for (size_t i = 0; i < continuation.size(); ++i) request.rows.push_back(first + static_cast<int64_t>(i));
  }

  // acc_mutual_info: each different continuation once behind BOS (or EOS) alone.
  Status score_unconditional() {
    auto start = tokenizer_.bos_id() ? tokenizer_.bos_id() : tokenizer_.eos_id();
    if (plan_.rule != DecisionRule::lm_eval || !start || asked_.empty()) return {};
    std::map<std::vector<int32_t>, size_t> index;
    std::vector<std::vector<size_t>> wanted(asked_.size());
    std::vector<PrefixRequest> requests;
    std::vector<std::vector<int32_t>> targets;
    for (size_t a = 0; a < asked_.size(); ++a) {
      if (asked_[a].requests.empty()) continue;
      for (const auto& continuation : plan_.prompts[asked_[a].prompt].continuations) {
        auto ids = tokenizer_.encode(continuation, {.add_special = false});
        if (ids.empty()) ids.push_back(*start);
        auto [place, fresh] = index.try_emplace(ids, requests.size());
        wanted[a].push_back(place->second);
        if (!fresh) continue;
        make_scored(requests.emplace_back(), {*start}, ids);
        targets.push_back(std::move(ids));
      }
    }
    std::vector<double> sums(requests.size());
    auto sink = [&](size_t r, size_t row, const float* logits) {
      sums[r] += static_cast<double>(logits[targets[r][row]]) - log_sum_exp(logits, vocabulary_);
    };
    auto run =
        run_shared_prefixes(model_, requests, options_.run, sink, [](std::span<const size_t>) -> Status {
          return stop_requested() ? Status(interrupted_error("evaluate")) : Status();
        });
    if (!run.ok()) return std::move(run.error());
    for (size_t a = 0; a < asked_.size(); ++a)
      for (size_t c = 0; c < wanted[a].size(); ++c)
        asked_[a].likelihoods[c].unconditional = sums[wanted[a][c]];
    return {};
  }

  void receive(size_t request, size_t row, const float* logits) {
    Asked& asked = asked_[owners_[request].asked];
    const auto& prompt = plan_.prompts[asked.prompt];
    if (plan_.rule != DecisionRule::lm_eval) {
      auto prediction = read_logits(logits, vocabulary_, prompt.letters, ids_, tokenizer_);
      if (!prediction.ok()) {
        if (!error_) error_ = std::move(prediction.error());
        return;
      }
      complete(asked, *prediction);
      return;
    }
    auto& likelihood = asked.likelihoods[owners_[request].choice];
    int32_t target = targets_[request][row];
    if (row == 0) likelihood.greedy = true;
    double total = log_sum_exp(logits, vocabulary_);
    if (!std::isfinite(total) && !error_) error_ = not_finite();
    likelihood.logprob += static_cast<double>(logits[target]) - total;
    likelihood.greedy =
        likelihood.greedy && std::max_element(logits, logits + vocabulary_) - logits == target;
  }

  const Item& item_of(const PlannedPrompt& prompt) const {
    return plan_.tasks[prompt.task].items[prompt.item];
  }

  void complete(Asked& asked, Prediction& prediction) const {
    const auto& prompt = plan_.prompts[asked.prompt];
    prediction.identifier = item_of(prompt).identifier;
    prediction.correct_letter = prompt.correct_letter;
    prediction.prompt_tokens = asked.prompt_tokens;
    prediction.truncated_tokens = asked.truncated;
    if (!prompt.order_letters.empty()) prediction.extra.set("order", prompt.order_letters);
    if (!item_of(prompt).category.empty()) prediction.extra.set("category", item_of(prompt).category);
    asked.line = prediction_json(prediction).dump_spaced();
  }

  void complete_choices(Asked& asked) const {
    const auto& prompt = plan_.prompts[asked.prompt];
    auto scores = score_choices(asked.likelihoods, prompt.choices, prompt.gold, prompt.is_true);
    Prediction prediction;
    Json choices = Json::array();
    for (size_t c = 0; c < asked.likelihoods.size(); ++c) {
      const auto& l = asked.likelihoods[c];
      prediction.letters.push_back({prompt.letters[c], std::exp(l.logprob), l.logprob});
      Json choice =
          Json::object({{"logprob", logprob_json(l.logprob)}, {"tokens", l.tokens}, {"greedy", l.greedy}});
      if (l.unconditional) choice.set("unconditional", logprob_json(*l.unconditional));
      choices.push_back(std::move(choice));
    }
    decide_letters(prediction);
    prediction.best_prediction = prediction.letters_prediction =
        prompt.letters[static_cast<size_t>(scores.chosen)];
    prediction.extra.set("choices", std::move(choices));
    Json figures = choice_scores_json(scores);
    for (const auto& [key, value] : figures.members()) prediction.extra.set(key, value);
    complete(asked, prediction);
  }

  Status finish(std::span<const size_t> requests) {
    if (error_) return *error_;
    for (size_t request : requests) {
      Asked& asked = asked_[owners_[request].asked];
      if (--asked.waiting) continue;
      if (plan_.rule == DecisionRule::lm_eval) complete_choices(asked);
      BM_CHECK_OK(journal_.append(asked.prompt, asked.line));
      asked.line.clear();
      ++report_.answered;
      progress_.advance();
    }
    BM_CHECK_OK(journal_.sync());
    if (stop_requested()) return interrupted_error("evaluate");
    return {};
  }

  const Model& model_;
  const Tokenizer& tokenizer_;
  const Plan& plan_;
  const AnswerOptions& options_;
  Journal& journal_;
  int64_t vocabulary_;
  LetterIds ids_;
  Progress progress_;
  std::vector<Asked> asked_;
  std::vector<PrefixRequest> requests_;
  std::vector<RequestOwner> owners_;
  std::vector<std::vector<int32_t>> targets_;  // lm-eval: the continuation's ids of each request
  std::optional<Error> error_;
  AnswerReport report_;
};

}  // namespace

LetterIds::LetterIds(const Tokenizer& tokenizer, int64_t vocabulary,
                     const std::vector<std::string>& letters) {
  for (const auto& letter : letters) ids_[letter];
  int64_t count = std::min(vocabulary, tokenizer.vocabulary_size());
  std::vector<std::string> decoded(static_cast<size_t>(count));
  parallel_chunks(decoded.size(), 1024, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      int32_t id = static_cast<int32_t>(i);
      decoded[i] = tokenizer.decode({&id, 1});
    }
  });
  for (size_t i = 0; i < decoded.size(); ++i) {
    auto found = ids_.find(decoded[i]);
    if (found != ids_.end()) found->second.push_back(static_cast<int32_t>(i));
  }
}

const std::vector<int32_t>& LetterIds::of(const std::string& letter) const {
  static const std::vector<int32_t> none;
  auto found = ids_.find(letter);
  return found == ids_.end() ? none : found->second;
}

Result<Prediction> read_logits(const float* logits, int64_t vocabulary,
                               const std::vector<std::string>& letters, const LetterIds& ids,
                               const Tokenizer& tokenizer) {
  double total = log_sum_exp(logits, vocabulary);
  if (!std::isfinite(total)) return not_finite();
  Prediction prediction;
  for (const auto& letter : letters) {
    double best = -std::numeric_limits<double>::infinity();
    for (int32_t id : ids.of(letter)) best = std::max(best, static_cast<double>(logits[id]));
    if (ids.of(letter).empty()) continue;
    prediction.letters.push_back({letter, std::exp(best - total), best - total});
  }
  decide_letters(prediction);
  int32_t top = static_cast<int32_t>(std::max_element(logits, logits + vocabulary) - logits);
  prediction.best_prediction = tokenizer.decode({&top, 1});
  return prediction;
}

EncodedPair encode_pair(const Tokenizer& tokenizer, const std::string& context,
                        const std::string& continuation) {
  size_t kept = python_rstrip(context);
  std::string head = context.substr(0, kept), tail = context.substr(kept) + continuation;
  bool has_bos = tokenizer.bos_id() && starts_with(head, tokenizer.token_text(*tokenizer.bos_id()));
  EncodeOptions how{.add_special = !has_bos, .parse_special = true};
  EncodedPair pair;
  pair.context = tokenizer.encode(head, how);
  auto whole = tokenizer.encode(head + tail, how);
  if (pair.context.empty()) {  // nothing before it: BOS or EOS stands there
    auto start = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
    if (start) pair.context.push_back(*start);
    pair.continuation = std::move(whole);
    return pair;
  }
  size_t cut = std::min(pair.context.size(), whole.size());
  pair.continuation.assign(whole.begin() + static_cast<ptrdiff_t>(cut), whole.end());
  return pair;
}

Result<AnswerReport> answer_prompts(const Model& model, const Plan& plan, const std::vector<size_t>& prompts,
                                    const AnswerOptions& options, Journal& journal,
                                    const std::string& label) {
  return Answering(model, plan, prompts, options, journal, label).run();
}

std::optional<std::string> failure_of(const std::string& line) {
  if (!starts_with(line, "{\"failed\":")) return std::nullopt;
  auto json = parse_json(line);
  return json.ok() && (*json)["failed"].is_string() ? (*json)["failed"].as_string() : "unknown";
}

}  // namespace bm
