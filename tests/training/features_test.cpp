// What pretrain offers beside the plain run: masks, mixes, memory, early stop, kept checkpoints, ranks.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "formats/megatron.h"
#include "formats/safetensors.h"
#include "model/random_model.h"
#include "paths.h"
#include "training/memory_plan.h"
#include "training/pretrain.h"

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

std::vector<double> column(const std::string& folder, const char* key) {
  std::vector<double> values;
  for (const Json& line : metrics(folder)) values.push_back(line[key].as_double());
  return values;
}

// Documents of different lengths as a Megatron pair.
void write_corpus(const std::string& prefix, int documents, int32_t offset) {
  auto writer = MegatronWriter::create(prefix, 259);
  ASSERT_TRUE(writer.ok());
  for (int d = 0; d < documents; ++d) {
    std::vector<int32_t> tokens = {1};
    for (int i = 0; i < 9 + d * 7 % 41; ++i) tokens.push_back(offset + (d * 5 + i * 3) % 50);
    tokens.push_back(2);
    ASSERT_TRUE(writer->add_sequence(tokens).ok());
    writer->end_document();
  }
  ASSERT_TRUE(writer->commit().ok());
}

TEST(DocumentMask, BlocksAreCutAtTheDocumentsOfTheIndex) {
  testing::TemporaryFolder folder;
  write_corpus(folder.file("tokens"), 20, 60);
  auto blocks = Blocks::open(folder.file("tokens.bin"), 32, 259);
  ASSERT_TRUE(blocks.ok()) << blocks.error().paragraph();
  const int64_t targets = blocks->targets(1);
  ASSERT_TRUE(blocks->mask_documents("x", {}).ok());
  std::vector<int32_t> tokens(32), labels(32);
  for (uint64_t b = 0; b < blocks->count(); ++b) {
    std::vector<int64_t> pieces;
    blocks->pieces(b, pieces);
    blocks->read(b, tokens.data(), labels.data());
    size_t at = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_TRUE(i == 0 || tokens[at] == 1) << "a piece begins with its document's BOS";
      for (size_t j = at + 1; j < at + static_cast<size_t>(pieces[i]); ++j) EXPECT_NE(tokens[j], 1);
      at += static_cast<size_t>(pieces[i]);
    }
    EXPECT_EQ(at, 32u);
    EXPECT_EQ(blocks->targets(b), 32 - static_cast<int64_t>(pieces.size()));
  }
  EXPECT_EQ(targets, 31);
  PretrainOptions options = tiny(folder.file("run"));
  options.data = folder.file("tokens.bin");
  options.sequence_length = 32;
  options.document_mask = true;
  auto report = pretrain(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_LT(report->last_loss, report->first_loss);
}

TEST(Mix, TakesItsShareAndSeesEveryBlockBeforeOneTwice) {
  BatchPlan plan({{0, 40, 40}, {40, 15, 10}}, 5, 1, OrderRule::counter, AccumulationRule::by_epoch, 3);
  EXPECT_EQ(plan.steps_per_epoch(), 10);
  std::set<uint64_t> other;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    size_t mixed = 0;
    std::set<uint64_t> main;
    for (int64_t s = 0; s < 10; ++s)
      for (uint64_t block : plan.step(epoch * 10 + s)[0]) {
        if (block < 40) {
          main.insert(block);
        } else {
          ++mixed;
          if (epoch * 10 + s < 15) other.insert(block);
        }
      }
    EXPECT_EQ(main.size(), 40u);
    EXPECT_EQ(mixed, 10u);
  }
  testing::TemporaryFolder folder;
  write_corpus(folder.file("general"), 30, 120);
  PretrainOptions options = tiny(folder.file("run"));
  options.mix = {folder.file("general.bin") + "=0.25"};
  auto report = pretrain(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->summary["mix"][0]["share"].as_double(), 0.25);
  for (const char* wrong : {"general", "general=x", "general=0", "general=1.5"}) {
    options.mix = {wrong};
    options.out = folder.file("other");
    EXPECT_FALSE(pretrain(options, {}).ok()) << wrong;
  }
}

