#include <gtest/gtest.h>

#include <set>

#include "base/file.h"
#include "paths.h"
#include "tasks/catalog.h"
#include "tasks/csv.h"
#include "tasks/shots.h"

namespace bm {
namespace {

using testing::TemporaryFolder;

std::string write(const TemporaryFolder& folder, const std::string& name, const std::string& content) {
  std::string path = folder.file(name);
  EXPECT_TRUE(make_directories(path_parent(path)).ok());
  EXPECT_TRUE(write_file_atomic(path, content).ok());
  return path;
}

TEST(Csv, QuotesLineBreaksAndBothLineEnds) {
  auto rows = parse_csv("\xEF\xBB\xBFq1,\"a, \"\"b\"\"\r\nc\",x\r\n\n\"\",2,3\nlast,,");
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].cells, (std::vector<std::string>{"q1", "a, \"b\"\r\nc", "x"}));
  EXPECT_EQ((*rows)[1].cells, (std::vector<std::string>{"", "2", "3"}));
  EXPECT_EQ((*rows)[1].line, 4);
  EXPECT_EQ((*rows)[2].cells, (std::vector<std::string>{"last", "", ""}));
  auto broken = parse_csv("a,b\nc,\"open\n\n");
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().paragraph().find("line 2"), std::string::npos);
}

TEST(Importers, MmluWithAndWithoutHeader) {
  TemporaryFolder folder;
  auto plain =
      import_mmlu(write(folder, "a.csv", "Q1,a,b,c,d,B\nQ2,a,b,c,d,E\nQ3,a,b,c\n"), {"x", "MMLU_x", "en"});
  ASSERT_TRUE(plain.ok());
  ASSERT_EQ(plain->items.size(), 1u);
  EXPECT_EQ(plain->items[0].identifier, "x-0000");
  EXPECT_EQ(plain->items[0].correct_letter, "B");
  ASSERT_EQ(plain->broken.size(), 2u);
  EXPECT_EQ(plain->broken[0].place, "line 2");
  EXPECT_NE(plain->broken[0].reason.find("\"E\""), std::string::npos);
  EXPECT_NE(plain->broken[1].reason.find("4 columns"), std::string::npos);
  auto named = import_mmlu(
      write(folder, "b.csv", ",Question,A,B,C,D,Answer,Subject\n0,Q1,a,b,c,d,B,x\n1,Q2,a,b,c,d,3,x\n"),
      {"x", "MMLU_x", "en"});
  ASSERT_TRUE(named.ok());
  ASSERT_EQ(named->items.size(), 2u);
  EXPECT_EQ(named->items[0].question, "Q1");
  EXPECT_EQ(named->items[1].correct_letter, "D");
}

TEST(Importers, BrokenRowsAreReportedWithPlaceAndReason) {
  TemporaryFolder folder;
  auto file =
      import_medqa(write(folder, "m.jsonl",
                         R"({"question":"Q","options":{"A":"x","B":"y"},"answer":"y","answer_idx":"B"})"
                         "\n"
                         R"({"question":"Q","options":{"A":"x","B":"y"},"answer":"x","answer_idx":"B"})"
                         "\n"
                         R"({"question":"Q","options":{"A":"x","B":"y"},"answer_idx":"C"})"
                         "\n"
                         "{\"question\":\n"
                         R"({"question":" ","options":{"A":"x","B":"y"},"answer_idx":"A"})"
                         "\n"
                         R"([1])"
                         "\n"),
                   {"medqa", "MedQA", "en"});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->rows, 6);
  EXPECT_EQ(file->items.size(), 1u);
  ASSERT_EQ(file->broken.size(), 5u);
  EXPECT_NE(file->broken[0].reason.find("disagree"), std::string::npos);
  EXPECT_EQ(file->broken[2].place, "line 4");
  EXPECT_EQ(file->broken[3].reason, "the question is empty");
}

