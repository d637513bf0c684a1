// The engine from the outside: few cores, many threads, little memory, long prompts.
#include <gtest/gtest.h>
#include <sched.h>

#include <cstring>

#include "base/json.h"
#include "model/random_model.h"
#include "program.h"

namespace bm {
namespace {

using testing::ProgramRun;
using testing::run_program;

// One core for this process and those it starts.
class OneCore {
 public:
  OneCore() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &before_)) {
        CPU_SET(cpu, &one);
        break;
      }
    sched_setaffinity(0, sizeof one, &one);
  }
  ~OneCore() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomModelShape shape;
    shape.vocab = 259, shape.hidden = 37, shape.intermediate = 53, shape.max_positions = 90;
    ASSERT_TRUE(write_random_model(folder.file("m"), shape, DType::bf16, 3).ok());
    for (int i = 0; i < 6; ++i) {
      std::string ids;
      for (int t = 0; t < 20 + 10 * i; ++t)
        ids += (t ? "," : "") + std::to_string((t * 7 + (t > 12 ? i : 0)) % 259);
      requests += R"({"id":)" + std::to_string(i) + R"(,"prompt_ids":[)" + ids +
                  R"(],"next":3,"token_logprobs":true})"
                  "\n";
    }
  }
  ProgramRun score(const std::string& flags, const std::string& more = "") {
    return run_program("score '" + folder.file("m") + "' --no-progress " + flags, requests + more);
  }
  testing::TemporaryFolder folder;
  std::string requests;
};

TEST_F(EngineTest, ThreadsCoresAndMemoryDoNotShow) {
  const ProgramRun expected = score("--threads 1");
  ASSERT_EQ(expected.code, 0) << expected.err;
  for (const char* flags : {"", "--threads 2", "--threads 61", "--kv-memory 300K"}) {
    const ProgramRun run = score(flags);
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_EQ(run.out, expected.out) << flags;
  }
  const OneCore one;
  EXPECT_EQ(score("").out, expected.out);
  EXPECT_EQ(score("--threads 3").out, expected.out);
  const ProgramRun doctor = run_program("doctor --json");
  auto facts = parse_json(doctor.out);
  ASSERT_TRUE(facts.ok()) << doctor.out;
  EXPECT_EQ((*facts)["threads"].as_int(), 1);
}

TEST_F(EngineTest, TooLittleMemoryForOnePromptSaysHowMuchIsNeeded) {
  const ProgramRun run = score("--kv-memory 10K");
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.out, "");
  EXPECT_NE(run.err.find("one prompt of 70 tokens"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("--kv-memory allows 10.0 KB"), std::string::npos) << run.err;
}

TEST_F(EngineTest, ThePlanIsTold) {
  EXPECT_NE(score("").err.find("6 prompts, 270 tokens, of which 65 (24 %) are shared: 205 to compute"),
            std::string::npos)
      << score("").err;
  const ProgramRun dry = score("--dry-run");
  EXPECT_NE(dry.out.find("205 to compute"), std::string::npos) << dry.out;
}

TEST_F(EngineTest, LongPromptsAreNamedOrCut) {
  std::string ids = "1";
  for (int t = 0; t < 99; ++t) ids += ",2";
  const std::string line = R"({"id":"the long one","prompt_ids":[)" + ids +
                           R"(],"next":1})"
                           "\n";
  const ProgramRun refused = score("", line);
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.out.find("\"the long one\",\"error\""), std::string::npos) << refused.out;
  const ProgramRun cut = score("--truncate left", line);
  EXPECT_EQ(cut.code, 0);
  EXPECT_NE(cut.out.find("\"dropped_tokens\":10"), std::string::npos) << cut.out;
  EXPECT_NE(cut.err.find("1 requests were cut"), std::string::npos) << cut.err;
}

// A weight that is no number is refused when the model is loaded, by name.
TEST_F(EngineTest, WeightsThatAreNoNumbersAreNamed) {
  const std::string path = folder.file("m/model.safetensors");
  std::string bytes = *read_file(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  auto table = parse_json(std::string_view(bytes).substr(8, header));
  ASSERT_TRUE(table.ok());
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const auto begin = static_cast<size_t>((*table)[name]["data_offsets"].items()[0].as_int());
  for (const uint16_t value : {uint16_t{0x7fc0}, uint16_t{0xff80}}) {  // NaN, minus infinity
    std::memcpy(bytes.data() + 8 + header + begin + 2 * 100, &value, sizeof value);
    ASSERT_TRUE(write_file_atomic(path, bytes).ok());
    const ProgramRun run = score("");
    EXPECT_EQ(run.code, 2) << run.out;
    EXPECT_NE(run.err.find(name), std::string::npos) << run.err;
  }
}

}  // namespace
}  // namespace bm
