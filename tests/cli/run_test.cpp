// Recipes through the front door: common flags of single stages, and runs killed anywhere.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <map>
#include <thread>

#include "base/json.h"
#include "cli/program.h"

namespace bm {
namespace {

using testing::run_program;

std::string recipe() {
  std::string demo = testing::source_path("data/demo");
  return "base: {model: " + demo + R"(/stories260k}
seed: 7
stages:
  - corpus: {inputs: [)" +
         demo + R"(/articles], tokenizer: base, sequence-length: 64, holdout-articles: 1, limit: 3}
  - pretrain: {model: base, data: corpus, steps: 6, micro-batch: 2, lr: 0.001, save-every: 2}
  - merge:
      name: dare
      models: {parent: base, adapted: pretrain}
      config:
        models:
          - {model: parent}
          - {model: adapted, parameters: {density: 0.5, weight: 0.5}}
        merge_method: dare_ties
        base_model: parent
        dtype: float32
  - quantize:
      {name: awq, model: pretrain, method: awq-gemm, group: 64, calibration: corpus, samples: 2,
       calibration-block: 64}
  - quantize: {name: nf4, model: dare, method: nf4}
  - evaluate:
      {models: [base, dare, awq, nf4], tasks: [medmcqa], data: )" +
         demo + R"(/questions, shots: 0, limit: 6}
  - report: {}
)";
}

// Times, speeds and the last process' share of the work are not results, nor is the folder's own name.
Json without_times(const Json& json, const std::string& out) {
  if (json.is_string()) {
    std::string text = json.as_string();
    return text.starts_with(out) ? Json("OUT" + text.substr(out.size())) : json;
  }
  Json kept = json.is_array() ? Json::array() : Json::object();
  if (json.is_array()) {
    for (const Json& item : json.items()) kept.push_back(without_times(item, out));
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.members())
      if (key.find("second") == std::string::npos && key != "date" && key != "computed_tokens")
        kept.set(key, without_times(value, out));
  } else {
    return json;
  }
  return kept;
}

// What must be the same after any interruption. metrics.jsonl tells the story of a run, cuts included.
std::map<std::string, std::string> results(const std::string& out) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    std::string path = fs::relative(entry.path(), out).string(), name = entry.path().filename().string();
    if (!entry.is_regular_file() || name == "manifest.json" || name == "metrics.jsonl" ||
        name.starts_with("report."))
      continue;
    std::string text = *read_file(entry.path().string());
    Result<Json> json = entry.path().extension() == ".json" ? parse_json(text) : Result<Json>(Json());
    files[path] = json.ok() && !json->is_null() ? without_times(*json, out).dump() : text;
  }
  return files;
}

// Runs the program on the recipe and kills it, with SIGKILL, after that long; true: it ended before.
bool run_for(const std::string& recipe, const std::string& out, std::chrono::milliseconds time) {
  pid_t child = fork();
  if (child == 0) {
    int null = open("/dev/null", O_RDWR);
    for (int fd : {0, 1, 2}) dup2(null, fd);
    execl(testing::program().c_str(), "biomistral", "run", recipe.c_str(), out.c_str(), "--threads", "1",
          nullptr);
    _exit(127);
  }
  auto end = std::chrono::steady_clock::now() + time;
  int status = 0;
  while (std::chrono::steady_clock::now() < end) {
    if (waitpid(child, &status, WNOHANG) == child) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Run, KilledAnywhereItEndsWithTheSameFiles) {
  testing::TemporaryFolder folder;
  std::string file = folder.file("r.yaml"), whole = folder.file("whole"), cut = folder.file("cut");
  ASSERT_TRUE(write_file_atomic(file, recipe()).ok());
  auto run = run_program("run " + file + " " + whole);
  ASSERT_EQ(run.code, 0) << run.err;
  // Ever a little longer, so that the cuts fall at many places and there is always some progress.
  std::chrono::milliseconds time(6);
  int kills = 0;
  while (!run_for(file, cut, time)) {
    time += time / 4 + std::chrono::milliseconds(1);
    ASSERT_LT(++kills, 60);
  }
  EXPECT_GE(kills, 5);
  auto expected = results(whole), found = results(cut);
  EXPECT_GE(expected.size(), 30u);
  for (const auto& [path, bytes] : expected) {
    ASSERT_TRUE(found.contains(path)) << path << " is missing after " << kills << " kills";
    EXPECT_TRUE(found[path] == bytes) << path << " differs after " << kills << " kills";
  }
  for (const auto& [path, bytes] : found) EXPECT_TRUE(expected.contains(path)) << path << " was left behind";
  EXPECT_TRUE(exists(cut + "/report.html"));
}

TEST(Run, AStageMayHaveCommonFlagsOfItsOwn) {
  testing::TemporaryFolder folder;
  std::string demo = testing::source_path("data/demo");
  auto write = [&](const std::string& key) {
    ASSERT_TRUE(
        write_file_atomic(folder.file("r.yaml"), "base: {model: " + demo +
                                                     "/stories260k}\nlimit: 9\nstages:\n  - evaluate: "
                                                     "{models: [base], tasks: [medmcqa], data: " +
                                                     demo + "/questions, shots: 0, " + key + "}\n")
            .ok());
  };
  write("limit: 4");
  auto run = run_program("run " + folder.file("r.yaml") + " " + folder.file("out"));
  ASSERT_EQ(run.code, 0) << run.err;
  size_t lines = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder.file("out")))
    if (entry.path().filename().string().find("medmcqa") != std::string::npos &&
        entry.path().extension() == ".jsonl")
      lines += split(*read_file(entry.path().string()), '\n').size() - 1;
  EXPECT_EQ(lines, 4u);
  for (const char* wrong : {"limits: 4", "dry-run: true"}) {
    write(wrong);
    auto refused = run_program("run " + folder.file("r.yaml") + " " + folder.file("other"));
    EXPECT_EQ(refused.code, 2) << refused.err;
    EXPECT_NE(refused.err.find("line 4"), std::string::npos) << refused.err;
    EXPECT_FALSE(exists(folder.file("other")));
  }
}

}  // namespace
}  // namespace bm
