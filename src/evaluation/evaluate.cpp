#include "evaluation/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "evaluation/results.h"
#include "evaluation/run_model.h"

namespace bm {
namespace {

Status check(const EvaluateOptions& options) {
  if (options.shots && (*options.shots < 0 || *options.shots > 10))
    return bad_input("--shots " + std::to_string(*options.shots) + " is not 0 to 10");
  if (options.draws && (*options.draws < 1 || *options.draws > 1000))
    return bad_input("--draws " + std::to_string(*options.draws) + " is not 1 to 1000");
  if (options.option_orders < 1)
    return bad_input("--option-orders must be 1 or more", "1 asks the given order only");
  if (options.truncate != "none" && options.truncate != "left")
    return bad_input("--truncate \"" + options.truncate + "\"", "use none or left");
  if (options.arithmetic != "auto") {
    auto known = parse_arithmetic(options.arithmetic);
    if (!known.ok()) return std::move(known.error());
  }
  if (options.ensemble.size() == 1)
    return bad_input("an ensemble needs two or more models", "--ensemble A,B");
  return {};
}

DecisionRule rule_of(const EvaluateOptions& options) { return parse_rule(options.rule).value(); }

// metrics.json, results.json, results.md, results.tex and results.csv from the predictions below `folder`.
struct Figures {
  Json metrics, results;
  std::string markdown, latex, csv, text;
  int64_t broken = 0;
  std::vector<std::string> ledger;
  size_t files = 0;
};

Result<Figures> compute_figures(const std::string& folder, const EvaluateOptions& options,
                                const CommonOptions& common) {
  BM_TRY(auto read, read_predictions_folder(folder));
  Figures figures;
  std::vector<FileMetrics> metrics;
  figures.files = read.files.size();
  figures.metrics = all_metrics_json(read.files, metrics);
  auto summary = summarize(read.files, {rule_of(options), options.resamples, common.seed_or(42)});
  figures.results = results_json(summary, read.files, metrics);
  figures.markdown = results_markdown(summary, read.files, metrics);
  figures.latex = results_latex(summary);
  figures.csv = results_csv(summary, metrics);
  figures.text = results_text(summary);
  figures.broken = static_cast<int64_t>(read.broken.size());
  for (const auto& row : read.broken) {
    log_warning(row.file + " → " + row.place + ": " + row.reason);
    figures.ledger.push_back(
        Json::object({{"status", "broken"}, {"file", row.file}, {"place", row.place}, {"reason", row.reason}})
            .dump_spaced());
  }
  return figures;
}

Status write_figures(const Figures& figures, const std::string& out) {
  BM_CHECK_OK(write_file_atomic(path_join(out, "metrics.json"), figures.metrics.dump_pretty() + "\n"));
  BM_CHECK_OK(write_file_atomic(path_join(out, "results.json"), figures.results.dump_pretty() + "\n"));
  BM_CHECK_OK(write_file_atomic(path_join(out, "results.md"), figures.markdown));
  BM_CHECK_OK(write_file_atomic(path_join(out, "results.tex"), figures.latex));
  BM_CHECK_OK(write_file_atomic(path_join(out, "results.csv"), figures.csv));
  std::string ledger;
  for (const auto& line : figures.ledger) ledger += line + "\n";
  return write_file_atomic(path_join(out, "ledger.jsonl"), ledger);
}

Json options_json(const EvaluateOptions& options, bool identity) {
  EvaluateOptions copy = options;
  Fields fields;
  describe(fields, copy);
  return identity ? fields.dump_identity() : fields.dump();
}

void add_provenance(Json& results, const EvaluateOptions& options, double seconds) {
  results.set("versions", Json::object({{"biomistral", program_version()},
                                        {"commit", program_commit()},
                                        {"compiler", program_compiler()}}));
  results.set("git_hash", program_commit());
  results.set("config", options_json(options, false));
  results.set("date", utc_timestamp());
  results.set("cpu", cpu_model());
  results.set("total_evaluation_time_seconds", seconds);
}

StageIdentity identity_of(const EvaluateOptions& options, const CommonOptions& common) {
  StageIdentity identity;
  identity.verb = "evaluate";
  identity.options = options_json(options, true);
  identity.options.set("limit", common.limit);
  identity.seed = static_cast<uint64_t>(options.draw_seed);
  identity.mode = common.mode;
  return identity;
}

Result<EvaluateReport> read_complete(const EvaluateOptions& options) {
  EvaluateReport report;
  report.out = options.out;
  report.already_complete = true;
  BM_TRY(report.metrics, read_json_file(path_join(options.out, "metrics.json")));
  BM_TRY(report.results, read_json_file(path_join(options.out, "results.json")));
  for (const auto& run : report.results["runs"].items())
    report.table += fmt::format("{:<28} {:<28} {:<8} {:>5.1f} ±{:.1f}\n", run["run"].as_string(),
                                run["task"].as_string(), run["language"].as_string(),
                                run["accuracy_points"].as_double(), run["population_sd_points"].as_double());
  BM_TRY(std::string ledger, read_file(path_join(options.out, "ledger.jsonl")));
  report.failed_items = std::count(ledger.begin(), ledger.end(), '\n');
  return report;
}

Result<EvaluateReport> from_predictions(const EvaluateOptions& options, const CommonOptions& common) {
  if (!options.models.empty() || !options.tasks.empty() || !options.items.empty())
    return bad_input("--from-predictions takes no models and no --tasks", "the files say what was asked");
  double start = now_seconds();
  BM_TRY(auto figures, compute_figures(options.from_predictions, options, common));
  EvaluateReport report;
  report.predictions = 0;
  report.failed_items = figures.broken;
  add_provenance(figures.results, options, now_seconds() - start);
  if (!options.out.empty() && !common.dry_run) {
    auto identity = identity_of(options, common);
    BM_TRY(auto input, stage_input("predictions", options.from_predictions));
    identity.inputs.push_back(std::move(input));
    BM_TRY(auto stage, StageFolder::open(options.out, identity, common.overwrite));
    if (stage.state() == StageFolder::State::complete) return read_complete(options);
    BM_CHECK_OK(write_figures(figures, options.out));
    BM_CHECK_OK(stage.finish(
        Json::object({{"files", static_cast<int64_t>(figures.files)}, {"broken_rows", figures.broken}})));
    report.out = options.out;
  }
  report.metrics = std::move(figures.metrics);
  report.results = std::move(figures.results);
  report.table = std::move(figures.text);
  return report;
}

void say_plan(const Plan& plan) {
  for (const auto& task : plan.tasks) {
    std::string published;
    if (task.published_size)
      published = fmt::format("; the file has {} of {} published", task.file_items, task.published_size);
    log_info(fmt::format("{}.{}: {} items{}{}{}", task.name, task.language, task.items.size(), published,
                         task.held_out ? fmt::format(", {} held out for shots", task.held_out) : "",
                         task.leaked_shots ? fmt::format(", {} shots dropped because they are test questions",
                                                         task.leaked_shots)
                                           : ""));
    for (const auto& row : task.broken) log_warning(row.file + " → " + row.place + ": " + row.reason);
  }
  for (const auto& name : plan.unavailable)
    log_warning(name + ": no published files in this language; left out");
}

Result<StageIdentity> run_identity(const Plan& plan, const EvaluateOptions& options,
                                   const CommonOptions& common) {
  auto identity = identity_of(options, common);
  for (const auto& model : options.models) {
    if (!exists(model))
      return bad_input("the model is not there",
                       "give a Hugging Face folder, a .gguf file or an adapter folder")
          .in(model);
    BM_TRY(auto input, stage_input("model", model));
    identity.inputs.push_back(std::move(input));
  }
  std::vector<std::string> files;
  for (const auto& task : plan.tasks) files.insert(files.end(), task.files.begin(), task.files.end());
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  for (const auto& file : files) {
    BM_TRY(auto input, stage_input("data", file));
    identity.inputs.push_back(std::move(input));
  }
  return identity;
}

// Members by name or by path; a path that is no model of the run yet is an error.
Result<std::vector<std::string>> ensemble_members(const EvaluateOptions& options,
                                                  const std::vector<std::string>& names) {
  std::vector<std::string> members;
  for (const auto& wanted : options.ensemble) {
    std::string found;
    for (size_t i = 0; i < names.size(); ++i)
      if (names[i] == wanted || options.models[i] == wanted) found = names[i];
    if (found.empty())
      return bad_input("--ensemble names \"" + wanted + "\", which is none of the models",
                       "evaluate it in the same run");
    members.push_back(found);
  }
  return members;
}

// Members of the ensemble that are given by path and not among the models join them.
EvaluateOptions with_ensemble_models(EvaluateOptions options) {
  for (const auto& wanted : options.ensemble) {
    bool known = std::find(options.names.begin(), options.names.end(), wanted) != options.names.end();
    for (const auto& model : options.models) known = known || model == wanted || path_name(model) == wanted;
    if (known || !exists(wanted)) continue;
    if (!options.names.empty()) options.names.push_back(path_name(wanted));
    options.models.push_back(wanted);
  }
  return options;
}

std::string joined(const std::vector<std::string>& parts, const std::string& between) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : between) + part;
  return text;
}

