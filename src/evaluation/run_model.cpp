#include "evaluation/run_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/system.h"

namespace bm {
namespace {

struct Shard {
  size_t index = 1, count = 1;
};

Result<Shard> parse_shard(const std::string& text) {
  Shard shard;
  if (text.empty()) return shard;
  auto parts = split(text, '/');
  auto number = [](const std::string& s) {
    return !s.empty() && s.size() < 7 && s.find_first_not_of("0123456789") == std::string::npos;
  };
  if (parts.size() == 2 && number(parts[0]) && number(parts[1])) {
    shard = {std::stoul(parts[0]), std::stoul(parts[1])};
    if (shard.index >= 1 && shard.index <= shard.count) return shard;
  }
  return bad_input("--shard \"" + text + "\" is not i/n with 1 ≤ i ≤ n", "for example --shard 2/4");
}

// Neighbours in the order of their texts share prefixes: each shard takes one run of them, of about the
// same length of text.
std::vector<size_t> prompts_of_shard(const Plan& plan, const Shard& shard) {
  std::vector<size_t> order(plan.prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (shard.count == 1) return order;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    int compared = plan.prompts[a].text.compare(plan.prompts[b].text);
    return compared ? compared < 0 : a < b;
  });
  size_t total = 0, before = 0;
  for (const auto& prompt : plan.prompts) total += prompt.text.size();
  std::vector<size_t> mine;
  for (size_t p : order) {
    if (total && before * shard.count / total + 1 == shard.index) mine.push_back(p);
    before += plan.prompts[p].text.size();
  }
  std::sort(mine.begin(), mine.end());
  return mine;
}

bool quantized(const std::string& path, const std::string& base) {
  if (ends_with(path, ".gguf") || ends_with(base, ".gguf")) return true;
  for (const auto& folder : {path, base}) {
    auto config = read_json_file(path_join(folder, "config.json"));
    if (config.ok() && (*config)["quantization_config"].is_object()) return true;
  }
  return false;
}

Result<Arithmetic> arithmetic_of(const EvaluateOptions& options, const std::string& path, std::string& name) {
  name = options.arithmetic;
  if (name == "auto" || name.empty()) name = quantized(path, options.base) ? "fast" : "exact";
  return parse_arithmetic(name);
}

std::vector<std::string> journals(const std::string& folder) {
  std::vector<std::string> found;
  auto files = list_files(folder);
  if (!files.ok()) return found;
  for (const auto& path : *files)
    if (starts_with(path_name(path), "partial") && path_parent(path) == folder) found.push_back(path);
  return found;
}

std::string file_path(const std::string& folder, const PlannedFile& file) {
  return path_join(folder, file.name + ".jsonl");
}

bool all_files_there(const Plan& plan, const std::string& folder) {
  if (!exists(path_join(folder, "run.json"))) return false;
  return std::all_of(plan.files.begin(), plan.files.end(),
                     [&](const auto& file) { return exists(file_path(folder, file)); });
}

// Final files from the answered lines, items in order; failed prompts go to the ledger.
Status write_files(const Plan& plan, const std::string& folder, const std::string& model,
                   const std::map<uint64_t, std::string>& lines, std::vector<std::string>& ledger) {
  for (const auto& file : plan.files) {
    const auto& task = plan.tasks[file.task];
    std::string content;
    int64_t failures = 0;
    for (size_t p = file.first; p < file.first + file.count; ++p) {
      const std::string& line = lines.at(p);
      auto reason = failure_of(line);
      if (!reason) {
        content += line + "\n";
        continue;
      }
      ++failures;
      ledger.push_back(Json::object({{"status", "failed"},
                                     {"model", model},
                                     {"task", task.name},
                                     {"language", task.language},
                                     {"draw", file.draw},
                                     {"identifier", task.items[p - file.first].identifier},
                                     {"reason", *reason}})
                           .dump_spaced());
    }
    if (failures)
      log_warning(fmt::format("{}: {} of {} prompts of {} could not be scored; see ledger.jsonl{}", model,
                              failures, file.count, file.name,
                              failures == static_cast<int64_t>(file.count) ? "" : " (the others are)"));
    BM_CHECK_OK(make_directories(path_parent(file_path(folder, file))));
    BM_CHECK_OK(write_file_atomic(file_path(folder, file), content));
  }
  std::string text;
  for (const auto& line : ledger) text += line + "\n";
  return write_file_atomic(path_join(folder, "ledger.jsonl"), text);
}

AnswerOptions answer_options(const EvaluateOptions& options, const CommonOptions& common,
                             const Model& model) {
  AnswerOptions answer;
  answer.max_length = model.config().max_positions;
  if (options.max_length > 0) answer.max_length = std::min(answer.max_length, options.max_length);
  answer.truncate_left = options.truncate == "left";
  answer.chat = options.chat;
  answer.system_prompt = options.system_prompt;
  if (options.kv_memory.bytes) answer.run.kv_memory = options.kv_memory.bytes;
  if (common.memory.bytes) {
    uint64_t rest =
        common.memory.bytes > model.weight_bytes() ? common.memory.bytes - model.weight_bytes() : 0;
    answer.run.kv_memory = std::min(answer.run.kv_memory, rest);
  }
  return answer;
}

Json run_info(const Model& model, const AnswerReport& report, const std::string& arithmetic,
              const AnswerOptions& answer) {
  double seconds = std::max(report.seconds, 1e-9);
  return Json::object({{"parameters", model.parameter_count()},
                       {"weight_bytes", model.weight_bytes()},
                       {"model_type", model.config().model_type},
                       {"quantization", model.config().quantization["quant_method"]},
                       {"arithmetic", arithmetic},
                       {"max_length", answer.max_length},
                       {"prompts", report.answered},
                       {"failed", report.failed},
                       {"truncated", report.truncated},
                       {"prompt_tokens", report.run.tokens},
                       {"computed_tokens", report.run.computed_tokens},
                       {"kv_bytes", report.run.kv_bytes},
                       {"seconds", report.seconds},
                       {"prompts_per_second", static_cast<double>(report.answered) / seconds}});
}

// Counts over every answer, those of earlier, interrupted processes too. Seconds, the speed and the tokens
// computed stay those of the last one.
Status count_all(const std::map<uint64_t, std::string>& lines, Json& info) {
  int64_t failed = 0, truncated = 0, tokens = 0;
  for (const auto& [key, line] : lines) {
    if (failure_of(line)) {
      ++failed;
      continue;
    }
    BM_TRY(Json json, parse_json(line));
    BM_TRY(Prediction prediction, read_prediction(json));
    truncated += prediction.truncated_tokens > 0;
    tokens += prediction.prompt_tokens;
  }
  info.set("prompts", static_cast<int64_t>(lines.size()));
  info.set("failed", failed);
  info.set("truncated", truncated);
  info.set("prompt_tokens", tokens);
  return {};
}

Result<ModelRun> stored_run(const std::string& folder, ModelRun run) {
  BM_TRY(run.info, read_json_file(path_join(folder, "run.json")));
  BM_TRY(std::string ledger, read_file(path_join(folder, "ledger.jsonl")));
  for (const auto& line : split(ledger, '\n'))
    if (!line.empty()) run.ledger.push_back(line);
  run.complete = true;
  return run;
}

}  // namespace