TEST(Importers, ItemsRoundTripAndTranslatedFields) {
  TemporaryFolder folder;
  std::string row =
      R"({"identifier":"q1","corpus":"MedQA","lang":"french","context":null,"question":"Q","question_translated":"Q fr",)"
      R"("options":{"A":"x","B":"y"},"options_translated":{"A":"x fr","B":"y fr"},"correct_answer_letter":"B",)"
      R"("few_shot_samples":{"1":[{"context":null,"question":"S","options":{"A":"1","B":"2"},"correct_answer_letter":"A"}]}})";
  auto file = import_items(write(folder, "i.jsonl", row + "\n"));
  ASSERT_TRUE(file.ok()) << file.error().paragraph();
  ASSERT_EQ(file->items.size(), 1u) << file->broken[0].reason;
  const Item& item = file->items[0];
  EXPECT_EQ(item.question, "Q fr");
  EXPECT_EQ(item.options[1].text, "y fr");
  EXPECT_EQ(item.language, "fr");
  ASSERT_EQ(item.few_shot_samples.size(), 1u);
  EXPECT_EQ(item.few_shot_samples[0][0].question, "S");
  auto again = import_items(write(folder, "j.jsonl", item_json(item).dump() + "\n"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(item_json(again->items.at(0)), item_json(item));
}

TEST(Prompts, BracesInQuestionsStayAsTheyAre) {
  Question q{"", "What is {{question}} {{options}}?", {{"A", "{{A}}"}, {"B", "b"}}, "A"};
  EXPECT_EQ(biomistral_prompt(q, {}),
            std::string(kBioMistralInstruction) +
                "**Question:** What is {{question}} {{options}}? \n (A) {{A}} \n (B) b \n **Answer:**(");
}

std::vector<Item> numbered_items(size_t n) {
  std::vector<Item> items(n);
  for (size_t i = 0; i < n; ++i) {
    items[i].identifier = "i" + std::to_string(i);
    items[i].question = "question " + std::to_string(i);
  }
  return items;
}

TEST(Shots, NeverTheItemNeverTwiceAndIndependentOfOrder) {
  auto pool = numbered_items(7);
  ShotPlan plan;
  std::set<std::vector<size_t>> different;
  for (size_t i = 0; i < pool.size(); ++i) {
    for (int64_t draw = 1; draw <= 3; ++draw) {
      auto shots = draw_shots(plan, "t", pool[i], draw, pool);
      ASSERT_TRUE(shots.ok());
      ASSERT_EQ(shots->size(), 3u);
      EXPECT_EQ(std::set<size_t>(shots->begin(), shots->end()).size(), 3u);
      for (size_t s : *shots) EXPECT_NE(s, i);
      EXPECT_EQ(*shots, *draw_shots(plan, "t", pool[i], draw, pool));
      different.insert(*shots);
    }
  }
  EXPECT_GT(different.size(), 15u);
  plan.seed = 43;
  EXPECT_NE(*draw_shots(plan, "t", pool[0], 1, pool), *draw_shots(ShotPlan{}, "t", pool[0], 1, pool));
  plan.shots = 7;
  auto too_many = draw_shots(plan, "t", pool[0], 1, pool);
  ASSERT_FALSE(too_many.ok());
  EXPECT_EQ(too_many.error().code(), Code::bad_input);
}

TEST(Shots, OneDrawForTheWholeTask) {
  auto items = numbered_items(5);
  auto pool = numbered_items(40);
  for (auto& p : pool) p.question += " of the pool";
  ShotPlan plan;
  plan.scope = ShotScope::task;
  auto first = draw_shots(plan, "t", items[0], 2, pool).value();
  for (const auto& item : items) EXPECT_EQ(draw_shots(plan, "t", item, 2, pool).value(), first);
  EXPECT_NE(draw_shots(plan, "t", items[0], 1, pool).value(), first);
}

TEST(Shots, HeldOutItemsLeaveTheScoredSet) {
  auto parts = hold_out(numbered_items(50), 10, 42, "t");
  EXPECT_EQ(parts.scored.size(), 40u);
  EXPECT_EQ(parts.pool.size(), 10u);
  std::set<std::string> scored, pool;
  for (const auto& i : parts.scored) scored.insert(i.identifier);
  for (const auto& i : parts.pool) EXPECT_FALSE(scored.count(i.identifier));
}

TEST(Catalog, NamesGroupsAndMisspellings) {
  auto ten = expand_task_names({"biomistral", "medqa"});
  ASSERT_TRUE(ten.ok());
  EXPECT_EQ(ten->size(), 10u);
  EXPECT_EQ(expand_task_names({"mmlu_med"})->size(), 6u);
  auto wrong = expand_task_names({"pubmeqa"});
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().paragraph().find("did you mean pubmedqa"), std::string::npos);
  EXPECT_FALSE(expand_task_names({"nowhere.yaml"}).ok());
  EXPECT_EQ(task_languages("mmlu_anatomy"), (std::vector<std::string>{"en", "ar"}));
  EXPECT_EQ(task_name_of_corpus("MMLU_college_medicine"), "mmlu_college_medicine");
}

TEST(Catalog, MissingFilesAreNamed) {
  TemporaryFolder folder;
  TaskLoadOptions options;
  options.data = folder.path();
  auto task = load_task("medqa", "en", options);
  ASSERT_FALSE(task.ok());
  EXPECT_NE(task.error().paragraph().find("us_4options_test.jsonl"), std::string::npos);
  options.data = folder.file("absent");
  EXPECT_FALSE(load_task("medqa", "en", options).ok());
  EXPECT_FALSE(load_task("medqa", "tlh", options).ok());
}

TEST(Catalog, YamlTaskWithItsOwnFields) {
  TemporaryFolder folder;
  write(folder, "q.jsonl",
        R"({"q":"1+1?","choices":["2","3"],"label":0})"
        "\n"
        R"({"q":"2+2?","choices":["5","4"],"label":1})"
        "\n");
  write(folder, "s.jsonl",
        R"({"q":"0+1?","choices":["1","0"],"label":0})"
        "\n");
  std::string yaml = write(folder, "sums.yaml",
                           "task: sums\nitems: q.jsonl\nshots: s.jsonl\ninstruction: \"Add. \"\n"
                           "fields: {question: q, options: choices, answer: label}\n");
  auto task = load_task_file(yaml, {});
  ASSERT_TRUE(task.ok()) << task.error().paragraph();
  EXPECT_EQ(task->name, "sums");
  EXPECT_EQ(task->instruction, "Add. ");
  ASSERT_EQ(task->items.size(), 2u);
  EXPECT_EQ(task->items[1].correct_letter, "B");
  EXPECT_EQ(task->shot_pool.size(), 1u);
  EXPECT_EQ(task->held_out, 0);
  auto wrong = load_task_file(write(folder, "w.yaml", "task: x\nitem: q.jsonl\n"), {});
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().paragraph().find("unknown key \"item\""), std::string::npos);
}