void say_dry_run(const Plan& plan, const EvaluateOptions& options) {
  uint64_t characters = 0;
  for (const auto& prompt : plan.prompts) characters += prompt.text.size();
  log_info(fmt::format("would ask {} prompts ({} of text) of {} models; predictions take about {} in {}",
                       plan.prompts.size(), format_bytes(characters), options.models.size(),
                       format_bytes(plan.prompts.size() * 400 * std::max<size_t>(1, options.models.size())),
                       options.out));
}

Json tasks_json(const Plan& plan) {
  Json tasks = Json::array();
  for (const auto& task : plan.tasks) tasks.push_back(task_json(task));
  return tasks;
}

// Ensemble, figures and files once every model has answered everything. ledger: lines of failed prompts.
Result<EvaluateReport> finish_run(const Plan& plan, const EvaluateOptions& options,
                                  const CommonOptions& common, const std::vector<std::string>& members,
                                  const std::vector<std::string>& ledger, Json models, double start,
                                  StageFolder& stage) {
  if (ledger.size() == plan.prompts.size() * options.models.size())
    return failed("none of the " + std::to_string(plan.prompts.size()) +
                      " prompts could be scored: " + parse_json(ledger.front()).value()["reason"].as_string(),
                  "ask for fewer --shots, or cut prompts with --truncate left; ledger.jsonl beside each "
                  "model's files names "
                  "every item")
        .in(options.out);
  if (!members.empty()) BM_CHECK_OK(write_ensemble(plan, options.out, members, joined(members, "+")));
  BM_TRY(auto figures, compute_figures(options.out, options, common));
  for (const auto& task : plan.tasks)
    for (const auto& row : task.broken)
      figures.ledger.push_back(Json::object({{"status", "broken"},
                                             {"task", task.name},
                                             {"language", task.language},
                                             {"file", row.file},
                                             {"place", row.place},
                                             {"reason", row.reason}})
                                   .dump_spaced());
  figures.ledger.insert(figures.ledger.end(), ledger.begin(), ledger.end());
  add_provenance(figures.results, options, now_seconds() - start);
  figures.results.set("models", std::move(models));
  figures.results.set("tasks", tasks_json(plan));
  Json unavailable = Json::array();
  for (const auto& name : plan.unavailable) unavailable.push_back(name);
  figures.results.set("unavailable", std::move(unavailable));
  figures.results.set("failed_items", static_cast<int64_t>(figures.ledger.size()));
  BM_CHECK_OK(write_figures(figures, options.out));
  BM_CHECK_OK(stage.finish(Json::object({{"files", static_cast<int64_t>(figures.files)},
                                         {"failed_items", static_cast<int64_t>(figures.ledger.size())}})));
  EvaluateReport report;
  report.out = options.out;
  report.predictions = static_cast<int64_t>(plan.prompts.size() * options.models.size());
  report.failed_items = static_cast<int64_t>(figures.ledger.size());
  report.metrics = std::move(figures.metrics);
  report.results = std::move(figures.results);
  report.table = std::move(figures.text);
  return report;
}

}  // namespace

