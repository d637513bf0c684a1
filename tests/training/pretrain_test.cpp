#include "training/pretrain.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "formats/checkpoint.h"
#include "formats/megatron.h"
#include "formats/safetensors.h"
#include "paths.h"

namespace bm {
namespace {

std::string data(const std::string& name) {
  return testing::source_path("tests/parity/training/data/" + name);
}

PretrainOptions tiny(const std::string& out) {
  PretrainOptions options;
  options.model = data("initial_model");
  options.data = data("data/blocks.safetensors");
  options.out = out;
  options.steps = 8;
  options.micro_batch = 2;
  options.accumulate = 2;
  options.lr = 1e-3;
  return options;
}

std::vector<Json> metrics(const std::string& folder) {
  std::vector<Json> lines;
  auto text = read_file(folder + "/metrics.jsonl");
  if (!text.ok()) return lines;
  for (const std::string& line : split(*text, '\n'))
    if (auto json = parse_json(line); json.ok()) lines.push_back(*json);
  return lines;
}

// Everything but the clock.
void expect_same_run(const std::string& a, const std::string& b) {
  auto x = metrics(a), y = metrics(b);
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i)
    for (const char* key : {"step", "loss", "grad_norm", "lr", "tokens", "evaluate_loss"})
      EXPECT_EQ(x[i][key].dump(), y[i][key].dump()) << key << " of line " << i + 1;
  EXPECT_TRUE(*read_file(a + "/final/model.safetensors") == *read_file(b + "/final/model.safetensors"));
}

std::string refusal(const PretrainOptions& options, const CommonOptions& common = {}) {
  auto report = pretrain(options, common);
  return report.ok() ? "accepted" : report.error().paragraph();
}

TEST(Pretrain, WritesWhatTheInterfaceNames) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("run"));
  auto report = pretrain(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->steps, 8);
  EXPECT_EQ(report->tokens, 8u * 4 * 64);
  EXPECT_LT(report->last_loss, report->first_loss);
  auto lines = metrics(options.out);
  ASSERT_EQ(lines.size(), 8u);
  for (const char* key : {"step", "loss", "grad_norm", "lr", "tokens", "seconds"})
    EXPECT_TRUE(lines[0].contains(key)) << key;
  EXPECT_EQ(lines[0]["step"].as_int(), 1);
  auto final_folder = Checkpoint::open(options.out + "/final"), start = Checkpoint::open(options.model);
  ASSERT_TRUE(final_folder.ok()) << final_folder.error().paragraph();
  ASSERT_EQ(final_folder->names().size(), start->names().size());
  for (const std::string& name : start->names())
    EXPECT_EQ(final_folder->get(name)->shape, start->get(name)->shape);
  EXPECT_EQ(final_folder->config()["vocab_size"].as_int(), 259);
  EXPECT_TRUE(exists(options.out + "/checkpoints/step-8/state.safetensors"));
  auto again = pretrain(options, {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
  EXPECT_EQ(again->last_loss, report->last_loss);
  options.lr = 2e-3;
  EXPECT_NE(refusal(options).find("--lr"), std::string::npos) << refusal(options);
}

TEST(Pretrain, SameBitsForAnyThreadCount) {
  testing::TemporaryFolder folder;
  set_thread_count(1);
  ASSERT_TRUE(pretrain(tiny(folder.file("one")), {}).ok());
  set_thread_count(3);
  ASSERT_TRUE(pretrain(tiny(folder.file("three")), {}).ok());
  set_thread_count(0);
  expect_same_run(folder.file("one"), folder.file("three"));
}

TEST(Pretrain, AccumulationEqualsALargerBatch) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("accumulated"));
  ASSERT_TRUE(pretrain(options, {}).ok());
  options.out = folder.file("whole");
  options.micro_batch = 4;
  options.accumulate = 1;
  ASSERT_TRUE(pretrain(options, {}).ok());
  auto x = metrics(folder.file("accumulated")), y = metrics(folder.file("whole"));
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i]["loss"].as_double(), y[i]["loss"].as_double(), 1e-5);
}

// ---- stopping and resuming --------------------------------------------------------------------------

// The child process of the tests below: trains as the environment says.
TEST(Pretrain, DISABLED_Child) {
  const char* out = std::getenv("BM_TRAIN_OUT");
  if (!out) GTEST_SKIP() << "run by the tests of stopping";
  signal(SIGTERM, [](int) { request_stop(); });
  PretrainOptions options = tiny(out);
  options.steps = 40;
  options.save_every = 5;
  options.keep = 3;
  auto report = pretrain(options, {});
  _exit(report.ok() ? 0 : report.error().code() == Code::interrupted ? 130 : 1);
}