TEST(Memory, CheckpointingAndSmallerPassesGiveTheSameRun) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("plain"));
  options.micro_batch = 4;
  options.accumulate = 1;
  ASSERT_TRUE(pretrain(options, {}).ok());
  for (const char* level : {"cheap", "block"}) {
    options.out = folder.file(level);
    options.checkpointing = level;
    ASSERT_TRUE(pretrain(options, {}).ok());
    EXPECT_EQ(column(folder.file("plain"), "loss"), column(options.out, "loss")) << level;
  }
  EXPECT_EQ(*read_file(folder.file("plain/final/model.safetensors")),
            *read_file(folder.file("block/final/model.safetensors")));
}

// The choice itself, and that a ceiling that nothing fits under is refused before anything is written.
TEST(Memory, TheCeilingChoosesOrRefuses) {
  const MemoryInputs inputs{1'000'000, Precision::f32, 1, 0, 0};
  const auto bytes = [](const StepShape& s) {
    return static_cast<uint64_t>(s.micro_batch) * (s.checkpointing == Checkpointing::none    ? 8'000'000u
                                                   : s.checkpointing == Checkpointing::cheap ? 4'000'000u
                                                                                             : 1'000'000u);
  };
  const uint64_t fixed = plan_memory(inputs, 0).total();
  const auto fit = [&](uint64_t room) {
    return fit_step({8, Checkpointing::none}, inputs, fixed + room, bytes);
  };
  EXPECT_EQ(fit(64'000'000).checkpointing, Checkpointing::none);
  EXPECT_EQ(fit(63'000'000).checkpointing, Checkpointing::cheap);
  EXPECT_EQ(fit(9'000'000).checkpointing, Checkpointing::block);
  EXPECT_EQ(fit(7'000'000).micro_batch, 4);
  testing::TemporaryFolder folder;
  CommonOptions common;
  common.memory.bytes = 1 << 20;
  auto refused = pretrain(tiny(folder.file("run")), common);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().paragraph().find("1.0 MB are allowed"), std::string::npos)
      << refused.error().paragraph();
  EXPECT_FALSE(exists(folder.file("run")));
}

TEST(Checkpoints, EveryMthStaysAndEarlyStopTakesTheBest) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("run"));
  options.steps = 12;
  options.save_every = 1;
  options.keep = 2;
  options.keep_every = 5;
  ASSERT_TRUE(pretrain(options, {}).ok());
  for (int step = 1; step <= 12; ++step)
    EXPECT_EQ(exists(options.out + "/checkpoints/step-" + std::to_string(step)), step % 5 == 0 || step > 10)
        << step;
  // At this rate the held-out loss soon rises.
  write_corpus(folder.file("heldout"), 12, 200);
  PretrainOptions stopping = tiny(folder.file("stopped"));
  stopping.steps = 60;
  stopping.schedule = "constant";
  stopping.lr = 3e-3;
  stopping.evaluate_data = {folder.file("heldout.bin"), data("data/blocks.safetensors")};
  stopping.evaluate_data.resize(1);
  stopping.evaluate_every = 2;
  stopping.early_stop = 3;
  auto report = pretrain(stopping, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_LT(report->steps, 60);
  EXPECT_TRUE(report->summary["stopped_early"].as_bool());
  // The result is the best evaluation's, not the last's.
  PretrainOptions check = tiny(folder.file("check"));
  check.model = stopping.out + "/final";
  check.steps = 1;
  check.lr = 0;
  check.evaluate_data = stopping.evaluate_data;
  auto checked = pretrain(check, {});
  ASSERT_TRUE(checked.ok());
  ASSERT_FALSE(report->summary["best_step"].is_null());
  EXPECT_NEAR(*checked->first_held_out_loss, report->summary["best_held_out_loss"].as_double(), 1e-6);
}

TEST(HeldOutSources, EachHasItsFigures) {
  testing::TemporaryFolder folder;
  write_corpus(folder.file("a"), 12, 60);
  write_corpus(folder.file("b"), 12, 200);
  PretrainOptions options = tiny(folder.file("run"));
  options.evaluate_data = {folder.file("a.bin"), folder.file("b.bin")};
  ASSERT_TRUE(pretrain(options, {}).ok());
  const Json last = metrics(options.out).back();
  EXPECT_NE(last["evaluate"]["a.bin"]["loss"].as_double(), last["evaluate"]["b.bin"]["loss"].as_double());
  EXPECT_GT(last["evaluate"]["b.bin"]["perplexity"].as_double(), 1);
}