void describe(Fields& f, EvaluateOptions& o) {
  f.add("tasks", o.tasks, "tasks, groups (biomistral, mmlu_med), .yaml or .jsonl files", {.unit = "names"});
  f.add("items", o.items, "items in BioInstructQA's layout, one JSON object a line",
        {.unit = "files", .result_neutral = true});
  f.add("data", o.data, "folder of the published files", {.unit = "folder", .result_neutral = true});
  f.add("out", o.out, "folder to write", {.unit = "folder", .result_neutral = true});
  f.add("names", o.names, "names of the models in the results, in their order", {.unit = "names"});
  f.add("base", o.base, "base model of adapter folders", {.unit = "model"});
  f.add("languages", o.languages, "languages, e.g. en,ar; default: English, or the task's own",
        {.unit = "codes"});
  f.add("shots", o.shots, "solved questions before the tested one; default 3, or all that items give",
        {.unit = "questions"});
  f.add("draws", o.draws, "times the shots are drawn; default 3 (1 without shots)", {.unit = "draws"});
  f.add("draw-seed", o.draw_seed, "seed of shots, held-out items and option orders");
  f.add("shots-per", o.shots_per, "draw shots for each item, or once for the whole task",
        {.choices = {"item", "task"}});
  f.add("shots-language", o.shots_language, "language of the shots: English as published, or the question's",
        {.choices = {"en", "question"}});
  f.add("shot-pool", o.shot_pool, "items held out to draw shots from where no other split is published",
        {.unit = "items"});
  f.add("rule", o.rule,
        "what decides an answer: the top token of the vocabulary, the likeliest letter, or lm-eval's "
        "log-likelihoods",
        {.choices = {"top1", "letters", "lm-eval"}});
  f.add("arith", o.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
        {.choices = {"auto", "exact", "bf16", "fast"}});
  f.add("ensemble", o.ensemble, "models whose letter probabilities are averaged as one more system",
        {.unit = "names"});
  f.add("option-orders", o.option_orders, "orders of the options to ask, the given one included",
        {.unit = "orders"});
  f.add("system-prompt", o.system_prompt, "text before every prompt (the system message with --chat)");
  f.add("chat", o.chat, "ask through the model's chat template");
  f.add("truncate", o.truncate,
        "prompts longer than the model takes: none = they fail, left = cut from the left",
        {.choices = {"none", "left"}});
  f.add("max-length", o.max_length, "tokens a prompt may have; 0 = the model's positions",
        {.unit = "tokens"});
  f.add("kv-memory", o.kv_memory, "key/value caches; 0 = 2G", {.unit = "size", .result_neutral = true});
  f.add("kv", o.kv, "what key/value caches hold; bf16 halves them and rounds", {.choices = {"f32", "bf16"}});
  f.add("resamples", o.resamples, "bootstrap and permutation resamples", {.unit = "samples"});
  f.add("write-prompts", o.write_prompts, "write all prompts to this file, one JSON object a line",
        {.unit = "file", .result_neutral = true});
  f.add("prompts-only", o.prompts_only, "stop after --write-prompts; no model is needed",
        {.result_neutral = true, .negatable = false});
  f.add("from-predictions", o.from_predictions, "score the predictions in this folder; no model is run",
        {.unit = "folder", .result_neutral = true});
}