// Starts the child, waits for `lines` lines of metrics, sends the signal; returns its wait status.
int run_child_until(const std::string& out, size_t lines, int signal_number) {
  pid_t child = fork();
  if (child == 0) {
    setenv("BM_TRAIN_OUT", out.c_str(), 1);
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    execl("/proc/self/exe", "child", "--gtest_also_run_disabled_tests",
          "--gtest_filter=Pretrain.DISABLED_Child", nullptr);
    _exit(99);
  }
  for (int i = 0; i < 20000 && metrics(out).size() < lines; ++i) usleep(1000);
  kill(child, signal_number);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

PretrainOptions long_run(const std::string& out) {
  PretrainOptions options = tiny(out);
  options.steps = 40;
  options.save_every = 5;
  options.keep = 3;
  return options;
}

TEST(Resume, AfterSigkillAndSigtermTheBitsAreThoseOfAStraightRun) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(pretrain(long_run(folder.file("straight")), {}).ok());
  std::string out = folder.file("killed");
  int status = run_child_until(out, 7, SIGKILL);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it must have been cut off in the middle";
  ASSERT_FALSE(exists(out + "/final"));
  status = run_child_until(out, 14, SIGTERM);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 130);
  auto lines = metrics(out);
  ASSERT_FALSE(lines.empty());
  EXPECT_TRUE(exists(out + "/checkpoints/step-" + lines.back()["step"].dump()))
      << "SIGTERM saves where it stands";
  auto report = pretrain(long_run(out), {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  expect_same_run(folder.file("straight"), out);
}

TEST(Resume, PassesOverABrokenCheckpoint) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(pretrain(long_run(folder.file("straight")), {}).ok());
  std::string out = folder.file("broken");
  int status = run_child_until(out, 17, SIGKILL);
  ASSERT_TRUE(WIFSIGNALED(status));
  std::vector<std::string> saved;
  for (int step = 40; step > 0; step -= 5)
    if (exists(out + "/checkpoints/step-" + std::to_string(step)))
      saved.push_back(out + "/checkpoints/step-" + std::to_string(step));
  ASSERT_GE(saved.size(), 2u);
  std::string bytes = *read_file(saved[0] + "/state.safetensors");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
  ASSERT_TRUE(write_file_atomic(saved[0] + "/state.safetensors", bytes).ok());
  ASSERT_TRUE(pretrain(long_run(out), {}).ok());
  expect_same_run(folder.file("straight"), out);
}

TEST(Resume, LimitStopsEarlyOnTheSameSchedule) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(pretrain(long_run(folder.file("straight")), {}).ok());
  CommonOptions common;
  common.limit = 6;
  ASSERT_TRUE(pretrain(long_run(folder.file("short")), common).ok());
  auto x = metrics(folder.file("straight")), y = metrics(folder.file("short"));
  ASSERT_EQ(y.size(), 6u);
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(x[i]["loss"].dump(), y[i]["loss"].dump());
}

// ---- bad input --------------------------------------------------------------------------------------

TEST(PretrainRefuses, NumbersThatMeanNothing) {
  testing::TemporaryFolder folder;
  auto with = [&](auto change) {
    PretrainOptions options = tiny(folder.file("run"));
    change(options);
    return refusal(options);
  };
  EXPECT_NE(with([](auto& o) { o.epochs = 1; }).find("both"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.lr = -1; }).find("--lr"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.micro_batch = 0; }).find("--micro-batch"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.schedule = "cosinus"; }).find("cosinus"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.precision = "fp8"; }).find("fp8"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.checkpointing = "all"; }).find("none, cheap and block"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.evaluate_every = 2; }).find("--evaluate-data"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.sequence_length = 32; }).find("64 tokens"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.dtype = "int8"; }).find("int8"), std::string::npos);
  EXPECT_FALSE(exists(folder.file("run"))) << "nothing may be written";
}