std::string plan_hash(const Plan& plan) {
  Sha256 hash;
  for (const auto& file : plan.files) hash.update(file.name + "\n");
  for (const auto& prompt : plan.prompts) {
    hash.update(prompt.text + "\n" + prompt.correct_letter + "\n" + prompt.order_letters + "\n");
    for (const auto& letter : prompt.letters) hash.update(letter + ",");
    for (const auto& continuation : prompt.continuations) hash.update(continuation + "\n");
  }
  return hash.hex();
}

Result<std::vector<std::string>> model_names(const EvaluateOptions& options) {
  if (!options.names.empty() && options.names.size() != options.models.size())
    return bad_input(std::to_string(options.names.size()) + " names for " +
                         std::to_string(options.models.size()) + " models",
                     "give --names one name a model, in their order");
  std::vector<std::string> names;
  auto last_part = [](std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path_name(path);
  };
  for (const auto& path : options.models) {
    std::string name = last_part(path);
    if (ends_with(name, ".gguf")) name.resize(name.size() - 5);
    names.push_back(name);
  }
  auto first_names = names;
  for (size_t i = 0; i < names.size(); ++i) {  // "a/final" and "b/final": "a-final" and "b-final"
    std::string parent = last_part(path_parent(options.models[i]));
    if (std::count(first_names.begin(), first_names.end(), names[i]) > 1 && !parent.empty())
      names[i] = parent + "-" + names[i];
  }
  if (!options.names.empty()) names = options.names;
  std::set<std::string> used;
  for (auto& name : names) {
    for (char& c : name)
      if (c == '/' || c == '\\') c = '_';
    if (name.empty() || name == "." || name == ".." || starts_with(name, "partial")) name = "model";
    std::string base = name;
    for (int n = 2; !used.insert(name).second; ++n) name = base + "-" + std::to_string(n);
  }
  return names;
}

