#include "evaluation/predictions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "evaluation/answers.h"
#include "evaluation/lm_eval_scores.h"
#include "evaluation/metrics.h"
#include "evaluation/prefix_runner.h"
#include "evaluation/results.h"
#include "paths.h"

namespace bm {
namespace {

using testing::TemporaryFolder;

PredictionsFile named(const std::string& name) {
  PredictionsFile file;
  file.name = name;
  parse_predictions_name(file);
  return file;
}

TEST(PredictionsNames, OursAndTheOriginals) {
  auto file = named("slerp/medqa.en.draw3");
  EXPECT_EQ(file.run, "slerp");
  EXPECT_EQ(file.task, "medqa");
  EXPECT_EQ(file.language, "en");
  EXPECT_EQ(file.draw, 3);
  file = named("anything");
  EXPECT_EQ(file.task, "anything");
  EXPECT_EQ(file.draw, 1);
  EXPECT_EQ(named("x/run.draw12").draw, 12);
  EXPECT_EQ(named("x/run.draw1").group(), named("x/run.draw2").group());
  EXPECT_NE(named("x/run.draw1").group(), named("y/run.draw1").group());
  file = named("sub/results_BioMistral-7B_FewShot[2]_MMLU_college_biology_english");
  EXPECT_EQ(file.run, "sub/BioMistral-7B");
  EXPECT_EQ(file.draw, 2);
  EXPECT_EQ(file.task, "mmlu_college_biology");
  EXPECT_EQ(file.language, "english");
}

TEST(Predictions, RoundTripAndBadLines) {
  Prediction p;
  p.identifier = "q";
  p.correct_letter = "B";
  p.best_prediction = "The";
  p.letters = {{"A", 0.25, std::log(0.25)}, {"B", 0.25, std::log(0.25)}, {"C", 0, -INFINITY}};
  p.prompt_tokens = 12;
  p.extra.set("order", "CAB");
  decide_letters(p);
  EXPECT_EQ(p.letters_prediction, "A");
  EXPECT_TRUE(p.tie);
  Json json = prediction_json(p);
  EXPECT_TRUE(json["logprobs"]["C"].is_null());
  auto again = read_prediction(parse_json(json.dump()).value());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(prediction_json(*again), json);
  EXPECT_FALSE(read_prediction(parse_json(R"({"identifier":"q"})").value()).ok());
  EXPECT_FALSE(read_prediction(parse_json(R"({"correct_letter":"A","predictions":{"A":"x"}})").value()).ok());
  EXPECT_FALSE(read_prediction(parse_json(R"({"correct_letter":"A","predictions":{"A":-1}})").value()).ok());
}

TEST(PredictionsFolder, ReadsLinesListsAndSubFoldersAndReportsBrokenLines) {
  TemporaryFolder folder;
  std::string line =
      R"({"identifier":"a","correct_letter":"A","predictions":{"A":0.6,"B":0.1},"best_prediction":"A"})";
  ASSERT_TRUE(make_directories(folder.file("sub/deep")).ok());
  ASSERT_TRUE(write_file_atomic(folder.file("x.draw1.jsonl"), line + "\n{broken\n" + line + "\n").ok());
  ASSERT_TRUE(
      write_file_atomic(folder.file("sub/deep/results_M_FewShot1_MedQA_french.json"), "[" + line + "]").ok());
  ASSERT_TRUE(write_file_atomic(folder.file("metrics.json"), "{}").ok());
  ASSERT_TRUE(write_file_atomic(folder.file("other.json"), R"({"a":1})").ok());
  ASSERT_TRUE(write_file_atomic(folder.file("notes.jsonl"), "{\"a\":1}\n").ok());
  auto read = read_predictions_folder(folder.path());
  ASSERT_TRUE(read.ok()) << read.error().paragraph();
  ASSERT_EQ(read->files.size(), 2u);
  EXPECT_EQ(read->files[0].name, "sub/deep/results_M_FewShot1_MedQA_french");
  EXPECT_EQ(read->files[1].predictions.size(), 2u);
  ASSERT_EQ(read->broken.size(), 1u);
  EXPECT_EQ(read->broken[0].place, "line 2");
  TemporaryFolder empty;
  EXPECT_FALSE(read_predictions_folder(empty.path()).ok());
  EXPECT_FALSE(read_predictions_folder(empty.file("absent")).ok());
}

TEST(LmEvalScores, WhiteSpaceLengthsAndTies) {
  EXPECT_EQ(python_rstrip("a b \n\t\xC2\xA0\xE3\x80\x80"), 3u);
  EXPECT_EQ(python_rstrip(" \n"), 0u);
  EXPECT_EQ(python_rstrip("\xC3\xA9"), 2u);
  EXPECT_EQ(code_points("a\xC3\xA9\xE4\xB8\xAD"), 3);
  // peers.md 4.9: mutual information against plain likelihood, ties to the first.
  std::vector<std::string> choices = {"x", "y", "z"};
  auto scores = [&](std::vector<double> ll, std::vector<double> unconditional, int64_t gold) {
    std::vector<ChoiceLikelihood> l;
    for (size_t i = 0; i < ll.size(); ++i) l.push_back({ll[i], false, 1, unconditional[i]});
    return score_choices(l, choices, gold);
  };
  auto both = scores({-2, -1, -3}, {-2.5, -2, -2.5}, 1);
  EXPECT_EQ(both.acc, 1);
  EXPECT_EQ(*both.acc_mutual_info, 1);
  auto tie = scores({-1, -2, -3}, {-0.5, -2, -3}, 1);
  EXPECT_EQ(tie.chosen, 0);
  EXPECT_EQ(*tie.acc_mutual_info, 1);  // 0 and 0: the first of the two, y
  std::vector<ChoiceLikelihood> small = {{-1000, true, 1, std::nullopt}, {-1001, false, 1, std::nullopt}};
  auto mc2 = score_choices(small, std::vector<std::string>{"a", "b"}, 0, {true, false});
  EXPECT_NEAR(*mc2.mc2, 1 / (1 + std::exp(-1.0)), 1e-12);  // no underflow
  EXPECT_EQ(mc2.exact_match, 1);
}

TEST(PrefixRunner, SameBitsAsOneByOneAndFewerTokens) {
  auto model = Model::load(testing::source_path("data/demo/stories260k"), {.need_tokenizer = true});
  ASSERT_TRUE(model.ok()) << model.error().paragraph();
  std::vector<PrefixRequest> requests;
  auto add = [&](std::vector<int32_t> tokens, std::vector<int64_t> rows) {
    requests.push_back({std::move(tokens), std::move(rows)});
  };
  std::vector<int32_t> stem = {1};
  for (int32_t i = 0; i < 60; ++i) stem.push_back(300 + (i * 37) % 150);
  for (int32_t branch = 0; branch < 7; ++branch) {
    auto tokens = stem;
    tokens.resize(static_cast<size_t>(20 + 6 * branch));
    for (int32_t i = 0; i < 5 + branch; ++i) tokens.push_back(270 + branch * 11 + i);
    int64_t last = static_cast<int64_t>(tokens.size()) - 1;
    add(tokens, {last});
    add(tokens, {3, last - 2, last});  // the same tokens, other rows
  }
  add(stem, {60});
  add({1}, {0});
  const uint64_t page = KvPool::page_bytes((*model)->config(), DType::f32);
  for (uint64_t memory : {6 * page, uint64_t{1} << 30}) {
    size_t rows = 0, finished = 0;
    PrefixRunOptions options;
    options.kv_memory = memory;
    auto report = run_shared_prefixes(
        **model, requests, options,
        [&](size_t request, size_t row, const float* logits) {
          std::vector<float> alone;
          SequenceInput input{requests[request].tokens, nullptr, std::span(&requests[request].rows[row], 1)};
          auto status = forward(**model, {&input, 1}, [&](size_t, int64_t, int64_t, const float* l) {
            alone.assign(l, l + (*model)->config().vocab);
          });
          ASSERT_TRUE(status.ok());
          ++rows;
          EXPECT_EQ(alone, std::vector<float>(logits, logits + (*model)->config().vocab))
              << request << " row " << row;
        },
        [&](std::span<const size_t> done) -> Status {
          finished += done.size();
          return {};
        });
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    EXPECT_EQ(rows, 7u * 4 + 2);
    EXPECT_EQ(finished, requests.size());
    EXPECT_LT(report->computed_tokens, report->tokens / 2);
  }
}

TEST(PrefixRunner, AnErrorOfTheCallerEndsTheRun) {
  auto model = Model::load(testing::source_path("data/demo/stories260k"), {.need_tokenizer = true});
  ASSERT_TRUE(model.ok());
  std::vector<PrefixRequest> requests = {{{1, 300}, {1}}, {{1, 301}, {1}}};
  auto report = run_shared_prefixes(
      **model, requests, {}, [](size_t, size_t, const float*) {},
      [](std::span<const size_t>) -> Status { return failed("disk full"); });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().what(), "disk full");
  requests[0].tokens[1] = 9999;
  EXPECT_FALSE(run_shared_prefixes(
                   **model, requests, {}, [](size_t, size_t, const float*) {},
                   [](std::span<const size_t>) -> Status { return {}; })
                   .ok());
}

PredictionsFile made_up(const std::string& name, const std::string& answers, const std::string& gold) {
  PredictionsFile file = named(name);
  for (size_t i = 0; i < answers.size(); ++i) {
    Prediction p;
    p.identifier = std::to_string(i);
    p.correct_letter = gold.substr(i, 1);
    p.best_prediction = answers.substr(i, 1);
    for (const char* letter : {"A", "B"})
      p.letters.push_back({letter, answers[i] == letter[0] ? 0.75 : 0.25, 0});
    decide_letters(p);
    file.predictions.push_back(std::move(p));
  }
  return file;
}

TEST(Results, MeanOfDrawsTestsAndTables) {
  std::vector<PredictionsFile> files = {made_up("good/medqa.en.draw1", "ABABABABAA", "ABABABABAB"),
                                        made_up("good/medqa.en.draw2", "ABABABABBB", "ABABABABAB"),
                                        made_up("bad_one/medqa.en.draw1", "AAAAAAAAAA", "ABABABABAB"),
                                        made_up("bad_one/medqa.en.draw2", "AAAAAAAAAA", "ABABABABAB")};
  std::vector<FileMetrics> metrics;
  all_metrics_json(files, metrics);
  auto summary = summarize(files, {DecisionRule::top1, 500, 1});
  ASSERT_EQ(summary.runs.size(), 2u);
  const auto& good = summary.runs[1];
  EXPECT_EQ(good.run, "good");
  EXPECT_DOUBLE_EQ(good.mean, 90);
  EXPECT_DOUBLE_EQ(good.population_sd, 0);
  EXPECT_EQ(good.chance, 0.5);
  ASSERT_EQ(summary.pairs.size(), 1u);
  EXPECT_NEAR(summary.pairs[0].difference, -0.4, 1e-12);
  std::string latex = results_latex(summary), markdown = results_markdown(summary, files, metrics);
  EXPECT_NE(latex.find("good & \\textbf{90.0} {\\tiny ±0.0} \\\\"), std::string::npos) << latex;
  EXPECT_NE(latex.find("bad\\_one & 50.0 {\\tiny ±0.0} \\\\"), std::string::npos) << latex;
  EXPECT_NE(markdown.find("| good | **90.0** ±0.0 |"), std::string::npos) << markdown;
  Json json = results_json(summary, files, metrics);
  EXPECT_EQ(json["results"]["good/medqa"]["acc,none"].as_double(), 0.9);
}

}  // namespace
}  // namespace bm