Result<EvaluateReport> evaluate(const EvaluateOptions& given, const CommonOptions& common) {
  EvaluateOptions options = with_ensemble_models(given);
  BM_CHECK_OK(check(options));
  BM_TRY([[maybe_unused]] auto rule, parse_rule(options.rule));
  if (!options.from_predictions.empty()) return from_predictions(options, common);
  if (options.prompts_only && options.write_prompts.empty())
    return bad_input("--prompts-only needs --write-prompts FILE");
  if (!options.prompts_only && options.models.empty())
    return bad_input("no model is given", "name one or more before the flags");
  if (!options.prompts_only && options.out.empty())
    return bad_input("--out is missing", "name the folder to write");
  double start = now_seconds();
  BM_TRY(auto plan, make_plan(options, common));
  say_plan(plan);
  EvaluateReport report;
  report.failed_items = plan.broken_rows();
  if (!options.write_prompts.empty() && !common.dry_run)
    BM_CHECK_OK(write_prompts(plan, options.write_prompts));
  if (options.prompts_only) return report;
  BM_TRY(auto names, model_names(options));
  BM_TRY(auto members, ensemble_members(options, names));
  BM_TRY(auto identity, run_identity(plan, options, common));
  if (common.dry_run) {
    say_dry_run(plan, options);
    return report;
  }
  BM_TRY(auto stage, StageFolder::open(options.out, identity, common.overwrite));
  if (stage.state() == StageFolder::State::complete) return read_complete(options);
  Json models = Json::array();
  std::vector<std::string> ledger;
  bool complete = true;
  for (size_t m = 0; m < options.models.size(); ++m) {
    auto run = run_model(plan, options, common, options.models[m], names[m]);
    if (!run.ok()) return std::move(run.error()).in(options.models[m]);
    complete = complete && run->complete;
    ledger.insert(ledger.end(), run->ledger.begin(), run->ledger.end());
    models.push_back(std::move(run->info));
  }
  report.out = options.out;
  if (!complete) {
    log_info("this shard is done; the results are written by the shard that finishes last");
    return report;
  }
  return finish_run(plan, options, common, members, ledger, std::move(models), start, stage);
}

}  // namespace bm
