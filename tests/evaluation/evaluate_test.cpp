// evaluate end to end on the bundled model and questions: files, resuming, shards, rules, bad input.
#include "evaluation/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "evaluation/journal.h"
#include "evaluation/plan.h"
#include "evaluation/run_model.h"
#include "paths.h"

namespace bm {
namespace {

using testing::TemporaryFolder;

const std::string kModel = testing::source_path("data/demo/stories260k");
const std::string kData = testing::source_path("data/demo/questions");

EvaluateOptions demo_options(const std::string& out) {
  EvaluateOptions options;
  options.models = {kModel};
  options.data = kData;
  options.out = out;
  options.tasks = {"mmlu_anatomy", "pubmedqa"};
  options.shots = 0;
  options.draws = 2;
  options.truncate = "left";
  options.resamples = 200;
  return options;
}

CommonOptions limited(int64_t limit) {
  CommonOptions common;
  common.limit = limit;
  return common;
}

EvaluateReport expect_ok(Result<EvaluateReport> report) {
  if (!report.ok()) ADD_FAILURE() << report.error().paragraph();
  return report.ok() ? std::move(*report) : EvaluateReport();
}

std::string read(const std::string& path) {
  auto text = read_file(path);
  EXPECT_TRUE(text.ok()) << path;
  return text.ok() ? *text : "";
}

TEST(Evaluate, WritesEveryFileWithTheContractsKeys) {
  TemporaryFolder folder;
  std::string out = folder.file("out");
  auto report = expect_ok(evaluate(demo_options(out), limited(6)));
  EXPECT_EQ(report.failed_items, 0);
  for (const char* name :
       {"metrics.json", "results.json", "results.md", "results.tex", "results.csv", "manifest.json",
        "ledger.jsonl", "stories260k/mmlu_anatomy.en.draw1.jsonl", "stories260k/pubmedqa.en.draw2.jsonl"})
    EXPECT_TRUE(exists(path_join(out, name))) << name;
  EXPECT_FALSE(exists(path_join(out, "stories260k/partial")));
  auto table = split(read(path_join(out, "results.csv")), '\n');
  ASSERT_EQ(table.size(), 4u) << "a header, a row a task, the end";
  EXPECT_EQ(table[1].find("stories260k,mmlu_anatomy,en,6,2,"), 0u) << table[1];
  EXPECT_EQ(std::count(table[0].begin(), table[0].end(), ','),
            std::count(table[1].begin(), table[1].end(), ','));
  auto lines = split(read(path_join(out, "stories260k/pubmedqa.en.draw1.jsonl")), '\n');
  ASSERT_EQ(lines.size(), 7u);
  Json line = parse_json(lines[0]).value();
  for (const char* key : {"identifier", "correct_letter", "best_prediction", "predictions",
                          "letters_prediction", "logprobs", "prompt_tokens", "tie"})
    EXPECT_TRUE(line.contains(key)) << key;
  EXPECT_EQ(line["predictions"].size(), 3u);
  Json metrics = read_json_file(path_join(out, "metrics.json")).value();
  ASSERT_EQ(metrics.size(), 4u);
  std::vector<std::string> keys, calibration;
  for (const auto& [key, value] : metrics["stories260k/mmlu_anatomy.en.draw1"].members()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"n", "accuracy", "accuracy_letters", "ties", "accuracy_wilson_95",
                                            "raw", "renormalized"}));
  for (const auto& [key, value] : metrics["stories260k/mmlu_anatomy.en.draw1"]["raw"].members())
    calibration.push_back(key);
  EXPECT_EQ(calibration, (std::vector<std::string>{"mean_confidence", "ece_5", "ece_10", "ece_15", "mce_5",
                                                   "mce_10", "mce_15", "ece_10_equal_mass", "brier",
                                                   "brier_top_label", "nll", "reliability_10"}));
  Json results = read_json_file(path_join(out, "results.json")).value();
  EXPECT_TRUE(results["results"]["mmlu_anatomy"].contains("acc,none"));
  EXPECT_EQ(results["runs"].size(), 2u);
  EXPECT_EQ(results["models"][0]["name"].as_string(), "stories260k");
  EXPECT_LT(results["models"][0]["computed_tokens"].as_int(), results["models"][0]["prompt_tokens"].as_int());
  // Two draws without shots are the same prompts: the same answers.
  EXPECT_EQ(read(path_join(out, "stories260k/pubmedqa.en.draw1.jsonl")),
            read(path_join(out, "stories260k/pubmedqa.en.draw2.jsonl")));
}

