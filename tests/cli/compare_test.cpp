// `compare` as a user meets it: the folder it writes, the names in it, and what it refuses.
#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/program.h"

namespace bm {
namespace {

using testing::run_program;

class Compare : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder_;
  std::string model_ = testing::source_path("data/demo/stories260k");

  void SetUp() override {
    ASSERT_TRUE(write_file_atomic(folder_.file("text.jsonl"), "{\"ids\": [1, 5, 9, 13, 20, 33]}\n").ok());
    auto quantized = run_program("quantize " + model_ + " " + folder_.file("nf4") + " --method nf4");
    ASSERT_EQ(quantized.code, 0) << quantized.err;
  }
  testing::ProgramRun compare(const std::string& flags) {
    return run_program("compare " + model_ + " " + model_ + " " + folder_.file("nf4") + " --data " +
                       folder_.file("text.jsonl") + " " + flags);
  }
};

TEST_F(Compare, FolderHoldsNamedModelsAndIsLeftAloneOnceComplete) {
  std::string out = folder_.file("out");
  auto run = compare("--names itself,four-bit --out " + out);
  ASSERT_EQ(run.code, 0) << run.err;
  Json result = *read_json_file(out + "/compare.json");
  ASSERT_EQ(result["models"].size(), 2u);
  const Json& itself = result["models"].items()[0];
  const Json& four_bit = result["models"].items()[1];
  EXPECT_EQ(itself["model"], Json("itself"));
  EXPECT_EQ(itself["kl_max"].as_double(), 0);
  EXPECT_EQ(itself["weights"]["changed"], Json(0));
  EXPECT_EQ(itself["positions"], Json(5));
  EXPECT_EQ(four_bit["model"], Json("four-bit"));
  EXPECT_GT(four_bit["kl_mean"].as_double(), 0);
  EXPECT_GT(four_bit["weights"]["relative_error"].as_double(), 0.01);
  EXPECT_LT(four_bit["weights"]["relative_error"].as_double(), 0.3);
  EXPECT_LT(four_bit["weight_bytes"].as_int(), itself["weight_bytes"].as_int());
  EXPECT_EQ((*read_json_file(out + "/manifest.json"))["status"], Json("complete"));

  std::string before = *read_file(out + "/compare.json");
  auto again = compare("--names itself,four-bit --out " + out);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE((again.out + again.err).find("already complete"), std::string::npos);
  auto renamed = compare("--names a,b --out " + out);
  EXPECT_EQ(renamed.code, 2);
  EXPECT_NE(renamed.err.find("names"), std::string::npos) << renamed.err;
  EXPECT_EQ(*read_file(out + "/compare.json"), before);
}

TEST_F(Compare, NamesAreAsManyAsModels) {
  for (const char* names : {"one", "one,two,three"}) {
    auto run = compare(std::string("--json --names ") + names);
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_EQ(run.out, "");
    EXPECT_NE(run.err.find("names"), std::string::npos) << run.err;
  }
  auto run = compare("--json");
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ((*parse_json(run.out))["models"].items()[0]["model"], Json(model_)) << "a path is its own name";
}

}  // namespace
}  // namespace bm
