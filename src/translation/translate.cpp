#include "translation/translate.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "tasks/catalog.h"
#include "translation/checks.h"
#include "translation/chrf.h"
#include "translation/endpoint.h"
#include "translation/fields.h"

namespace bm {
namespace {

struct Work {
  size_t task = 0, item = 0;
  std::string language;
  Json line;           // of the output file; null: not translated
  std::string reason;  // why not
  bool doubtful = false;
};

// Accepted replies by content, shared by the threads.
class Cache {
 public:
  Status open(const std::string& path) {
    BM_TRY(auto lines, file_.open(path));
    for (const auto& line : lines)
      if (line["key"].is_string() && line["reply"].is_object())
        replies_[line["key"].as_string()] = line["reply"];
    return {};
  }
  bool find(const std::string& key, Json& reply) const {
    std::lock_guard lock(mutex_);
    auto found = replies_.find(key);
    if (found == replies_.end()) return false;
    reply = found->second;
    return true;
  }
  Status add(const std::string& key, const Json& reply) {
    {
      std::lock_guard lock(mutex_);
      if (!replies_.emplace(key, reply).second) return {};
    }
    return file_.append(Json::object({{"key", key}, {"reply", reply}}));
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Json> replies_;
  LineFile file_;
};

class Translator {
 public:
  Translator(const TranslateOptions& options, const std::vector<Task>& tasks, Endpoint& endpoint,
             Cache& cache)
      : options_(options), tasks_(tasks), endpoint_(endpoint), cache_(cache) {}

  void run(std::vector<Work>& works) {
    Progress progress("Translating", "items", works.size());
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    size_t count = std::min(static_cast<size_t>(std::max<int64_t>(1, options_.parallel)), works.size());
    for (size_t t = 0; t < count; ++t)
      threads.emplace_back([&] {
        HttpClient client;
        for (size_t w = next++; w < works.size() && !stop_requested(); w = next++) {
          translate_item(client, works[w]);
          progress.advance();
        }
      });
    for (auto& thread : threads) thread.join();
  }

  int64_t cached() const { return cached_; }

 private:
  bool field(HttpClient& client, const FieldRequest& request, const CallLabels& labels, Json& reply,
             std::string& reason) {
    std::string key = request.key(options_.model);
    if (cache_.find(key, reply)) {
      ++cached_;
      return true;
    }
    auto answer = endpoint_.ask(client, request.system(), request.user(), labels,
                                [&](const std::string& content) { return request.read(content); });
    if (!answer.ok) {
      reason = request.field + (request.back ? " (back)" : "") + ": " + answer.reason;
      return false;
    }
    reply = std::move(answer.value);
    auto kept = cache_.add(key, reply);
    if (!kept.ok()) {
      reason = kept.error().paragraph();
      return false;
    }
    return true;
  }

  void translate_item(HttpClient& client, Work& work) {
    const Task& task = tasks_[work.task];
    const Item& item = task.items[work.item];
    Json line = item_json(item), back = Json::object(), scores = Json::object();
    line.set("lang", work.language);
    for (const auto& request : field_requests(item, work.language)) {
      CallLabels labels{task.name, item.identifier, work.language, request.field};
      Json reply;
      if (!field(client, request, labels, reply, work.reason)) return;
      bool single = request.field != "options";
      line.set(request.field + "_translated", single ? reply["text"] : reply);
      if (!options_.back_translate) continue;
      FieldRequest again{request.field, reply, work.language, true};
      labels.field += " (back)";
      Json returned;
      if (!field(client, again, labels, returned, work.reason)) return;
      Json of_field = Json::object();
      for (const auto& [key, text] : request.source.members()) {
        double score = chrf(returned[key].as_string(), text.as_string());
        work.doubtful = work.doubtful || score < options_.least_chrf;
        of_field.set(key, score);
      }
      back.set(request.field, single ? returned["text"] : returned);
      scores.set(request.field, single ? of_field["text"] : of_field);
    }
    line.set("source_sha256", sha256_hex(item_json(item).dump()));
    line.set("translated_by", options_.model);
    if (options_.back_translate) {
      line.set("back_translation", std::move(back));
      line.set("back_translation_chrf", std::move(scores));
    }
    work.line = std::move(line);
  }

