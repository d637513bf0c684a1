#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/program.h"

namespace bm {
namespace {

using testing::run_program;

TEST(Program, HelpOfEveryVerb) {
  auto help = run_program("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.err, "");
  for (const char* verb :
       {"run",        "corpus build", "corpus extract", "corpus audit", "corpus export", "tokenize",
        "detokenize", "score",        "perplexity",     "compare",      "generate",      "chat",
        "pretrain",   "merge",        "merge plan",     "quantize",     "convert",       "evaluate",
        "report",     "inspect",      "doctor"}) {
    EXPECT_NE(help.out.find("\n  " + std::string(verb) + " "), std::string::npos) << verb;
    auto page = run_program(std::string(verb) + " --help");
    EXPECT_EQ(page.code, 0) << verb;
    EXPECT_NE(page.out.find("Example:"), std::string::npos) << verb;
    EXPECT_NE(page.out.find("--threads"), std::string::npos) << verb;
  }
}

TEST(Program, VersionNamesWhatItIs) {
  auto version = run_program("--version");
  EXPECT_EQ(version.code, 0);
  EXPECT_NE(version.out.find("biomistral 0."), std::string::npos);
  EXPECT_NE(version.out.find("kernels"), std::string::npos);
}

TEST(Program, WrongUsageIsExitCode2AndHelps) {
  struct Case {
    const char* arguments;
    const char* said;
  };
  for (const Case& c :
       {Case{"", "biomistral VERB"}, Case{"merg a b", "Did you mean \"merge\""},
        Case{"merge", "CONFIG is missing"}, Case{"merge a b c", "unexpected argument \"c\""},
        Case{"merge a b --out-shard-sise 5", "Did you mean --out-shard-size"},
        Case{"merge a b --threads x", "no whole number"}, Case{"merge a b --threads", "needs a value"},
        Case{"merge a b --mode fast", "corrected, peer, as-published"}, Case{"corpus", "needs a second word"},
        Case{"score no-such-model --isa sse9", "--isa"}}) {
    auto run = run_program(c.arguments);
    EXPECT_EQ(run.code, 2) << c.arguments;
    EXPECT_NE((run.out + run.err).find(c.said), std::string::npos) << c.arguments << ": " << run.err;
  }
}

TEST(Program, MissingModelNamesPathAndNothingElse) {
  for (const char* verb : {"score", "inspect", "tokenize"}) {
    auto run = run_program(std::string(verb) + " /no/such/model");
    EXPECT_EQ(run.code, 2) << verb;
    EXPECT_EQ(run.out, "") << verb;
    EXPECT_NE(run.err.find("/no/such/model"), std::string::npos) << verb;
    EXPECT_EQ(run.err.find("terminate called"), std::string::npos) << verb;
  }
}

TEST(Program, LogFileHoldsJsonLines) {
  testing::TemporaryFolder folder;
  auto run = run_program("inspect " + testing::source_path("data/demo/stories260k") + " --json --log " +
                         folder.file("log"));
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_TRUE(parse_json(run.out).ok());
  auto unwritable = run_program("inspect x --log /no/such/folder/log");
  EXPECT_EQ(unwritable.code, 2);
}

TEST(Program, FullStandardOutputIsAFailure) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  std::string command = "'" + testing::program() + "' --help >/dev/full 2>/dev/null";
  int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

}  // namespace
}  // namespace bm
