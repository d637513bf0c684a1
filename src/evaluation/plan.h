// What will be asked: tasks × draws × option orders × items, as prompt texts in a fixed order. A pure
// function of the options and the data files, so a resumed run and any shard see the same plan.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/stage.h"
#include "evaluation/evaluate.h"
#include "tasks/catalog.h"

namespace bm {

enum class DecisionRule { top1, letters, lm_eval };
Result<DecisionRule> parse_rule(std::string_view text);

struct PlannedPrompt {
  size_t task = 0, item = 0;  // indices into Plan::tasks and its items
  int64_t draw = 1, order = 1;
  std::string text;                  // the whole prompt; lm-eval: the context of all choices
  std::vector<std::string> letters;  // as shown
  std::string correct_letter;        // as shown
  std::string order_letters;         // given letter of each shown option, "BADC"; "" for the given order
  // lm-eval: what is scored after the context.
  std::vector<std::string> continuations, choices;
  int64_t gold = 0;
  std::vector<bool> is_true;
};

// One predictions file a model: prompts [first, first + count).
struct PlannedFile {
  size_t task = 0;
  int64_t draw = 1, order = 1;
  std::string name;  // "medqa.en.draw1", "option_orders/medqa.en.order2.draw1"
  size_t first = 0, count = 0;
};

struct Plan {
  DecisionRule rule = DecisionRule::top1;
  std::vector<Task> tasks;
  std::vector<PlannedFile> files;
  std::vector<PlannedPrompt> prompts;    // file by file, items in order
  std::vector<std::string> unavailable;  // task and language pairs that have no files
  int64_t broken_rows() const;
};

Result<Plan> make_plan(const EvaluateOptions& options, const CommonOptions& common);

// {"identifier", "draw", "prompt"} a line, items in order, draws within an item.
Status write_prompts(const Plan& plan, const std::string& path);

}  // namespace bm