TEST(Evaluate, SecondRunIsCompleteAndOtherOptionsAreRefused) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("out"));
  options.tasks = {"mmlu_anatomy"};
  auto first = expect_ok(evaluate(options, limited(3)));
  auto second = expect_ok(evaluate(options, limited(3)));
  EXPECT_TRUE(second.already_complete);
  EXPECT_EQ(second.metrics, first.metrics);
  options.shots = 1;
  auto other = evaluate(options, limited(3));
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code(), Code::bad_input);
  EXPECT_NE(other.error().paragraph().find("shots"), std::string::npos);
}

// The predictions of one run, all files.
std::string all_predictions(const std::string& out) {
  std::string text;
  auto files = list_files(out);
  if (files.ok()) {
    for (const auto& path : *files)
      if (path.find(".draw") != std::string::npos) text += path_name(path) + "\n" + read(path);
  }
  return text;
}

TEST(Evaluate, SameFilesForAnyThreadsBatchesAndShards) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("one"));
  options.shots = 1;
  options.draws = 2;
  int before = thread_count();
  set_thread_count(1);
  expect_ok(evaluate(options, limited(8)));
  set_thread_count(3);
  options.out = folder.file("three");
  options.kv_memory.bytes = 2 << 20;  // few prompts at a time
  expect_ok(evaluate(options, limited(8)));
  set_thread_count(before);
  EXPECT_EQ(all_predictions(folder.file("one")), all_predictions(folder.file("three")));
  options.out = folder.file("shards");
  for (const char* shard : {"2/3", "1/3", "3/3"}) {
    CommonOptions common = limited(8);
    common.shard = shard;
    expect_ok(evaluate(options, common));
  }
  EXPECT_EQ(all_predictions(folder.file("one")), all_predictions(folder.file("shards")));
  EXPECT_EQ(read(path_join(folder.file("one"), "metrics.json")),
            read(path_join(folder.file("shards"), "metrics.json")));
}

TEST(Evaluate, ResumesFromATornJournalToTheSameFiles) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("whole"));
  expect_ok(evaluate(options, limited(5)));
  // A run that was killed: the stage is open, the journal has a header, some lines and a torn one.
  std::string cut = folder.file("cut");
  options.out = cut;
  CommonOptions first_shard = limited(5);
  first_shard.shard = "1/2";
  expect_ok(evaluate(options, first_shard));
  std::string partial = path_join(cut, "stories260k/partial.shard-1-of-2");
  ASSERT_TRUE(exists(partial));
  std::string text = read(partial);
  size_t lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  ASSERT_GT(lines, 3u);
  std::ofstream(path_join(cut, "stories260k/partial"), std::ios::binary) << text.substr(0, text.size() - 30);
  ASSERT_TRUE(remove_all(partial).ok());
  auto report = expect_ok(evaluate(options, limited(5)));
  EXPECT_FALSE(report.already_complete);
  EXPECT_EQ(all_predictions(cut), all_predictions(folder.file("whole")));
}

TEST(Evaluate, TooLongPromptsAreNamedAndCounted) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("out"));
  options.truncate = "none";
  options.tasks = {"pubmedqa"};
  options.draws = 1;
  auto report = expect_ok(evaluate(options, limited(5)));
  EXPECT_GT(report.failed_items, 0);
  auto ledger = split(read(path_join(options.out, "ledger.jsonl")), '\n');
  Json line = parse_json(ledger[0]).value();
  EXPECT_EQ(line["status"].as_string(), "failed");
  EXPECT_NE(line["reason"].as_string().find("512"), std::string::npos);
  EXPECT_FALSE(line["identifier"].as_string().empty());
}

TEST(Evaluate, FromPredictionsGivesTheSameMetrics) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("out"));
  auto report = expect_ok(evaluate(options, limited(5)));
  EvaluateOptions again;
  again.from_predictions = folder.file("out");
  again.resamples = options.resamples;
  auto same = expect_ok(evaluate(again, {}));
  EXPECT_EQ(same.metrics, report.metrics);
  EXPECT_EQ(same.results["runs"], report.results["runs"]);
}