TEST(Precision, LostUpdatesAreCounted) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("pure"));
  options.precision = "bf16-pure";
  options.lr = 1e-5;
  ASSERT_TRUE(pretrain(options, {}).ok());
  options.out = folder.file("stochastic");
  options.precision = "bf16-stochastic";
  ASSERT_TRUE(pretrain(options, {}).ok());
  const auto pure = column(folder.file("pure"), "updates_lost"),
             by_chance = column(folder.file("stochastic"), "updates_lost");
  EXPECT_GT(pure[3], 0.8) << "1e-5 is far below a bf16 step of most weights";
  EXPECT_LE(pure[3], 1);
  EXPECT_GT(by_chance[3], 0.3);
  EXPECT_LT(by_chance[3], pure[3]);
  EXPECT_FALSE(metrics(folder.file("pure"))[0]["updates_lost"].is_null());
}

TEST(NotFinite, TheStepAndTheLayerAreNamed) {
  testing::TemporaryFolder folder;
  PretrainOptions options = tiny(folder.file("run"));
  options.lr = 1e30;
  options.clip = 0;
  options.schedule = "constant";
  auto report = pretrain(options, {});
  ASSERT_FALSE(report.ok());
  const std::string text = report.error().paragraph();
  EXPECT_NE(text.find("step 2"), std::string::npos) << text;
  EXPECT_TRUE(text.find("layer") != std::string::npos || text.find("model.") != std::string::npos) << text;
  EXPECT_EQ(report.error().code(), Code::failed);
}

// ---- in child processes ---------------------------------------------------------------------------------

TEST(Features, DISABLED_Child) {
  const char* out = std::getenv("BM_TRAIN_OUT");
  const char* kind = std::getenv("BM_TRAIN_KIND");
  if (!out || !kind) GTEST_SKIP() << "run by the tests below";
  PretrainOptions options = tiny(out);
  CommonOptions common;
  common.threads = 1;
  if (std::string(kind) == "disk") {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{200'000, 200'000};  // a file that a checkpoint needs is larger
    setrlimit(RLIMIT_FSIZE, &limit);
    options.save_every = 2;
  } else if (std::string(kind) == "memory") {
    options.model = std::string(out) + ".model";
    options.data = std::string(out) + ".data.bin";
    options.sequence_length = 128;
    options.micro_batch = 16;
    options.accumulate = 1;
    options.steps = 2;
    common.memory.bytes = std::stoull(std::getenv("BM_TRAIN_MEMORY"));
  } else {
    options.ranks = std::stoi(kind);
    options.accumulate = 3;
    options.precision = std::getenv("BM_TRAIN_PRECISION");
    options.save_every = 3;
    if (const char* steps = std::getenv("BM_TRAIN_STEPS")) options.steps = std::stoi(steps);
    signal(SIGTERM, [](int) { request_stop(); });
  }
  auto report = pretrain(options, common);
  if (!report.ok()) std::fprintf(stderr, "%s\n", report.error().paragraph().c_str());
  if (std::string(kind) == "memory")
    (void)write_file_atomic(std::string(out) + ".peak", std::to_string(peak_resident_memory()));
  std::fflush(nullptr);
  _exit(report.ok()                                  ? 0
        : report.error().code() == Code::bad_input   ? 2
        : report.error().code() == Code::interrupted ? 130
                                                     : 1);
}

pid_t start_child(const std::string& out, const std::string& kind, const std::string& errors,
                  const std::string& precision) {
  pid_t child = fork();
  if (child == 0) {
    setenv("BM_TRAIN_OUT", out.c_str(), 1);
    setenv("BM_TRAIN_KIND", kind.c_str(), 1);
    setenv("BM_TRAIN_PRECISION", precision.c_str(), 1);
    dup2(open("/dev/null", O_WRONLY), 1);
    dup2(open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), 2);
    execl("/proc/self/exe", "child", "--gtest_also_run_disabled_tests",
          "--gtest_filter=Features.DISABLED_Child", nullptr);
    _exit(99);
  }
  return child;
}