TEST(PretrainRefuses, DataThatDoNotFit) {
  testing::TemporaryFolder folder;
  auto write = [&](const std::vector<int32_t>& tokens, int64_t vocab) {
    auto writer = MegatronWriter::create(folder.file("tokens"), vocab);
    ASSERT_TRUE(writer->add_sequence(tokens).ok());
    ASSERT_TRUE(writer->commit().ok());
  };
  PretrainOptions options = tiny(folder.file("run"));
  options.data = folder.path();
  options.sequence_length = 16;
  EXPECT_NE(refusal(options).find("no tokens.idx"), std::string::npos) << refusal(options);
  std::vector<int32_t> tokens(15, 5);
  write(tokens, 300);
  EXPECT_NE(refusal(options).find("fewer than one block of 16"), std::string::npos) << refusal(options);
  tokens.assign(40, 5);
  tokens[20] = 259;
  write(tokens, 300);
  EXPECT_NE(refusal(options).find("block 1"), std::string::npos) << refusal(options);
  EXPECT_NE(refusal(options).find("token 259 at position 4"), std::string::npos) << refusal(options);
  tokens[20] = 258;
  write(tokens, 300);
  options.sequence_length = 1024;
  EXPECT_NE(refusal(options).find("fewer than one block"), std::string::npos);
  tokens.assign(4096, 5);
  write(tokens, 300);
  EXPECT_NE(refusal(options).find("512 positions"), std::string::npos) << refusal(options);
  CommonOptions common;
  common.memory.bytes = 1000;
  options.sequence_length = 16;
  EXPECT_NE(refusal(options, common).find("are allowed"), std::string::npos) << refusal(options, common);
  EXPECT_EQ(refusal(options), "accepted");
  options.model = folder.file("nowhere");
  options.out = folder.file("other");
  EXPECT_NE(refusal(options).find("nowhere"), std::string::npos);
}

TEST(PretrainFails, ALossThatIsNoNumberStopsAndKeepsTheLastCheckpoint) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("run"));
  options.lr = 1e30;
  options.save_every = 1;
  options.warmup = 4;  // step 1 has rate 0 and is sound
  auto report = pretrain(options, {});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code(), Code::failed);
  std::string text = report.error().paragraph();
  EXPECT_NE(text.find("step 3"), std::string::npos) << text;
  EXPECT_NE(text.find("not finite"), std::string::npos) << text;
  EXPECT_TRUE(exists(options.out + "/checkpoints/step-1/state.safetensors"));
  EXPECT_FALSE(exists(options.out + "/final"));
}

TEST(Pretrain, CorpusAndHeldOutBlocks) {
  testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.file("tokens"), 259);
  std::vector<int32_t> tokens(32);
  for (int s = 0; s < 40; ++s) {
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = static_cast<int32_t>((static_cast<size_t>(s) * 5 + i * i) % 40 + 3);
    ASSERT_TRUE(writer->add_sequence(tokens).ok());
  }
  ASSERT_TRUE(writer->commit().ok());
  PretrainOptions options = tiny(folder.file("run"));
  options.data = folder.file("tokens.bin");
  options.evaluate_data = {folder.file("tokens.idx")};
  options.evaluate_every = 4;
  auto report = pretrain(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->tokens, 8u * 4 * 32) << "the length the corpus was packed with";
  ASSERT_TRUE(report->first_held_out_loss && report->last_held_out_loss);
  EXPECT_LT(*report->last_held_out_loss, *report->first_held_out_loss);
  auto lines = metrics(options.out);
  EXPECT_FALSE(lines[0].contains("evaluate_loss"));
  EXPECT_TRUE(lines[3].contains("evaluate_perplexity"));
  EXPECT_TRUE(lines[7].contains("evaluate_loss"));
  auto before = read_json_file(options.out + "/evaluation_before.json");
  ASSERT_TRUE(before.ok());
  EXPECT_EQ((*before)["evaluate_loss"].as_double(), *report->first_held_out_loss);
}

TEST(Pretrain, ACorpusFolderSaysItsBlockLength) {
  testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.file("tokens"), 259);
  for (int32_t s = 0; s < 30; ++s) {
    std::vector<int32_t> article(static_cast<size_t>(20 + s), s + 3);
    ASSERT_TRUE(writer->add_sequence(article).ok());
    writer->end_document();
  }
  ASSERT_TRUE(writer->commit().ok());
  ASSERT_TRUE(write_file_atomic(folder.file("stats.json"), R"({"packing": {"sequence_length": 48}})").ok());
  PretrainOptions options = tiny(folder.file("run"));
  options.data = folder.path();
  CommonOptions common;
  common.dry_run = true;
  auto report = pretrain(options, common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->summary["sequence_length"].as_int(), 48);
  EXPECT_EQ(report->summary["blocks"].as_int(), (30 * 20 + 29 * 15) / 48);
  options.sequence_length = 16;
  report = pretrain(options, common);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->summary["sequence_length"].as_int(), 16);
}

TEST(Pretrain, DryRunSaysAndWritesNothing) {
  testing::TemporaryFolder folder;
  CommonOptions common;
  common.dry_run = true;
  auto report = pretrain(tiny(folder.file("run")), common);
  ASSERT_TRUE(report.ok());
  EXPECT_GT(report->summary["memory_bytes"]["total"].as_int(), 38240 * 16);
  EXPECT_FALSE(exists(folder.file("run")));
}

}  // namespace
}  // namespace bm