// The published files, all of them, with the published sizes.
struct Expected {
  const char* task;
  const char* language;
  int64_t items, pool, held_out;
};

TEST(Catalog, PublishedFilesHaveThePublishedSizes) {
  if (!testing::have_shared()) GTEST_SKIP() << "needs ../shared/data";
  const Expected all[] = {
      {"mmlu_clinical_knowledge", "en", 265, 5, 0},
      {"mmlu_medical_genetics", "en", 100, 5, 0},
      {"mmlu_anatomy", "en", 135, 5, 0},
      {"mmlu_professional_medicine", "en", 272, 5, 0},
      {"mmlu_college_biology", "en", 144, 5, 0},
      {"mmlu_college_medicine", "en", 173, 5, 0},
      {"medqa", "en", 1273, 1030, 0},
      {"medqa_5options", "en", 1273, 1272, 0},
      {"pubmedqa", "en", 500, 500, 0},
      {"medmcqa", "en", 4083, 100, 100},
      {"mmlu_anatomy", "ar", 135, 5, 0},
      {"headqa", "es", 2742, 137, 0},
      {"rumeddanet", "ru", 256, 1052, 0},
      {"mcmle_4options", "zh", 3326, 100, 100},
  };
  TaskLoadOptions options;
  options.data = testing::shared_path("data");
  for (const auto& wanted : all) {
    SCOPED_TRACE(std::string(wanted.task) + " " + wanted.language);
    auto task = load_task(wanted.task, wanted.language, options);
    ASSERT_TRUE(task.ok()) << task.error().paragraph();
    EXPECT_EQ(static_cast<int64_t>(task->items.size()), wanted.items);
    EXPECT_EQ(static_cast<int64_t>(task->shot_pool.size()) + task->leaked_shots, wanted.pool);
    EXPECT_EQ(task->held_out, wanted.held_out);
    EXPECT_EQ(static_cast<int64_t>(task->items.size()) + task->held_out, task->published_size);
    for (const auto& row : task->broken) ADD_FAILURE() << row.file << " " << row.place << ": " << row.reason;
  }
  auto truth = load_task("truthfulqa", "en", options);
  ASSERT_TRUE(truth.ok()) << truth.error().paragraph();
  EXPECT_EQ(truth->items.size() + truth->broken.size() + static_cast<size_t>(truth->held_out), 817u);
  auto french = load_task("frenchmedmcqa", "fr", options);
  ASSERT_TRUE(french.ok());
  EXPECT_EQ(french->items.size() + french->broken.size(), 622u);
}

}  // namespace
}  // namespace bm