  const TranslateOptions& options_;
  const std::vector<Task>& tasks_;
  Endpoint& endpoint_;
  Cache& cache_;
  std::atomic<int64_t> cached_{0};
};

Status check(const TranslateOptions& options) {
  if (options.tasks.empty() && options.items.empty())
    return bad_input("no tasks are given", "name them with --tasks, or give --items FILE.jsonl");
  if (options.to.empty()) return bad_input("no language is given", "for example --to fr,de");
  for (const auto& language : options.to)
    if (language_code(language) == "en")
      return bad_input("the items are English already", "leave en out of --to");
  if (!starts_with(options.endpoint, "http://") && !starts_with(options.endpoint, "https://"))
    return bad_input("--endpoint \"" + options.endpoint + "\" is no http:// or https:// address",
                     "give the address up to /v1, for example http://localhost:8000/v1");
  if (options.out.empty()) return bad_input("--out is missing", "name the folder to write");
  if (options.parallel < 1 || options.parallel > 256) return bad_input("--parallel is not 1 to 256");
  if (options.retries < 0 || options.retries > 100) return bad_input("--retries is not 0 to 100");
  if (options.timeout <= 0 || options.timeout > 86400) return bad_input("--timeout is not above 0 seconds");
  if (options.budget > 0 && options.price_in <= 0 && options.price_out <= 0)
    return bad_input("--budget needs prices", "give --price-in and --price-out, per million tokens");
  return http_available();
}

Result<std::vector<Task>> load_tasks(const TranslateOptions& options, const CommonOptions& common) {
  TaskLoadOptions load;
  load.data = options.data;
  load.need_pool = false;
  load.limit = common.limit;
  std::vector<Task> tasks;
  std::vector<std::string> item_files = options.items;
  BM_TRY(auto names, expand_task_names(options.tasks));
  for (const auto& name : names) {
    if (ends_with(name, ".jsonl") || ends_with(name, ".json")) {
      item_files.push_back(name);
      continue;
    }
    bool own = ends_with(name, ".yaml") || ends_with(name, ".yml");
    BM_TRY(Task task, own ? load_task_file(name, load) : load_task(name, "en", load));
    tasks.push_back(std::move(task));
  }
  if (!item_files.empty()) {
    BM_TRY(auto more, load_items_tasks(item_files, load));
    for (auto& task : more) tasks.push_back(std::move(task));
  }
  for (const auto& task : tasks)
    if (task.language != "en")
      return bad_input("the items of " + task.name + " are not English but \"" + task.language + "\"",
                       "translate from the English items");
  return tasks;
}

StageIdentity identity_of(const TranslateOptions& options, const CommonOptions& common) {
  TranslateOptions copy = options;
  Fields fields;
  describe(fields, copy);
  StageIdentity identity;
  identity.verb = "translate";
  identity.options = fields.dump_identity();
  identity.options.set("limit", common.limit);
  identity.seed = common.seed_or(42);
  identity.mode = common.mode;
  return identity;
}

void say_dry_run(const std::vector<Task>& tasks, const TranslateOptions& options) {
  size_t calls = 0, bytes = 0;
  for (const auto& task : tasks)
    for (const auto& item : task.items)
      for (const auto& request : field_requests(item, "fr")) {
        ++calls;
        bytes += request.user().size();
      }
  calls *= options.to.size() * (options.back_translate ? 2 : 1);
  bytes *= options.to.size() * (options.back_translate ? 2 : 1);
  double tokens = static_cast<double>(bytes) / 4, in = tokens + 130 * static_cast<double>(calls),
         out = 1.3 * tokens;
  log_info(fmt::format(
      "would ask {} to translate in {} requests of about {:.0f} tokens, {:.0f} back; cost about {:.2f}",
      options.model, calls, in, out, (in * options.price_in + out * options.price_out) / 1e6));
}

std::vector<Work> work_list(const std::vector<Task>& tasks, const std::vector<std::string>& languages) {
  std::vector<Work> works;
  for (size_t t = 0; t < tasks.size(); ++t)
    for (const auto& language : languages)
      for (size_t i = 0; i < tasks[t].items.size(); ++i)
        works.push_back({t, i, language_code(language), {}, {}, false});
  return works;
}

// Items in their order, one file a task and language.
Status write_items(const std::vector<Task>& tasks, const std::vector<Work>& works, const std::string& out) {
  std::map<std::string, std::string> files;
  for (const auto& work : works) {
    auto& text = files[tasks[work.task].name + "." + work.language + ".jsonl"];
    if (!work.line.is_null()) text += work.line.dump_spaced() + "\n";
  }
  for (const auto& [name, text] : files) BM_CHECK_OK(write_file_atomic(path_join(out, name), text));
  return {};
}

Status note_failures(const std::vector<Task>& tasks, const std::vector<Work>& works, LineFile& ledger,
                     TranslateReport& report) {
  for (const auto& work : works) {
    report.translated += !work.line.is_null();
    report.doubtful += work.doubtful;
    if (!work.line.is_null() && !work.doubtful) continue;
    const auto& task = tasks[work.task];
    report.failed += work.line.is_null();
    BM_CHECK_OK(ledger.append(Json::object(
        {{"task", task.name},
         {"identifier", task.items[work.item].identifier},
         {"language", work.language},
         {"status", work.line.is_null() ? "failed" : "doubtful"},
         {"reason", work.line.is_null() ? work.reason : "the back-translation differs by chrF"}})));
  }
  for (const auto& task : tasks)
    for (const auto& row : task.broken) {
      ++report.broken;
      log_warning(row.file + " → " + row.place + ": " + row.reason);
      BM_CHECK_OK(ledger.append(Json::object({{"task", task.name},
                                              {"status", "broken"},
                                              {"file", row.file},
                                              {"place", row.place},
                                              {"reason", row.reason}})));
    }
  return {};
}

// What all runs into this folder used, from the ledger's lines of before.
Usage used_before(const std::vector<Json>& lines) {
  Usage usage;
  for (const auto& line : lines) {
    if (!line["attempt"].is_integer()) continue;
    usage.calls += 1;
    usage.failed_calls += line["status"] != Json("ok");
    if (line["prompt_tokens"].is_integer()) usage.prompt_tokens += line["prompt_tokens"].as_int();
    if (line["completion_tokens"].is_integer()) usage.completion_tokens += line["completion_tokens"].as_int();
    if (line["cost"].is_number()) usage.cost += line["cost"].as_double();
  }
  return usage;
}

EndpointOptions endpoint_options(const TranslateOptions& options, const CommonOptions& common) {
  EndpointOptions endpoint;
  endpoint.url = options.endpoint;
  endpoint.model = options.model;
  if (const char* key = std::getenv(options.key_variable.c_str())) endpoint.key = key;
  endpoint.retries = options.retries;
  endpoint.retry_wait = options.retry_wait;
  endpoint.timeout = options.timeout;
  endpoint.requests_per_minute = options.requests_per_minute;
  endpoint.price_in = options.price_in;
  endpoint.price_out = options.price_out;
  endpoint.budget = options.budget;
  endpoint.seed = static_cast<int64_t>(common.seed_or(42));
  return endpoint;
}

}  // namespace

void describe(Fields& f, TranslateOptions& o) {
  f.add("tasks", o.tasks, "tasks, groups (biomistral, mmlu_med), .yaml or .jsonl files", {.unit = "names"});
  f.add("items", o.items, "items in BioInstructQA's layout, one JSON object a line",
        {.unit = "files", .result_neutral = true});
  f.add("to", o.to, "languages to translate into, e.g. fr,de", {.unit = "codes"});
  f.add("data", o.data, "folder of the published files", {.unit = "folder", .result_neutral = true});
  f.add("endpoint", o.endpoint, "address of an OpenAI-style server, up to /v1",
        {.unit = "URL", .result_neutral = true});
  f.add("model", o.model, "model, as the endpoint calls it");
  f.add("key-variable", o.key_variable, "environment variable that holds the endpoint's key",
        {.result_neutral = true});
  f.add("out", o.out, "folder to write", {.unit = "folder", .result_neutral = true});
  f.add("cache", o.cache, "file of accepted replies, may be shared by runs; default: OUT/cache.jsonl",
        {.unit = "file", .result_neutral = true});
  f.add("parallel", o.parallel, "requests at a time", {.unit = "requests", .result_neutral = true});
  f.add("retries", o.retries, "further attempts after the first",
        {.unit = "attempts", .result_neutral = true});
  f.add("retry-wait", o.retry_wait, "wait before the first retry; doubles each time, at most a minute",
        {.unit = "seconds", .result_neutral = true});
  f.add("timeout", o.timeout, "time a request may take", {.unit = "seconds", .result_neutral = true});
  f.add("requests-per-minute", o.requests_per_minute, "rate limit; 0 = none",
        {.unit = "requests", .result_neutral = true});
  f.add("price-in", o.price_in, "price of a million tokens sent", {.unit = "money", .result_neutral = true});
  f.add("price-out", o.price_out, "price of a million tokens received",
        {.unit = "money", .result_neutral = true});
  f.add("budget", o.budget, "ceiling of the cost over all runs into the folder; 0 = none",
        {.unit = "money", .result_neutral = true});
  f.add("back-translate", o.back_translate, "translate back into English and compare by chrF");
  f.add("least-chrf", o.least_chrf, "back-translations below it make an item doubtful", {.unit = "0 to 100"});
}

Result<TranslateReport> translate(const TranslateOptions& options, const CommonOptions& common) {
  BM_CHECK_OK(check(options));
  BM_TRY(auto tasks, load_tasks(options, common));
  TranslateReport report;
  report.out = options.out;
  if (common.dry_run) {
    say_dry_run(tasks, options);
    return report;
  }
  auto identity = identity_of(options, common);
  for (const auto& task : tasks)
    for (const auto& file : task.files) {
      BM_TRY(auto input, stage_input("data", file));
      identity.inputs.push_back(std::move(input));
    }
  BM_TRY(auto stage, StageFolder::open(options.out, identity, common.overwrite));
  if (stage.state() == StageFolder::State::complete) {
    report.already_complete = true;
    BM_TRY(report.cost, read_json_file(stage.file("cost.json")));
    return report;
  }
  LineFile ledger;
  BM_TRY(auto before, ledger.open(stage.file("ledger.jsonl")));
  Cache cache;
  BM_CHECK_OK(cache.open(options.cache.empty() ? stage.file("cache.jsonl") : options.cache));
  Usage usage = used_before(before);
  Endpoint endpoint(endpoint_options(options, common), ledger, usage.cost);
  usage.cost = 0;  // the endpoint counts on from it
  auto works = work_list(tasks, options.to);
  Translator translator(options, tasks, endpoint, cache);
  translator.run(works);
  if (stop_requested()) return interrupted_error("translation");
  BM_CHECK_OK(note_failures(tasks, works, ledger, report));
  BM_CHECK_OK(write_items(tasks, works, options.out));
  usage.add(endpoint.usage());
  report.cost = Json::object({{"model", options.model},
                              {"items", static_cast<int64_t>(works.size())},
                              {"translated", report.translated},
                              {"failed", report.failed},
                              {"doubtful", report.doubtful},
                              {"calls", usage.calls},
                              {"failed_calls", usage.failed_calls},
                              {"fields_from_cache", translator.cached()},
                              {"prompt_tokens", usage.prompt_tokens},
                              {"completion_tokens", usage.completion_tokens},
                              {"cost", usage.cost},
                              {"price_in_per_million", options.price_in},
                              {"price_out_per_million", options.price_out}});
  BM_CHECK_OK(write_file_atomic(stage.file("cost.json"), report.cost.dump_pretty() + "\n"));
  if (std::string why = endpoint.closed(); !why.empty() && report.translated == 0)
    return failed("no item could be translated: " + why, "mend the cause and give the same command again")
        .in(options.endpoint);
  if (report.failed == 0) BM_CHECK_OK(stage.finish(report.cost));
  return report;
}

}  // namespace bm