TEST(Evaluate, LmEvalRuleEnsembleAndOptionOrders) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("lm"));
  options.rule = "lm-eval";
  options.draws.reset();
  options.shots = 1;
  options.tasks = {"mmlu_anatomy", "pubmedqa", "truthfulqa"};
  auto report = expect_ok(evaluate(options, limited(3)));
  EXPECT_TRUE(report.results["results"]["pubmedqa"].contains("acc_norm,none"));
  EXPECT_TRUE(report.results["results"]["truthfulqa_mc2"].contains("mc2,none"));
  options = demo_options(folder.file("orders"));
  options.models = {kModel, kModel};
  options.names = {"a", "b"};
  options.ensemble = {"a", "b"};
  options.option_orders = 3;
  options.draws = 1;
  options.tasks = {"mmlu_anatomy"};
  report = expect_ok(evaluate(options, limited(4)));
  EXPECT_EQ(report.results["option_orders"].size(), 3u);
  EXPECT_EQ(report.results["option_orders"][0]["orders"].as_int(), 3);
  EXPECT_TRUE(exists(path_join(options.out, "a/option_orders/mmlu_anatomy.en.order3.draw1.jsonl")));
  // The mean of two equal systems: the same probabilities, and no difference between them.
  const Json &one = report.metrics["a/mmlu_anatomy.en.draw1"],
             &both = report.metrics["a+b/mmlu_anatomy.en.draw1"];
  EXPECT_NEAR(one["raw"]["nll"].as_double(), both["raw"]["nll"].as_double(), 1e-12);
  EXPECT_EQ(one["accuracy_letters"], both["accuracy"]);
  ASSERT_EQ(report.results["pairwise"].size(), 3u);
  EXPECT_EQ(report.results["pairwise"][0]["difference"].as_double(), 0);
}

TEST(Evaluate, BadInputWritesNothing) {
  TemporaryFolder folder;
  auto check = [&](auto change, const std::string& word) {
    auto options = demo_options(folder.file("out"));
    change(options);
    auto report = evaluate(options, limited(2));
    ASSERT_FALSE(report.ok()) << word;
    EXPECT_EQ(report.error().code(), Code::bad_input) << report.error().paragraph();
    EXPECT_NE(report.error().paragraph().find(word), std::string::npos) << report.error().paragraph();
    EXPECT_FALSE(exists(folder.file("out"))) << word;
  };
  check([](auto& o) { o.tasks = {"medqqa"}; }, "did you mean medqa");
  check([](auto& o) { o.tasks.clear(); }, "no tasks");
  check([](auto& o) { o.models.clear(); }, "no model");
  check([](auto& o) { o.models = {"/nowhere/model"}; }, "/nowhere/model");
  check([](auto& o) { o.data = "/nowhere"; }, "/nowhere");
  check([](auto& o) { o.rule = "best"; }, "best");
  check([](auto& o) { o.truncate = "right"; }, "right");
  check([](auto& o) { o.arithmetic = "slow"; }, "slow");
  check([](auto& o) { o.shots = 40; }, "0 to 10");
  check([](auto& o) { o.ensemble = {"x", "y"}; }, "none of the models");
  check([](auto& o) { o.languages = {"tlh"}; }, "languages");
  check([](auto& o) { o.tasks = {"mmlu_anatomy"}, o.shots = 6; }, "--shots");
}

