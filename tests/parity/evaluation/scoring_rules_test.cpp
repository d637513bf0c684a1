// golden/scoring: BioMistral's rule (transformers' generate) and lm-eval 0.4.13, per item: from its
// log-likelihoods for both models, and end to end with stories260k. Tolerances are the SOURCE's.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/file.h"
#include "evaluation/answers.h"
#include "paths.h"
#include "statistics/summary.h"

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

std::shared_ptr<const Model> stories() {
  auto model = Model::load(testing::source_path("data/demo/stories260k"), {.need_tokenizer = true});
  if (!model.ok()) ADD_FAILURE() << model.error().paragraph();
  return model.ok() ? *model : nullptr;
}

// Answers prompts that stand in a plan of one task and gives their lines back.
std::vector<Json> answer(const Model& model, Plan plan, const AnswerOptions& options) {
  testing::TemporaryFolder folder;
  Task task;
  task.name = "golden";
  for (size_t i = 0; i < plan.prompts.size(); ++i) {
    plan.prompts[i].item = i;
    task.items.emplace_back().identifier = std::to_string(i);
  }
  plan.tasks.push_back(task);
  plan.files.push_back({0, 1, 1, "golden", 0, plan.prompts.size()});
  auto journal = Journal::open(folder.file("partial"), "golden");
  EXPECT_TRUE(journal.ok());
  std::vector<size_t> all(plan.prompts.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  auto report = answer_prompts(model, plan, all, options, *journal, "test");
  std::vector<Json> lines;
  if (!report.ok()) {
    ADD_FAILURE() << report.error().paragraph();
    return lines;
  }
  EXPECT_EQ(report->answered, static_cast<int64_t>(all.size()));
  EXPECT_LE(report->run.computed_tokens, report->run.tokens);
  for (const auto& [key, line] : journal->lines()) lines.push_back(parse_json(line).value());
  return lines;
}

struct RuleCase {
  Json golden;
  std::string prompt;
};

std::vector<RuleCase> rule_cases() {
  std::vector<RuleCase> cases;
  if (testing::have_shared()) {
    auto prompts = read_lines(testing::shared_path("golden/prompts/bioinstructqa_prompts.jsonl"));
    for (auto& row :
         read_lines(testing::shared_path("golden/scoring/biomistral_rule/stories260k_items.jsonl"))) {
      const Json& source = prompts.at(static_cast<size_t>(row["prompt_line"].as_int()));
      std::string kind = row["kind"].as_string();
      const Json& text = kind == "zero_shot"
                             ? source["prompt_no_answer"]
                             : source["prompt_no_answer_fewshot"][static_cast<size_t>(kind.back() - '1')];
      std::string prompt = text.as_string();
      cases.push_back({std::move(row), std::move(prompt)});
    }
  } else {
    for (auto& row :
         read_lines(testing::source_path("tests/parity/evaluation/data/biomistral_rule_stories260k.jsonl"))) {
      std::string prompt = row["prompt"].as_string();
      cases.push_back({std::move(row), std::move(prompt)});
    }
  }
  return cases;
}

TEST(BioMistralRuleGolden, Stories260kEndToEnd) {
  auto model = stories();
  ASSERT_TRUE(model);
  auto cases = rule_cases();
  ASSERT_GE(cases.size(), 20u);
  Plan plan;
  for (const auto& c : cases) {
    PlannedPrompt prompt;
    prompt.text = c.prompt;
    for (const auto& letter : c.golden["classes"].items()) prompt.letters.push_back(letter.as_string());
    prompt.correct_letter = c.golden["correct_letter"].as_string();
    plan.prompts.push_back(std::move(prompt));
  }
  AnswerOptions options;
  options.max_length = 512;
  options.truncate_left = true;
  auto lines = answer(*model, std::move(plan), options);
  ASSERT_EQ(lines.size(), cases.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const Json& wanted = cases[i].golden;
    SCOPED_TRACE(wanted["corpus"].as_string() + " " + wanted["kind"].as_string() + " " + std::to_string(i));
    EXPECT_EQ(lines[i]["prompt_tokens"], wanted["prompt_token_count"]);
    EXPECT_EQ(lines[i]["best_prediction"], wanted["best_prediction"]);
    EXPECT_EQ(lines[i]["letters_prediction"], wanted["letter_restricted_prediction"]);
    ASSERT_EQ(lines[i]["predictions"].size(), wanted["predictions"].size());
    for (const auto& [letter, p] : wanted["predictions"].members()) {
      EXPECT_NEAR(lines[i]["predictions"][letter].as_double(), p.as_double(), 2e-5 * p.as_double()) << letter;
      double logprob = wanted.contains("winning_ids") ? wanted["winning_ids"][letter]["logprob"].as_double()
                                                      : wanted["logprobs"][letter].as_double();
      EXPECT_NEAR(lines[i]["logprobs"][letter].as_double(), logprob, 2e-5) << letter;
    }
    EXPECT_FALSE(lines[i]["tie"].as_bool());
  }
}

TEST(BioMistralRuleGolden, LetterIds) {
  auto model = stories();
  ASSERT_TRUE(model);
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/scoring";
  auto golden =
      read_json_file(testing::shared_path("golden/scoring/biomistral_rule/stories260k_letter_ids.json"))
          .value();
  LetterIds ids(*model->tokenizer(), model->config().vocab, {"A", "B", "C", "D", "E"});
  for (const auto& [letter, wanted] : golden["ids_that_decode_to_letter"].members()) {
    std::vector<int32_t> list;
    for (const auto& id : wanted.items()) list.push_back(static_cast<int32_t>(id.as_int()));
    EXPECT_EQ(ids.of(letter), list) << letter;
  }
}

// One item of an lm_eval/MODEL/NAME.jsonl: its choices, and what it says of them.
struct LmItem {
  std::vector<std::string> continuations, choices;
  std::vector<ChoiceLikelihood> likelihoods;
  int64_t gold = 0;
  std::vector<bool> is_true;
  Json row;
};

LmItem lm_item(const Json& row, const std::vector<Json>& truthful) {
  LmItem item;
  item.row = row;
  std::vector<double> unconditional;
  for (const auto& request : row["requests"].items()) {
    if (request["context"].is_string() && request["context"].as_string().empty()) {
      unconditional.push_back(request["loglikelihood"].as_double());
      continue;
    }
    std::string continuation = request["continuation"].as_string();
    item.continuations.push_back(continuation);
    item.choices.push_back(starts_with(continuation, " ") ? continuation.substr(1) : continuation);
    item.likelihoods.push_back({request["loglikelihood"].as_double(), request["is_greedy"].as_bool(),
                                static_cast<int64_t>(request["continuation_ids"].size()), std::nullopt});
  }
  for (size_t i = 0; i < unconditional.size(); ++i) item.likelihoods[i].unconditional = unconditional[i];
  if (row["target"].is_integer()) {
    item.gold = row["target"].as_int();
  } else {
    for (size_t i = 0; i < item.choices.size(); ++i)
      if (item.choices[i] == row["target"].as_string()) item.gold = static_cast<int64_t>(i);
  }
  if (row["task"].as_string() == "truthfulqa_mc2" && !truthful.empty()) {
    for (const auto& label :
         truthful[static_cast<size_t>(row["doc_id"].as_int())]["mc2_targets"]["labels"].items())
      item.is_true.push_back(label.as_int() == 1);
  }
  return item;
}

void expect_scores(const ChoiceScores& s, const LmItem& item, bool from_own_likelihoods) {
  const Json& row = item.row;
  if (!item.is_true.empty()) {
    ASSERT_TRUE(s.mc2);
    double wanted = row["acc"].as_double();
    EXPECT_NEAR(*s.mc2, wanted, (from_own_likelihoods ? 2e-3 : 1e-9) * wanted + 1e-12);
    return;
  }
  EXPECT_EQ(s.acc, row["acc"].as_double());
  if (row["acc_norm"].is_number()) {
    EXPECT_EQ(s.acc_norm, row["acc_norm"].as_double());
  }
  if (row["acc_bytes"].is_number()) {
    EXPECT_EQ(s.acc_bytes, row["acc_bytes"].as_double());
  }
  if (row["exact_match"].is_number()) {
    EXPECT_EQ(s.exact_match, row["exact_match"].as_double());
  }
  if (row["acc_mutual_info"].is_number()) {
    ASSERT_TRUE(s.acc_mutual_info);
    EXPECT_EQ(*s.acc_mutual_info, row["acc_mutual_info"].as_double());
  }
  if (row["brier_score"].is_array()) {
    double wanted = 0;
    const Json& p = row["brier_score"][1];
    for (size_t i = 0; i < p.size(); ++i) {
      double y = static_cast<int64_t>(i) == row["brier_score"][0].as_int() ? 1 : 0;
      wanted += (p[i].as_double() - y) * (p[i].as_double() - y);
    }
    EXPECT_NEAR(s.brier_score, wanted, from_own_likelihoods ? 2e-4 : 1e-9);
  }
}

const char* const kLmFiles[] = {
    "medqa_4options_0shot", "medqa_4options_3shot",     "medmcqa_2shot",
    "pubmedqa_0shot",       "pubmedqa_2shot",           "medical_group_weighted_5shot",
    "truthfulqa_mc1",       "truthfulqa_mc2",           "medqa_option_text_0shot",
    "chat_medmcqa_2shot",   "chat_multiturn_mmlu_3shot"};

std::vector<Json> truthful_items() {
  return testing::have_shared() ? read_lines(testing::shared_path("golden/scoring/items/truthfulqa.jsonl"))
                                : std::vector<Json>();
}

TEST(LmEvalGolden, ScoresFromGivenLogLikelihoods) {
  auto truthful = truthful_items();
  size_t checked = 0;
  for (const char* model : {"stories260k", "smollm2"}) {
    for (const char* name : kLmFiles) {
      std::string path =
          testing::shared_path(std::string("golden/scoring/lm_eval/") + model + "/" + name + ".jsonl");
      if (!exists(path))
        path = testing::source_path(std::string("tests/parity/evaluation/data/lm_eval_") + model + "_" +
                                    name + ".jsonl");
      if (!exists(path)) continue;
      std::map<std::string, std::vector<double>> acc;
      for (const auto& row : read_lines(path)) {
        LmItem item = lm_item(row, truthful);
        if (row["task"].as_string() == "truthfulqa_mc2" && item.is_true.empty()) continue;
        SCOPED_TRACE(std::string(model) + " " + name + " " + row["doc_id"].dump());
        auto scores = score_choices(item.likelihoods, item.choices, item.gold, item.is_true);
        expect_scores(scores, item, false);
        acc[row["task"].as_string()].push_back(item.is_true.empty() ? scores.acc : *scores.mc2);
        ++checked;
      }
      std::string results =
          testing::shared_path(std::string("golden/scoring/lm_eval/") + model + "/" + name + "_results.json");
      if (!exists(results)) continue;
      Json wanted = read_json_file(results).value();
      std::vector<double> errors, sizes;
      for (const auto& [task, values] : acc) {
        EXPECT_NEAR(mean(values), wanted["results"][task]["acc,none"].as_double(), 1e-9) << task;
        EXPECT_NEAR(standard_error(values), wanted["results"][task]["acc_stderr,none"].as_double(), 1e-9)
            << task;
        errors.push_back(standard_error(values));
        sizes.push_back(static_cast<double>(values.size()));
      }
      if (!wanted["groups"].is_object()) continue;
      for (const auto& [group, figures] : wanted["groups"].members())
        EXPECT_NEAR(group_standard_error(errors, sizes, true), figures["acc_stderr,none"].as_double(), 1e-9)
            << group;
      std::string other = testing::shared_path(std::string("golden/scoring/lm_eval/") + model +
                                               "/medical_group_unweighted_5shot_results.json");
      if (exists(other)) {
        Json unweighted = read_json_file(other).value()["groups"]["medical_group_unweighted"];
        EXPECT_NEAR(group_standard_error(errors, sizes, false), unweighted["acc_stderr,none"].as_double(),
                    1e-9);
      }
    }
  }
  EXPECT_GE(checked, 20u);
}

TEST(LmEvalGolden, Stories260kEndToEnd) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/scoring";
  auto model = stories();
  ASSERT_TRUE(model);
  auto truthful = truthful_items();
  for (const char* name : kLmFiles) {
    std::string path =
        testing::shared_path(std::string("golden/scoring/lm_eval/stories260k/") + name + ".jsonl");
    if (!exists(path)) continue;
    std::vector<LmItem> items;
    Plan plan;
    plan.rule = DecisionRule::lm_eval;
    for (const auto& row : read_lines(path)) {
      items.push_back(lm_item(row, truthful));
      const auto& item = items.back();
      PlannedPrompt prompt;
      prompt.text = row["prompt"].as_string();
      prompt.continuations = item.continuations;
      prompt.choices = item.choices;
      prompt.gold = item.gold;
      prompt.is_true = item.is_true;
      for (size_t i = 0; i < item.choices.size(); ++i) prompt.letters.push_back("L" + std::to_string(i));
      prompt.correct_letter = prompt.letters[static_cast<size_t>(item.gold)];
      plan.prompts.push_back(std::move(prompt));
    }
    AnswerOptions options;
    options.max_length = 512;
    options.truncate_left = true;
    auto lines = answer(*model, std::move(plan), options);
    ASSERT_EQ(lines.size(), items.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      SCOPED_TRACE(std::string(name) + " item " + std::to_string(i));
      auto own = items[i].likelihoods;
      for (size_t c = 0; c < own.size(); ++c) {
        const Json& found = lines[i]["choices"][c];
        const auto& wanted = items[i].likelihoods[c];
        EXPECT_EQ(found["tokens"].as_int(), wanted.tokens);
        EXPECT_EQ(found["greedy"].as_bool(), wanted.greedy);
        double tolerance = 2e-5 + 1e-5 * static_cast<double>(wanted.tokens);
        EXPECT_NEAR(found["logprob"].as_double(), wanted.logprob, tolerance);
        if (wanted.unconditional) {
          EXPECT_NEAR(found["unconditional"].as_double(), *wanted.unconditional, tolerance + 1e-5);
        }
        own[c].logprob = found["logprob"].as_double();
        own[c].unconditional = found["unconditional"].as_double();
      }
      expect_scores(score_choices(own, items[i].choices, items[i].gold, items[i].is_true), items[i], true);
    }
  }
}

TEST(LmEvalGolden, TokensOfContextsAndContinuations) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/golden/scoring";
  auto model = stories();
  ASSERT_TRUE(model);
  for (const char* name : {"medqa_option_text_0shot", "truthfulqa_mc1", "pubmedqa_2shot"}) {
    for (const auto& row : read_lines(
             testing::shared_path(std::string("golden/scoring/lm_eval/stories260k/") + name + ".jsonl"))) {
      for (const auto& request : row["requests"].items()) {
        if (request["context"].is_string()) continue;
        auto pair =
            encode_pair(*model->tokenizer(), row["prompt"].as_string(), request["continuation"].as_string());
        std::vector<int32_t> wanted;
        for (const auto& id : request["continuation_ids"].items())
          wanted.push_back(static_cast<int32_t>(id.as_int()));
        EXPECT_EQ(pair.continuation, wanted);
        EXPECT_EQ(static_cast<int64_t>(pair.context.size()), request["context_token_count"].as_int());
      }
    }
  }
}

}  // namespace
}  // namespace bm
