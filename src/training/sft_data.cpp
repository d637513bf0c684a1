#include "training/sft_data.h"

#include <algorithm>
#include <limits>
#include <span>

#include "base/file.h"
#include "base/log.h"
#include "formats/jsonl.h"
#include "tasks/catalog.h"
#include "tasks/prompts.h"

namespace bm {
namespace {

int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

struct Span {
  int64_t begin = 0, end = 0;  // code points
};

class Reader {
 public:
  Reader(const Tokenizer& tokenizer, const SftDataOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  Status add_line(const Json& line) {
    if (!line.is_object()) return bad_input("is no JSON object");
    if (line.contains("input_ids")) return add_ids(line);
    if (line.contains("messages")) return add_messages(line["messages"]);
    if (line.contains("text")) {
      BM_TRY(std::string text, line.get_string("text"));
      return add("", text);
    }
    if (!line.contains("prompt") || !line.contains("completion"))
      return bad_input("has neither prompt and completion, nor messages, text or input_ids",
                       "One example a line, e.g. {\"prompt\": \"…\", \"completion\": \"…\"}");
    BM_TRY(std::string prompt, line.get_string("prompt"));
    BM_TRY(std::string completion, line.get_string("completion"));
    if (completion.empty()) return bad_input("its completion is empty");
    return add(prompt, completion);
  }

  // Prompt and answer as one text, closed by EOS.
  Status add(const std::string& prompt, const std::string& answer) {
    const int64_t begin = code_points(prompt);
    BM_TRY(Example example, tokenize(prompt + answer, {{begin, std::numeric_limits<int64_t>::max()}}, {}));
    const auto eos = tokenizer_.eos_id();
    if (eos && (example.tokens.empty() || example.tokens.back() != *eos)) {
      example.tokens.push_back(*eos);
      example.labels.push_back(*eos);
    }
    return take(std::move(example));
  }

  SftData data;

 private:
  Status add_ids(const Json& line) {
    Example example;
    const auto read = [](const Json& list, std::vector<int32_t>& out, const char* name) -> Status {
      if (!list.is_array()) return bad_input(std::string(name) + " is no list of integers");
      for (const Json& item : list.items()) {
        if (!item.is_integer() || item.as_int() < kNoTarget ||
            item.as_int() > std::numeric_limits<int32_t>::max())
          return bad_input(std::string(name) + " is no list of token ids");
        out.push_back(static_cast<int32_t>(item.as_int()));
      }
      return {};
    };
    BM_CHECK_OK(read(line["input_ids"], example.tokens, "input_ids"));
    if (line.contains("labels")) {
      BM_CHECK_OK(read(line["labels"], example.labels, "labels"));
    } else {
      example.labels = example.tokens;
    }
    if (example.labels.size() != example.tokens.size())
      return bad_input("has " + std::to_string(example.tokens.size()) + " input_ids and " +
                       std::to_string(example.labels.size()) + " labels");
    return take(std::move(example));
  }

  // What the assistant says is found by rendering the conversation up to it, with the generation prompt.
  Status add_messages(const Json& messages) {
    if (!messages.is_array() || messages.size() == 0) return bad_input("messages is no list of messages");
    std::vector<Span> answers;
    BM_TRY(std::string whole, tokenizer_.render_chat(messages, {}, options_.chat_template));
    Json before = Json::array();
    for (const Json& message : messages.items()) {
      const bool answer =
          message.is_object() && message["role"].is_string() && message["role"].as_string() == "assistant";
      if (answer) {
        if (before.size() == 0) return bad_input("the conversation begins with the assistant");
        BM_TRY(std::string prompt,
               tokenizer_.render_chat(before, {.add_generation_prompt = true}, options_.chat_template));
        before.push_back(message);
        BM_TRY(std::string upto, tokenizer_.render_chat(before, {}, options_.chat_template));
        if (!starts_with(upto, prompt) || !starts_with(whole, upto))
          return bad_input(
              "the chat template changes earlier messages when later ones follow, so the answers cannot be "
              "told",
              "Give another template with --chat-template, or prompt and completion");
        answers.push_back({code_points(prompt), code_points(upto)});
      } else {
        before.push_back(message);
      }
    }
    if (answers.empty() && options_.answers_only) return bad_input("no message is the assistant's");
    BM_TRY(Example example, tokenize(whole, answers, {.add_special = false, .parse_special = true}));
    return take(std::move(example));
  }

  Result<Example> tokenize(const std::string& text, const std::vector<Span>& answers,
                           const EncodeOptions& how) {
    const Encoding encoding = tokenizer_.encode_with_offsets(text, how);
    Example example{encoding.ids, std::vector<int32_t>(encoding.ids.size(), kNoTarget)};
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const auto [begin, end] = encoding.offsets[i];
      const bool target =
          !options_.answers_only || std::any_of(answers.begin(), answers.end(), [&](const Span& a) {
            return end > a.begin && begin < a.end && end > begin;
          });
      if (target) example.labels[i] = encoding.ids[i];
    }
    return example;
  }

