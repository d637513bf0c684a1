#include "evaluation/plan.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "base/threads.h"

namespace bm {
namespace {

Result<std::vector<Task>> load_tasks(const EvaluateOptions& options, const CommonOptions& common,
                                     std::vector<std::string>& unavailable) {
  TaskLoadOptions load;
  load.data = options.data;
  load.seed = static_cast<uint64_t>(options.draw_seed);
  load.held_out = options.shot_pool;
  load.need_pool = options.shots.value_or(3) > 0;
  load.shots_in_language = options.shots_language == "question";
  load.limit = common.limit;
  std::vector<Task> tasks;
  std::vector<std::string> item_files = options.items;
  BM_TRY(auto names, expand_task_names(options.tasks));
  for (const auto& name : names) {
    if (ends_with(name, ".jsonl") || ends_with(name, ".json")) {
      item_files.push_back(name);
    } else if (ends_with(name, ".yaml") || ends_with(name, ".yml")) {
      BM_TRY(auto task, load_task_file(name, load));
      tasks.push_back(std::move(task));
    } else {
      auto exist = task_languages(name);
      auto wanted = options.languages;
      if (wanted.empty())
        wanted = {std::find(exist.begin(), exist.end(), "en") != exist.end() ? "en" : exist.front()};
      for (const auto& language : wanted) {
        std::string code = language_code(language);
        if (std::find(exist.begin(), exist.end(), code) == exist.end()) {
          unavailable.push_back(name + "." + code);
          continue;
        }
        BM_TRY(auto task, load_task(name, code, load));
        tasks.push_back(std::move(task));
      }
    }
  }
  if (!item_files.empty()) {
    BM_TRY(auto own, load_items_tasks(item_files, load));
    std::vector<std::string> codes;
    for (const auto& language : options.languages) codes.push_back(language_code(language));
    for (auto& task : own) {
      if (codes.empty() || std::find(codes.begin(), codes.end(), task.language) != codes.end())
        tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

struct DrawCounts {
  int64_t draws = 1, shots = 3;
};

Result<DrawCounts> draw_counts(const EvaluateOptions& options, DecisionRule rule, const Task& task) {
  DrawCounts counts;
  counts.shots = options.shots.value_or(3);
  if (task.gives_shots && counts.shots > 0) {
    int64_t given = static_cast<int64_t>(task.items[0].few_shot_samples.size());
    counts.draws = options.draws.value_or(given);
    for (const auto& item : task.items) {
      int64_t has = static_cast<int64_t>(item.few_shot_samples.size());
      if (has < counts.draws)
        return bad_input("item " + item.identifier + " of " + task.name + " has few_shot_samples of " +
                             std::to_string(has) + " draws, " + std::to_string(counts.draws) + " are asked",
                         "lower --draws");
    }
    return counts;
  }
  counts.draws = options.draws.value_or(counts.shots == 0 || rule == DecisionRule::lm_eval ? 1 : 3);
  return counts;
}

// The j-th order of an item's options (j ≥ 2): a permutation other than the given one, by seed.
std::vector<uint64_t> option_order(const Item& item, int64_t order, uint64_t seed, const std::string& task) {
  size_t n = item.options.size();
  uint64_t purpose = hash64("option order\n" + task + "\n" + item.identifier + "\n" + std::to_string(order));
  auto permutation = counter_permutation(n, seed, purpose);
  if (std::is_sorted(permutation.begin(), permutation.end()) && n > 1)
    std::swap(permutation[0], permutation[1]);
  return permutation;
}

// Letters stay in place, texts move under them.
Item reordered(const Item& item, const std::vector<uint64_t>& order, std::string& given_letters) {
  Item shown = item;
  given_letters.clear();
  for (size_t i = 0; i < order.size(); ++i) {
    const Option& from = item.options[order[i]];
    shown.options[i].text = from.text;
    given_letters += from.letter;
    if (from.letter == item.correct_letter) shown.correct_letter = item.options[i].letter;
  }
  return shown;
}

class TaskPlanner {
 public:
  TaskPlanner(const EvaluateOptions& options, DecisionRule rule, const Task& task, size_t index,
              DrawCounts counts)
      : options_(options), rule_(rule), task_(task), index_(index), counts_(counts) {}

  // Appends the prompts of one draw and order.
  Status add_file(Plan& plan, int64_t draw, int64_t order) {
    PlannedFile file{index_, draw, order, {}, plan.prompts.size(), task_.items.size()};
    file.name = order == 1 ? task_.name + "." + task_.language + ".draw" + std::to_string(draw)
                           : "option_orders/" + task_.name + "." + task_.language + ".order" +
                                 std::to_string(order) + ".draw" + std::to_string(draw);
    PythonRandom sampler(1234 + static_cast<uint64_t>(draw) -
                         1);  // lm-eval: one generator runs through the items
    for (size_t i = 0; i < task_.items.size(); ++i) {
      auto prompt = rule_ == DecisionRule::lm_eval ? lm_eval(i, draw, sampler) : biomistral(i, draw, order);
      if (!prompt.ok()) return std::move(prompt.error());
      prompt->task = index_;
      prompt->item = i;
      prompt->draw = draw;
      prompt->order = order;
      plan.prompts.push_back(std::move(*prompt));
    }
    plan.files.push_back(std::move(file));
    return {};
  }

 private:
  Result<PlannedPrompt> biomistral(size_t index, int64_t draw, int64_t order) {
    const Item& item = task_.items[index];
    PlannedPrompt prompt;
    std::vector<Question> shots;
    if (counts_.shots > 0 && task_.gives_shots) {
      shots = item.few_shot_samples[static_cast<size_t>(draw - 1)];
      if (options_.shots && static_cast<int64_t>(shots.size()) > *options_.shots)
        shots.resize(static_cast<size_t>(*options_.shots));
    } else if (counts_.shots > 0) {
      ShotPlan plan{counts_.shots, counts_.draws, static_cast<uint64_t>(options_.draw_seed),
                    options_.shots_per == "task" ? ShotScope::task : ShotScope::item};
      BM_TRY(auto chosen, draw_shots(plan, task_.name, item, draw, task_.shot_pool));
      for (size_t s : chosen) shots.push_back(task_.shot_pool[s]);
    }
    Item shown = item;
    if (order > 1) {
      auto permutation = option_order(item, order, static_cast<uint64_t>(options_.draw_seed), task_.name);
      shown = reordered(item, permutation, prompt.order_letters);
    }
    prompt.text = biomistral_prompt(shown, shots, false, task_.instruction);
    prompt.correct_letter = shown.correct_letter;
    for (const auto& option : shown.options) prompt.letters.push_back(option.letter);
    return prompt;
  }

  Result<PlannedPrompt> lm_eval(size_t index, int64_t draw, PythonRandom& sampler) {
    const Item& item = task_.items[index];
    std::vector<Item> shots;
    size_t wanted = static_cast<size_t>(counts_.shots);
    LmEvalStyle style = task_.lm_eval.value_or(LmEvalStyle::medqa);
    bool truthful = style == LmEvalStyle::truthfulqa_mc1 || style == LmEvalStyle::truthfulqa_mc2;
    if (truthful) wanted = 0;  // its six questions are part of the task
    if (wanted && task_.gives_shots) {
      for (const auto& question : item.few_shot_samples[static_cast<size_t>(draw - 1)]) {
        if (options_.shots && static_cast<int64_t>(shots.size()) == *options_.shots) break;
        static_cast<Question&>(shots.emplace_back()) = question;
      }
      wanted = 0;
    }
    if (wanted > task_.shot_pool.size())
      return bad_input(
          task_.name + " has " + std::to_string(task_.shot_pool.size()) + " questions to draw shots from",
          "ask for fewer with --shots");
    if (wanted && task_.lm_eval_first_shots) {
      shots.assign(task_.shot_pool.begin(), task_.shot_pool.begin() + static_cast<ptrdiff_t>(wanted));
    } else if (wanted) {
      for (uint64_t s : sampler.sample(task_.shot_pool.size(), wanted)) shots.push_back(task_.shot_pool[s]);
    }
    auto scored = lm_eval_prompt(style, item, shots, task_.lm_eval_description);
    PlannedPrompt prompt;
    prompt.text = std::move(scored.context);
    prompt.continuations = std::move(scored.continuations);
    prompt.choices = std::move(scored.choices);
    prompt.gold = scored.gold;
    prompt.is_true = std::move(scored.is_true);
    for (size_t i = 0; i < prompt.choices.size(); ++i) {
      std::string letter = i < item.options.size() && !truthful
                               ? item.options[i].letter
                               : std::string(1, static_cast<char>('A' + i % 26));
      if (i >= 26) letter += std::to_string(i / 26);
      prompt.letters.push_back(std::move(letter));
    }
    prompt.correct_letter = prompt.gold >= 0 && static_cast<size_t>(prompt.gold) < prompt.letters.size()
                                ? prompt.letters[static_cast<size_t>(prompt.gold)]
                                : "";
    return prompt;
  }

  const EvaluateOptions& options_;
  DecisionRule rule_;
  const Task& task_;
  size_t index_;
  DrawCounts counts_;
};

Status check_names(const std::vector<Task>& tasks) {
  std::map<std::string, size_t> seen;
  for (const auto& task : tasks) {
    if (++seen[task.name + "." + task.language] > 1)
      return bad_input("two tasks are both called " + task.name + " in language " + task.language,
                       "give one of them another name (`task:` in its YAML file, `corpus` in its items)");
  }
  return {};
}

// TruthfulQA has two lm-eval forms: mc1 and mc2.
void split_truthfulqa(std::vector<Task>& tasks) {
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].lm_eval != LmEvalStyle::truthfulqa_mc1) continue;
    Task second = tasks[i];
    tasks[i].name += "_mc1";
    second.name += "_mc2";
    second.lm_eval = LmEvalStyle::truthfulqa_mc2;
    tasks.insert(tasks.begin() + static_cast<ptrdiff_t>(i) + 1, std::move(second));
    ++i;
  }
}

}  // namespace

Result<DecisionRule> parse_rule(std::string_view text) {
  if (text == "top1") return DecisionRule::top1;
  if (text == "letters") return DecisionRule::letters;
  if (text == "lm-eval" || text == "lm_eval") return DecisionRule::lm_eval;
  return bad_input("there is no rule \"" + std::string(text) + "\"", "use top1, letters or lm-eval");
}

int64_t Plan::broken_rows() const {
  int64_t count = 0;
  for (const auto& task : tasks) count += static_cast<int64_t>(task.broken.size());
  return count;
}

Result<Plan> make_plan(const EvaluateOptions& options, const CommonOptions& common) {
  Plan plan;
  BM_TRY(plan.rule, parse_rule(options.rule));
  BM_CHECK_OK([&]() -> Status {
    BM_TRY([[maybe_unused]] auto scope, parse_shot_scope(options.shots_per));
    return {};
  }());
  if (options.tasks.empty() && options.items.empty())
    return bad_input("no tasks are given",
                     "name them with --tasks (e.g. biomistral), or give --items FILE.jsonl");
  BM_TRY(plan.tasks, load_tasks(options, common, plan.unavailable));
  if (plan.tasks.empty())
    return bad_input("none of the tasks exists in the languages asked",
                     "see docs/data.md for what each language has");
  if (plan.rule == DecisionRule::lm_eval) split_truthfulqa(plan.tasks);
  BM_CHECK_OK(check_names(plan.tasks));
  int64_t orders = plan.rule == DecisionRule::lm_eval ? 1 : std::max<int64_t>(1, options.option_orders);
  for (size_t t = 0; t < plan.tasks.size(); ++t) {
    BM_TRY(auto counts, draw_counts(options, plan.rule, plan.tasks[t]));
    TaskPlanner planner(options, plan.rule, plan.tasks[t], t, counts);
    for (int64_t order = 1; order <= orders; ++order)
      for (int64_t draw = 1; draw <= counts.draws; ++draw) BM_CHECK_OK(planner.add_file(plan, draw, order));
  }
  return plan;
}

Status write_prompts(const Plan& plan, const std::string& path) {
  BM_TRY(auto file, AtomicFile::create(path));
  for (size_t t = 0; t < plan.tasks.size(); ++t) {
    for (size_t i = 0; i < plan.tasks[t].items.size(); ++i) {
      for (const auto& planned : plan.files) {
        if (planned.task != t) continue;
        const auto& prompt = plan.prompts[planned.first + i];
        Json line = Json::object({{"identifier", plan.tasks[t].items[i].identifier},
                                  {"draw", prompt.draw},
                                  {"prompt", prompt.text}});
        if (prompt.order > 1) line.set("order", prompt.order);
        if (plan.tasks.size() > 1) {
          line.set("task", plan.tasks[t].name);
          line.set("language", plan.tasks[t].language);
        }
        BM_CHECK_OK(file.append(line.dump_spaced() + "\n"));
      }
    }
  }
  return file.commit();
}

}  // namespace bm
