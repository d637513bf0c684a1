// golden/prompts: every prompt of the original's getPrompt comes out byte for byte (111 items in five
// forms with ../shared, a cut of them without); and golden/scoring: every context lm-eval built.
#include "tasks/prompts.h"

#include <gtest/gtest.h>

#include <map>

#include "base/file.h"
#include "base/random.h"
#include "paths.h"
#include "tasks/importers.h"

namespace bm {
namespace {

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> rows;
  auto text = read_file(path);
  if (!text.ok())
    ADD_FAILURE() << text.error().paragraph();
  else
    for (const auto& line : split(*text, '\n'))
      if (!trim(line).empty()) rows.push_back(parse_json(line).value());
  return rows;
}

Question question_of(const Json& json) {
  Question q;
  if (json["context"].is_string()) q.context = json["context"].as_string();
  q.question = json["question"].as_string();
  for (const auto& [letter, text] : json["options"].members())
    q.options.push_back({letter, text.as_string()});
  q.correct_letter = json["correct_answer_letter"].as_string();
  return q;
}

TEST(PromptsGolden, BioMistral) {
  std::string path = testing::shared_path("golden/prompts/bioinstructqa_prompts.jsonl");
  if (!exists(path)) path = testing::source_path("tests/parity/tasks/data/bioinstructqa_prompts.jsonl");
  auto rows = read_lines(path);
  ASSERT_GE(rows.size(), 20u);
  for (const auto& row : rows) {
    Question item = question_of(row["item"]);
    EXPECT_EQ(biomistral_prompt(item, {}, true), row["prompt"].as_string());
    EXPECT_EQ(biomistral_prompt(item, {}, false), row["prompt_no_answer"].as_string());
    const auto& draws = row["few_shot_samples"].items();
    ASSERT_EQ(draws.size(), 3u);
    for (size_t d = 0; d < draws.size(); ++d) {
      std::vector<Question> shots;
      for (const auto& shot : draws[d].items()) shots.push_back(question_of(shot));
      EXPECT_EQ(biomistral_prompt(item, shots), row["prompt_no_answer_fewshot"][d].as_string());
    }
  }
}

// The items files of golden/scoring hold lm-eval's preprocessed fields.
Item lm_item(LmEvalStyle style, const Json& row) {
  Item item;
  auto letter = [](size_t i) { return std::string(1, static_cast<char>('A' + i)); };
  switch (style) {
    case LmEvalStyle::medqa:
      item.question = row["sent1"].as_string();
      for (size_t i = 0; i < 4; ++i)
        item.options.push_back({letter(i), row["ending" + std::to_string(i)].as_string()});
      item.correct_letter = letter(static_cast<size_t>(row["label"].as_int()));
      break;
    case LmEvalStyle::medmcqa:
      item.question = row["question"].as_string();
      for (size_t i = 0; i < 4; ++i)
        item.options.push_back({letter(i), row[std::string("op") + static_cast<char>('a' + i)].as_string()});
      item.correct_letter = letter(static_cast<size_t>(row["cop"].as_int()));
      break;
    case LmEvalStyle::mmlu:
      item.question = row["question"].as_string();
      for (size_t i = 0; i < 4; ++i) item.options.push_back({letter(i), row["choices"][i].as_string()});
      item.correct_letter = letter(static_cast<size_t>(row["answer"].as_int()));
      break;
    case LmEvalStyle::pubmedqa:
      item.question = row["QUESTION"].as_string();
      for (const auto& part : row["CONTEXTS"].items()) item.context_parts.push_back(part.as_string());
      item.options = {{"A", "yes"}, {"B", "no"}, {"C", "maybe"}};
      for (const auto& option : item.options)
        if (option.text == row["final_decision"].as_string()) item.correct_letter = option.letter;
      break;
    default: {
      item.question = row["question"].as_string();
      const Json& targets = row[style == LmEvalStyle::truthfulqa_mc1 ? "mc1_targets" : "mc2_targets"];
      for (size_t i = 0; i < targets["choices"].size(); ++i)
        (targets["labels"][i].as_int() ? item.true_answers : item.false_answers)
            .push_back(targets["choices"][i].as_string());
      break;
    }
  }
  return item;
}

struct LmTask {
  const char* golden;  // lm_eval/MODEL/NAME.jsonl
  const char* task;    // its "task" field
  LmEvalStyle style;
  const char* items;
  const char* shots;  // "" = from the scored file
  size_t count;
};

void check_lm_eval(const LmTask& task, const std::string& model) {
  SCOPED_TRACE(model + " " + task.golden + " " + task.task);
  std::string root = testing::shared_path("golden/scoring/");
  std::string path = root + "lm_eval/" + model + "/" + task.golden + ".jsonl";
  if (!exists(path)) return;
  auto load = [&](const std::string& name) {
    std::vector<Item> items;
    for (const auto& row : read_lines(root + "items/" + name + ".jsonl"))
      items.push_back(lm_item(task.style, row));
    return items;
  };
  auto items = load(task.items);
  auto pool = *task.shots ? load(task.shots) : items;
  std::string description =
      task.style == LmEvalStyle::mmlu ? mmlu_description(std::string(task.items).substr(5)) : "";
  PythonRandom sampler(1234);
  size_t checked = 0;
  for (const auto& row : read_lines(path)) {
    if (row["task"].as_string() != task.task) continue;
    size_t index = static_cast<size_t>(row["doc_id"].as_int());
    ASSERT_EQ(index, checked) << "the sampler runs through the items in order";
    std::vector<Item> shots;
    if (task.style == LmEvalStyle::mmlu) {
      shots.assign(pool.begin(), pool.begin() + static_cast<ptrdiff_t>(task.count));
    } else if (task.count) {
      bool same_split = !*task.shots;
      for (uint64_t i : sampler.sample(pool.size(), task.count + (same_split ? 1 : 0)))
        if ((!same_split || i != index) && shots.size() < task.count) shots.push_back(pool[i]);
    }
    auto prompt = lm_eval_prompt(task.style, items[index], shots, description);
    EXPECT_EQ(prompt.context, row["prompt"].as_string());
    EXPECT_EQ(prompt.gold, row["target"].is_integer() ? row["target"].as_int() : prompt.gold);
    const auto& requests = row["requests"].items();
    ASSERT_EQ(prompt.continuations.size(), requests.size());
    for (size_t i = 0; i < requests.size(); ++i)
      EXPECT_EQ(prompt.continuations[i], requests[i]["continuation"].as_string());
    ++checked;
  }
  EXPECT_GT(checked, 0u);
}

TEST(PromptsGolden, LmEvalContextsAndSampler) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/scoring";
  const LmTask tasks[] = {
      {"medqa_4options_0shot", "medqa_4options", LmEvalStyle::medqa, "medqa_4options", "", 0},
      {"medqa_4options_3shot", "medqa_4options", LmEvalStyle::medqa, "medqa_4options",
       "medqa_4options_fewshot", 3},
      {"medmcqa_2shot", "medmcqa", LmEvalStyle::medmcqa, "medmcqa", "", 2},
      {"pubmedqa_0shot", "pubmedqa", LmEvalStyle::pubmedqa, "pubmedqa", "", 0},
      {"pubmedqa_2shot", "pubmedqa", LmEvalStyle::pubmedqa, "pubmedqa", "pubmedqa_fewshot", 2},
      {"medical_group_weighted_5shot", "mmlu_anatomy", LmEvalStyle::mmlu, "mmlu_anatomy",
       "mmlu_anatomy_fewshot", 5},
      {"medical_group_weighted_5shot", "mmlu_medical_genetics", LmEvalStyle::mmlu, "mmlu_medical_genetics",
       "mmlu_medical_genetics_fewshot", 5},
      {"truthfulqa_mc1", "truthfulqa_mc1", LmEvalStyle::truthfulqa_mc1, "truthfulqa", "", 0},
      {"truthfulqa_mc2", "truthfulqa_mc2", LmEvalStyle::truthfulqa_mc2, "truthfulqa", "", 0},
  };
  for (const auto& task : tasks)
    for (const char* model : {"stories260k", "smollm2"}) check_lm_eval(task, model);
}

}  // namespace
}  // namespace bm