int wait_child(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int run_child(const std::string& out, const std::string& kind, const std::string& errors = "/dev/null",
              const std::string& precision = "f32") {
  return wait_child(start_child(out, kind, errors, precision));
}

TEST(Ranks, SeeTheSameDataAndTheSameLosses) {
  testing::TemporaryFolder folder;
  for (const char* precision : {"f32", "bf16-masters"}) {
    std::vector<double> one;
    for (int ranks : {1, 2, 4}) {
      const std::string out = folder.file(std::string(precision) + std::to_string(ranks));
      ASSERT_EQ(run_child(out, std::to_string(ranks), folder.file("errors"), precision), 0)
          << *read_file(folder.file("errors"));
      const auto losses = column(out, "loss");
      ASSERT_EQ(losses.size(), 8u);
      if (ranks == 1) one = losses;
      for (size_t i = 0; i < losses.size(); ++i)
        EXPECT_NEAR(losses[i], one[i], 1e-5) << ranks << " step " << i + 1;
      EXPECT_EQ(column(out, "tokens"), column(folder.file(std::string(precision) + "1"), "tokens"));
      EXPECT_TRUE(exists(out + "/final/model.safetensors"));
    }
  }
}

// A checkpoint does not know how many ranks wrote it. SIGTERM to the job ends all ranks with one.
TEST(Ranks, AnotherNumberGoesOn) {
  testing::TemporaryFolder folder;
  setenv("BM_TRAIN_STEPS", "60", 1);
  EXPECT_EQ(run_child(folder.file("straight"), "1"), 0);
  const std::string out = folder.file("stopped");
  const pid_t child = start_child(out, "2", folder.file("errors"), "f32");
  for (int i = 0; i < 20000 && metrics(out).size() < 10; ++i) usleep(1000);
  kill(child, SIGTERM);
  EXPECT_EQ(wait_child(child), 130) << *read_file(folder.file("errors"));
  const size_t stopped = metrics(out).size();
  EXPECT_LT(stopped, 60u);
  EXPECT_TRUE(exists(out + "/checkpoints/step-" + std::to_string(stopped)));
  EXPECT_EQ(run_child(out, "1"), 0);
  unsetenv("BM_TRAIN_STEPS");
  const auto expected = column(folder.file("straight"), "loss"), got = column(out, "loss");
  ASSERT_EQ(got.size(), 60u);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4) << i;
}

TEST(Disk, AFullOneDoesNotEndTheRunBeforeItsEnd) {
  testing::TemporaryFolder folder;
  const std::string out = folder.file("run");
  EXPECT_EQ(run_child(out, "disk", folder.file("errors")), 1);
  EXPECT_EQ(metrics(out).size(), 8u) << "steps go on without their checkpoints";
  EXPECT_FALSE(exists(out + "/final"));
  EXPECT_FALSE(exists(out + "/checkpoints/partial"));
  ASSERT_EQ(run_child(out, "1"), 2) << "other options are refused";
}

// The plan is held: the process never has more than the ceiling it was given.
TEST(Memory, PlanIsHeld) {
  testing::TemporaryFolder folder;
  const std::string out = folder.file("run");
  RandomModelShape shape;
  shape.vocab = 1000, shape.hidden = 128, shape.intermediate = 352, shape.layers = 6, shape.heads = 4;
  shape.kv_heads = 2, shape.head_dim = 32, shape.max_positions = 128;
  ASSERT_TRUE(write_random_model(out + ".model", shape, DType::f32, 1).ok());
  auto writer = MegatronWriter::create(out + ".data", 1000);
  ASSERT_TRUE(writer.ok());
  std::vector<int32_t> tokens(128 * 64);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 999);
  ASSERT_TRUE(writer->add_sequence(tokens).ok());
  ASSERT_TRUE(writer->commit().ok());
  for (const char* ceiling : {"157286400", "94371840"}) {
    setenv("BM_TRAIN_MEMORY", ceiling, 1);
    ASSERT_EQ(run_child(out, "memory", folder.file("errors")), 0) << *read_file(folder.file("errors"));
    const uint64_t peak = std::stoull(*read_file(out + ".peak"));
    EXPECT_LE(peak, std::stoull(ceiling)) << "of " << ceiling;
    EXPECT_GE(peak, std::stoull(ceiling) / 4);
    ASSERT_TRUE(remove_all(out).ok());
  }
}

}  // namespace
}  // namespace bm