  // Too long: the beginning goes (all but BOS), as long as the first target keeps a token before it.
  Status take(Example example) {
    const auto most = static_cast<size_t>(options_.max_length);
    if (example.tokens.size() > most) {
      const size_t kept_head = tokenizer_.bos_id() && example.tokens[0] == *tokenizer_.bos_id() ? 1 : 0;
      const auto first =
          static_cast<size_t>(std::find_if(example.labels.begin() + static_cast<std::ptrdiff_t>(kept_head),
                                           example.labels.end(), [](int32_t l) { return l != kNoTarget; }) -
                              example.labels.begin());
      const size_t excess = example.tokens.size() - most;
      if (options_.answers_only && kept_head + excess >= first) {
        ++data.too_long;
        return {};
      }
      const auto from = static_cast<std::ptrdiff_t>(options_.answers_only ? kept_head : most);
      const auto to =
          static_cast<std::ptrdiff_t>(options_.answers_only ? kept_head + excess : example.tokens.size());
      example.tokens.erase(example.tokens.begin() + from, example.tokens.begin() + to);
      example.labels.erase(example.labels.begin() + from, example.labels.begin() + to);
      ++data.cut;
    }
    const auto targets = std::count_if(example.labels.begin() + (example.labels.empty() ? 0 : 1),
                                       example.labels.end(), [](int32_t l) { return l != kNoTarget; });
    if (targets == 0) return bad_input("has no token to learn");
    data.targets += targets;
    data.examples.push_back(std::move(example));
    return {};
  }

  const Tokenizer& tokenizer_;
  const SftDataOptions& options_;
};

Result<SftData> checked(SftData data, const std::string& source, const SftDataOptions& options) {
  if (data.examples.empty())
    return bad_input(data.too_long > 0
                         ? "none of its " + std::to_string(data.too_long) + " examples fits into " +
                               std::to_string(options.max_length) + " tokens"
                         : std::string("holds no example"),
                     data.too_long > 0 ? "Raise --max-length" : "")
        .in(source);
  if (data.cut + data.too_long > 0)
    log_warning(source + ": of " +
                std::to_string(static_cast<int64_t>(data.examples.size()) + data.too_long) + " examples " +
                std::to_string(data.cut) + " were cut to --max-length " + std::to_string(options.max_length) +
                ", " + std::to_string(data.too_long) + " left out");
  return data;
}

}  // namespace

Json SftData::json() const {
  return Json::object({{"examples", static_cast<int64_t>(examples.size())},
                       {"examples_cut", cut},
                       {"examples_left_out", too_long},
                       {"targets", targets}});
}

Result<SftData> read_sft_lines(const std::string& path, const Tokenizer& tokenizer,
                               const SftDataOptions& options) {
  Reader reader(tokenizer, options);
  BM_CHECK_OK(
      for_each_jsonl(path, [&](const Json& line, uint64_t) -> Status { return reader.add_line(line); }));
  return checked(std::move(reader.data), path, options);
}

Result<SftData> read_sft_tasks(const SftTasks& tasks, const Tokenizer& tokenizer,
                               const SftDataOptions& options) {
  Reader reader(tokenizer, options);
  BM_TRY(auto names, expand_task_names(tasks.names));
  for (const std::string& name : names) {
    TaskLoadOptions load;
    load.data = tasks.data;
    load.seed = tasks.seed;
    std::vector<std::string> languages = task_languages(name);
    BM_TRY(Task task, load_task(name, languages.empty() ? "en" : languages[0], load));
    if (task.shot_pool.empty())
      return bad_input("task " + name + " has no training questions",
                       "medqa, medmcqa and pubmedqa have some");
    if (task.held_out > 0)
      log_warning(name + ": no training split is published; " + std::to_string(task.held_out) +
                  " questions held out of the scored set are used, so score with the same --seed");
    int64_t used = 0;
    for (const Item& item : task.shot_pool) {
      if (tasks.limit > 0 && used++ >= tasks.limit) break;
      const std::string prompt = biomistral_prompt(item, {}, false, task.instruction);
      const std::string whole = biomistral_prompt(item, {}, true, task.instruction);
      BM_CHECK_OK(reader.add(prompt, whole.substr(prompt.size())).in(item.identifier).in(name));
    }
  }
  return checked(std::move(reader.data), "--tasks", options);
}

}  // namespace bm
