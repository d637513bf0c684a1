#include "base/stage.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/threads.h"
#include "paths.h"

namespace bm {
namespace {

StageIdentity identity(int steps) {
  StageIdentity id;
  id.verb = "pretrain";
  id.options = Json::object({{"steps", steps}, {"lr", 1e-4}});
  id.inputs.push_back({"data", "somewhere", "abc"});
  return id;
}

TEST(StageFolder, FreshResumedCompleteAndRefused) {
  testing::TemporaryFolder temporary;
  std::string out = temporary.file("out");
  auto fresh = StageFolder::open(out, identity(10), false);
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(fresh->state(), StageFolder::State::fresh);
  EXPECT_FALSE(read_manifest(out).ok());  // not finished

  auto resumed = StageFolder::open(out, identity(10), false);
  ASSERT_TRUE(resumed.ok());
  EXPECT_EQ(resumed->state(), StageFolder::State::resumed);
  ASSERT_TRUE(resumed->finish(Json::object({{"loss", 1.5}})).ok());

  auto complete = StageFolder::open(out, identity(10), false);
  ASSERT_TRUE(complete.ok());
  EXPECT_EQ(complete->state(), StageFolder::State::complete);
  EXPECT_EQ((*read_manifest(out))["results"]["loss"].as_double(), 1.5);

  auto other = StageFolder::open(out, identity(20), false);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code(), Code::bad_input);
  EXPECT_NE(other.error().what().find("--steps was 10, now 20"), std::string::npos);

  StageIdentity changed = identity(10);
  changed.inputs[0].sha256 = "def";
  auto input = StageFolder::open(out, changed, false);
  ASSERT_FALSE(input.ok());
  EXPECT_NE(input.error().what().find("\"data\""), std::string::npos);

  auto replaced = StageFolder::open(out, identity(20), true);
  ASSERT_TRUE(replaced.ok());
  EXPECT_EQ(replaced->state(), StageFolder::State::fresh);
}

TEST(StageFolder, ForeignFolderIsLeftAlone) {
  testing::TemporaryFolder temporary;
  ASSERT_TRUE(write_file_atomic(temporary.file("thesis.txt"), "mine").ok());
  for (bool overwrite : {false, true}) {
    auto folder = StageFolder::open(temporary.path(), identity(1), overwrite);
    ASSERT_FALSE(folder.ok());
  }
  EXPECT_EQ(*read_file(temporary.file("thesis.txt")), "mine");
}

// What a kill leaves between a temporary file and its rename neither blocks the next run nor stays.
TEST(StageFolder, AbandonedTemporariesAreCleared) {
  testing::TemporaryFolder temporary;
  std::string out = temporary.file("out");
  ASSERT_TRUE(make_directories(out).ok());
  ASSERT_TRUE(write_file_atomic(out + "/manifest.json.tmp-4711", "{").ok());
  auto fresh = StageFolder::open(out, identity(10), false);
  ASSERT_TRUE(fresh.ok()) << fresh.error().paragraph();
  EXPECT_FALSE(exists(out + "/manifest.json.tmp-4711"));
  ASSERT_TRUE(write_file_atomic(out + "/model.safetensors.tmp-4711", "half").ok());
  ASSERT_TRUE(write_file_atomic(out + "/notes.tmp-file", "mine").ok());
  auto resumed = StageFolder::open(out, identity(10), false);
  ASSERT_TRUE(resumed.ok());
  EXPECT_FALSE(exists(out + "/model.safetensors.tmp-4711"));
  EXPECT_TRUE(exists(out + "/notes.tmp-file"));
}

TEST(Files, AtomicWriteKeepsTheOldOneUntilCommit) {
  testing::TemporaryFolder temporary;
  std::string path = temporary.file("a");
  ASSERT_TRUE(write_file_atomic(path, "old").ok());
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->append(std::string(3 << 20, 'x')).ok());
  }
  EXPECT_EQ(*read_file(path), "old");
  EXPECT_EQ(list_files(temporary.path())->size(), 1u);  // the temporary is gone
  auto missing = write_file_atomic(temporary.file("no/such/folder"), "x");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code(), Code::bad_input);
}

TEST(Files, FullDiskIsAFailureThatSaysSo) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  auto mapped = MappedFile::open("/dev/full");
  ASSERT_FALSE(mapped.ok());
  EXPECT_NE(mapped.error().what().find("regular file"), std::string::npos);
}

TEST(Hash, Sha256KnownAnswer) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  testing::TemporaryFolder temporary;
  ASSERT_TRUE(write_file_atomic(temporary.file("x"), "abc").ok());
  EXPECT_EQ(*sha256_file(temporary.file("x")), sha256_hex("abc"));
  std::string before = *sha256_path(temporary.path());
  ASSERT_TRUE(rename_path(temporary.file("x"), temporary.file("y")).ok());
  EXPECT_NE(*sha256_path(temporary.path()), before);
}

TEST(Threads, EveryTaskOnceWhateverTheThreads) {
  for (int threads : {1, 2, 5}) {
    set_thread_count(threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::atomic<int>> hits(97);
      parallel_for(hits.size(), [&](size_t i) {
        ++hits[i];
        parallel_for(2, [&](size_t) {});  // nested: runs here
      });
      for (auto& hit : hits) ASSERT_EQ(hit.load(), 1);
    }
  }
  set_thread_count(0);
}

TEST(Options, TextJsonAndNearestKey) {
  struct {
    int64_t steps = 5;
    double rate = 0.1;
    bool clip = true;
    std::string order = "shuffled";
    ByteSize memory;
    std::vector<std::string> tasks;
    std::optional<int64_t> group;
  } o;
  Fields f;
  f.add("steps", o.steps, "")
      .add("rate", o.rate, "")
      .add("clip", o.clip, "")
      .add("order", o.order, "", {.choices = {"shuffled", "sequential"}});
  f.add("memory-size", o.memory, "").add("tasks", o.tasks, "").add("group", o.group, "");
  Json good = *parse_json(
      R"({"steps": 7, "rate": 2, "clip": false, "order": "sequential", "memory_size": "1.5K", "tasks": ["a", "b"], "group": 64})");
  ASSERT_TRUE(f.set_from(good).ok());
  EXPECT_EQ(o.steps, 7);
  EXPECT_EQ(o.rate, 2.0);
  EXPECT_FALSE(o.clip);
  EXPECT_EQ(o.memory.bytes, 1536u);
  EXPECT_EQ(o.tasks.size(), 2u);
  EXPECT_EQ(*o.group, 64);
  auto unknown = f.set_from(*parse_yaml("x: 1\nordre: shuffled\n"), std::vector<std::string>{"x"});
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().paragraph().find("line 2"), std::string::npos);
  EXPECT_NE(unknown.error().paragraph().find("\"order\""), std::string::npos);
  EXPECT_FALSE(f.find("steps")->set_text("7x").ok());
  EXPECT_FALSE(f.find("order")->set_text("random").ok());
}

}  // namespace
}  // namespace bm