TEST(Evaluate, ItemsWithTheirOwnShotsAndPromptsOnly) {
  TemporaryFolder folder;
  std::string items = folder.file("items.jsonl"), prompts = folder.file("prompts.jsonl");
  std::string shot =
      R"({"context":null,"question":"S","options":{"A":"1","B":"2"},"correct_answer_letter":"B"})";
  auto item = [&](const std::string& id) {
    return R"({"identifier":")" + id +
           R"(","corpus":"MedQA","lang":"english","context":null,"question":"Q )" + id +
           R"(","options":{"A":"x","B":"y"},"correct_answer_letter":"A","few_shot_samples":[[)" + shot +
           "],[" + shot + "," + shot + "]]}\n";
  };
  ASSERT_TRUE(write_file_atomic(items, item("q1") + "not json\n" + item("q2")).ok());
  EvaluateOptions options;
  options.items = {items};
  options.write_prompts = prompts;
  options.prompts_only = true;
  auto report = expect_ok(evaluate(options, {}));
  EXPECT_EQ(report.failed_items, 1);
  auto lines = split(read(prompts), '\n');
  ASSERT_EQ(lines.size(), 5u);
  Json second = parse_json(lines[1]).value();
  EXPECT_EQ(second["identifier"].as_string(), "q1");
  EXPECT_EQ(second["draw"].as_int(), 2);
  std::string block = "**Question:** S \n (A) 1 \n (B) 2 \n **Answer:**(B \n ";
  EXPECT_EQ(second["prompt"].as_string(), std::string(kBioMistralInstruction) + block + block +
                                              "**Question:** Q q1 \n (A) x \n (B) y \n **Answer:**(");
  EXPECT_EQ(parse_json(lines[2]).value()["identifier"].as_string(), "q2");
  options.draws = 3;
  EXPECT_FALSE(evaluate(options, {}).ok());
  options.draws.reset();
  options.shots = 0;
  expect_ok(evaluate(options, {}));
  EXPECT_EQ(split(read(prompts), '\n').size(), 3u);
}

TEST(Evaluate, AllPromptsTooLongIsAnErrorThatSaysWhatToDo) {
  TemporaryFolder folder;
  auto options = demo_options(folder.file("out"));
  options.truncate = "none";
  options.max_length = 4;
  auto report = evaluate(options, limited(2));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), Code::failed);
  EXPECT_NE(report.error().paragraph().find("--truncate left"), std::string::npos)
      << report.error().paragraph();
}

TEST(Evaluate, NamesOfModels) {
  EvaluateOptions options;
  options.models = {"a/final", "b/final", "c/x.gguf", "x"};
  EXPECT_EQ(model_names(options).value(), (std::vector<std::string>{"a-final", "b-final", "c-x", "x"}));
  options.models = {"hf", "dir/other"};
  EXPECT_EQ(model_names(options).value(), (std::vector<std::string>{"hf", "other"}));
  options.names = {"one"};
  EXPECT_FALSE(model_names(options).ok());
  options.names = {"one", "one"};
  EXPECT_EQ(model_names(options).value(), (std::vector<std::string>{"one", "one-2"}));
}

TEST(Evaluate, OtherLanguagesAgainstEnglishAndCategories) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/data/multilingual";
  TemporaryFolder folder;
  auto options = demo_options(folder.file("out"));
  options.data = testing::shared_path("data");
  options.languages = {"en", "arabic"};
  options.tasks = {"mmlu_anatomy", "pubmedqa", "medmcqa"};
  options.draws = 1;
  auto report = expect_ok(evaluate(options, limited(3)));
  ASSERT_EQ(report.results["language_drops"].size(), 1u);
  EXPECT_EQ(report.results["language_drops"][0]["n"].as_int(), 3);
  EXPECT_EQ(report.results["unavailable"].size(), 2u);
  for (const auto& run : report.results["runs"].items())
    EXPECT_EQ(run["categories"].size() > 0, run["task"].as_string() == "medmcqa");
}

TEST(Journal, CutsTornEndsAndRefusesOtherPlans) {
  TemporaryFolder folder;
  std::string path = folder.file("partial");
  {
    auto journal = Journal::open(path, "p1");
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE(journal->append(3, R"({"a":1})").ok());
    ASSERT_TRUE(journal->append(7, R"({"b":2})").ok());
    ASSERT_TRUE(journal->sync(true).ok());
  }
  std::ofstream(path, std::ios::app) << "9\t{\"c\":";
  auto again = Journal::open(path, "p1");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->lines().size(), 2u);
  EXPECT_EQ(again->lines().at(7), R"({"b":2})");
  ASSERT_TRUE(again->append(9, R"({"c":3})").ok());
  ASSERT_TRUE(again->sync(true).ok());
  EXPECT_EQ(Journal::read(path, "p1").value().size(), 3u);
  EXPECT_FALSE(Journal::open(path, "p2").ok());
}

}  // namespace
}  // namespace bm