Result<ModelRun> run_model(const Plan& plan, const EvaluateOptions& options, const CommonOptions& common,
                           const std::string& path, const std::string& name) {
  ModelRun run{name, path, false, {}, {}};
  std::string folder = path_join(options.out, name);
  if (all_files_there(plan, folder)) {
    for (const auto& journal : journals(folder)) BM_CHECK_OK(remove_all(journal));  // a kill just before this
    return stored_run(folder, std::move(run));
  }
  BM_CHECK_OK(make_directories(folder));
  BM_TRY(auto shard, parse_shard(common.shard));
  std::string journal_name =
      shard.count == 1 ? "partial" : fmt::format("partial.shard-{}-of-{}", shard.index, shard.count);
  std::string hash = plan_hash(plan);
  std::map<uint64_t, std::string> done;
  for (const auto& other : journals(folder)) {
    if (path_name(other) == journal_name) continue;
    BM_TRY(auto lines, Journal::read(other, hash));
    done.merge(lines);
  }
  BM_TRY(auto journal, Journal::open(path_join(folder, journal_name), hash));
  std::vector<size_t> open;
  for (size_t p : prompts_of_shard(plan, shard))
    if (!journal.lines().count(p) && !done.count(p)) open.push_back(p);
  std::string arithmetic;
  BM_TRY(auto arith, arithmetic_of(options, path, arithmetic));
  BM_TRY(auto model, Model::load(path, {.arithmetic = arith, .need_tokenizer = true, .base = options.base}));
  auto answer = answer_options(options, common, *model);
  BM_TRY(answer.run.kv_dtype, parse_kv_dtype(options.kv));
  BM_TRY(auto report, answer_prompts(*model, plan, open, answer, journal, "Evaluating " + name));
  run.info = run_info(*model, report, arithmetic, answer);
  run.info.set("name", name);
  run.info.set("path", path);
  for (const auto& other : journals(folder)) {  // what other shards have by now
    if (path_name(other) == journal_name) continue;
    BM_TRY(auto lines, Journal::read(other, hash));
    done.merge(lines);
  }
  for (const auto& [key, line] : journal.lines()) done[key] = line;
  if (done.size() < plan.prompts.size()) return run;
  BM_CHECK_OK(write_files(plan, folder, name, done, run.ledger));
  BM_CHECK_OK(count_all(done, run.info));
  BM_CHECK_OK(write_file_atomic(path_join(folder, "run.json"), run.info.dump_pretty() + "\n"));
  BM_CHECK_OK(journal.remove());
  for (const auto& other : journals(folder)) BM_CHECK_OK(remove_all(other));
  run.complete = true;
  return run;
}

Status write_ensemble(const Plan& plan, const std::string& out, const std::vector<std::string>& members,
                      const std::string& name) {
  for (const auto& file : plan.files) {
    std::vector<std::map<std::string, Prediction>> answers;
    for (const auto& member : members) {
      BM_TRY(std::string text, read_file(file_path(path_join(out, member), file)));
      auto& of_member = answers.emplace_back();
      for (const auto& line : split(text, '\n')) {
        if (line.empty()) continue;
        BM_TRY(Json json, parse_json(line));
        BM_TRY(auto prediction, read_prediction(json));
        of_member[prediction.identifier] = std::move(prediction);
      }
    }
    std::string content;
    for (const auto& item : plan.tasks[file.task].items) {
      std::map<std::string, double> sums;
      Prediction joint;
      bool everywhere = true;
      for (auto& of_member : answers) {
        auto found = of_member.find(item.identifier);
        if (found == of_member.end()) {
          everywhere = false;
          break;
        }
        joint.correct_letter = found->second.correct_letter;
        joint.prompt_tokens = std::max(joint.prompt_tokens, found->second.prompt_tokens);
        for (const auto& l : found->second.letters)
          sums[l.letter] += l.probability / static_cast<double>(members.size());
      }
      if (!everywhere) continue;
      joint.identifier = item.identifier;
      for (const auto& [letter, sum] : sums) joint.letters.push_back({letter, sum, std::log(sum)});
      decide_letters(joint);
      joint.best_prediction = joint.letters_prediction;
      content += prediction_json(joint).dump_spaced() + "\n";
    }
    std::string path = file_path(path_join(out, name), file);
    BM_CHECK_OK(make_directories(path_parent(path)));
    BM_CHECK_OK(write_file_atomic(path, content));
  }
  return {};
}

}  // namespace bm
