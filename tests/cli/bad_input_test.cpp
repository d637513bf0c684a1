// Bad input through the front door: each gets a message that names the place and the cure, exit code 2
// or 1, and loses nothing that was finished.
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

#include "base/json.h"
#include "cli/program.h"

namespace bm {
namespace {

using testing::run_program;

class BadInput : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder_;

  std::string bundled() const { return testing::source_path("data/demo/stories260k"); }

  // A writable copy of the bundled model.
  std::string model(const std::string& name) {
    std::string path = folder_.file(name);
    fs::copy(bundled(), path, fs::copy_options::recursive);
    return path;
  }
  void edit_config(const std::string& model, const std::string& key, const Json& value) {
    Json config = *read_json_file(model + "/config.json");
    if (value.is_null())
      config.erase(key);
    else
      config.set(key, value);
    ASSERT_TRUE(write_file_atomic(model + "/config.json", config.dump_pretty()).ok());
  }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file_atomic(folder_.file(name), text).ok());
  }
  // Scores one token with the model: the shortest way through loading and running it.
  static testing::ProgramRun score(const std::string& model) {
    return run_program("score " + model, "{\"id\":\"a\",\"prompt_ids\":[1,5],\"next\":1}\n");
  }
  static void expect_refused(const testing::ProgramRun& run, std::initializer_list<const char*> said) {
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_EQ(run.out, "");
    for (const char* word : said)
      EXPECT_NE(run.err.find(word), std::string::npos) << word << " in: " << run.err;
    EXPECT_EQ(run.err.find("std::"), std::string::npos) << run.err;
  }
};

TEST_F(BadInput, TheBundledModelIsFine) { EXPECT_EQ(score(bundled()).code, 0); }

TEST_F(BadInput, TruncatedWeights) {
  std::string path = model("m");
  std::string weights = *read_file(path + "/model.safetensors");
  for (size_t size : {size_t{0}, size_t{5}, size_t{100}, weights.size() / 2, weights.size() - 1}) {
    ASSERT_TRUE(write_file_atomic(path + "/model.safetensors", weights.substr(0, size)).ok());
    expect_refused(score(path), {"model.safetensors"});
  }
}

TEST_F(BadInput, LyingHeader) {
  std::string path = model("m");
  std::string weights = *read_file(path + "/model.safetensors");
  size_t shape = weights.find("\"shape\":[");
  ASSERT_NE(shape, std::string::npos);
  weights[shape + 9] = weights[shape + 9] == '9' ? '8' : '9';
  ASSERT_TRUE(write_file_atomic(path + "/model.safetensors", weights).ok());
  expect_refused(score(path), {"model.safetensors"});
}

TEST_F(BadInput, MissingShardAndIndexOutsideTheFolder) {
  std::string path = model("m");
  ASSERT_TRUE(rename_path(path + "/model.safetensors", path + "/model-00001-of-00002.safetensors").ok());
  auto index = [&](const std::string& shard) {
    Json map = Json::object(
        {{"model.norm.weight", "model-00001-of-00002.safetensors"}, {"model.embed_tokens.weight", shard}});
    ASSERT_TRUE(write_file_atomic(path + "/model.safetensors.index.json",
                                  Json::object({{"metadata", Json::object()}, {"weight_map", map}}).dump())
                    .ok());
  };
  index("model-00002-of-00002.safetensors");
  expect_refused(score(path), {"model-00002-of-00002.safetensors"});
  ASSERT_TRUE(
      copy_file(path + "/model-00001-of-00002.safetensors", folder_.file("outside.safetensors")).ok());
  index("../outside.safetensors");
  expect_refused(score(path), {"../outside.safetensors"});
}

TEST_F(BadInput, ConfigWithoutAKeyOrOfAnotherArchitecture) {
  for (const char* key :
       {"hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size"}) {
    std::string path = model(std::string("without_") + key);
    edit_config(path, key, Json());
    expect_refused(score(path), {key, "config.json"});
  }
  std::string path = model("unknown");
  edit_config(path, "model_type", "gpt_bigcode");
  edit_config(path, "architectures", Json::array({Json("GPTBigCodeForCausalLM")}));
  expect_refused(score(path), {"GPTBigCodeForCausalLM", "mistral", "llama"});
}

TEST_F(BadInput, VocabularyLargerThanTheEmbedding) {
  std::string path = model("m");
  edit_config(path, "vocab_size", Json(600));
  expect_refused(score(path), {"embed_tokens", "600", "512"});
}

TEST_F(BadInput, IdsOutOfRangeAndBrokenLinesKeepTheirPlace) {
  auto run = run_program("score " + bundled(),
                         "{\"id\":\"a\",\"prompt_ids\":[1,5],\"next\":1}\n"
                         "{\"id\":\"b\",\"prompt_ids\":[1,512],\"next\":1}\n"
                         "{\"id\":\"c\",\"prompt_ids\":[1,6],\"next\":1}\n");
  EXPECT_EQ(run.code, 3) << run.err;
  std::vector<std::string> lines = split(run.out, '\n');
  ASSERT_EQ(lines.size(), 4u) << run.out;
  EXPECT_FALSE(parse_json(lines[0])->contains("error"));
  EXPECT_TRUE(parse_json(lines[1])->contains("error"));
  EXPECT_EQ((*parse_json(lines[1]))["id"], Json("b"));
  EXPECT_FALSE(parse_json(lines[2])->contains("error"));
}

TEST_F(BadInput, EmptyCorpusAndXmlThatIsNoXml) {
  ASSERT_TRUE(make_directories(folder_.file("empty")).ok());
  std::string tokenizer = " --tokenizer " + bundled();
  auto empty =
      run_program("corpus build " + folder_.file("empty") + " --out " + folder_.file("out1") + tokenizer);
  EXPECT_EQ(empty.code, 2) << empty.err;
  EXPECT_NE(empty.err.find("empty"), std::string::npos);
  write("junk.xml", "this is no XML <<<");
  auto junk =
      run_program("corpus extract " + folder_.file("junk.xml") + " --ledger " + folder_.file("ledger.jsonl"));
  EXPECT_EQ(junk.out, "");
  auto ledger = parse_json(split(*read_file(folder_.file("ledger.jsonl")), '\n')[0]);
  ASSERT_TRUE(ledger.ok());
  EXPECT_EQ((*ledger)["status"], Json("broken"));
  EXPECT_NE((*ledger)["reason"].as_string(), "");
}

TEST_F(BadInput, ArchiveThatClimbsOutOfItsFolder) {
  ASSERT_TRUE(make_directories(folder_.file("in/sub")).ok());
  write("in/evil.xml", "<article/>");
  std::string make = "cd '" + folder_.file("in/sub") + "' && tar -P -cf ../../evil.tar ../evil.xml";
  ASSERT_EQ(std::system(make.c_str()), 0);
  auto run =
      run_program("corpus extract " + folder_.file("evil.tar") + " --ledger " + folder_.file("ledger.jsonl"));
  EXPECT_EQ(run.out, "");
  EXPECT_NE(read_file(folder_.file("ledger.jsonl"))->find("../evil.xml"), std::string::npos);
  EXPECT_FALSE(exists(folder_.file("evil.xml")));
}

TEST_F(BadInput, RecipeWithAMisspeltKey) {
  write("r.yaml",
        "base: {model: " + bundled() + "}\nstages:\n  - pretrain: {model: base, data: x, step: 5}\n");
  auto run = run_program("run " + folder_.file("r.yaml") + " " + folder_.file("out"));
  expect_refused(run, {"r.yaml", "line 3", "\"step\"", "steps"});
  EXPECT_FALSE(exists(folder_.file("out")));
  write("s.yaml",
        "base: {model: " + bundled() +
            "}\nstages:\n  - quantize: {model: merged, method: nf4}\n  - merge: {name: merged, config: x}\n");
  expect_refused(run_program("run " + folder_.file("s.yaml") + " " + folder_.file("out")),
                 {"merged", "after"});
  write("t.yaml", "base: {model: " + bundled() + "}\nstages:\n  - pretran: {}\n");
  expect_refused(run_program("run " + folder_.file("t.yaml") + " " + folder_.file("out")),
                 {"pretran", "pretrain"});
}

TEST_F(BadInput, OutputThatCannotBeWritten) {
  write("file", "I am a file");
  auto run = run_program("quantize " + bundled() + " " + folder_.file("file/out") + " --method nf4");
  EXPECT_TRUE(run.code == 1 || run.code == 2) << run.err;
  EXPECT_NE(run.err.find("file/out"), std::string::npos) << run.err;
  auto onto = run_program("quantize " + bundled() + " " + folder_.file("file") + " --method nf4");
  EXPECT_EQ(onto.code, 2) << onto.err;
  EXPECT_EQ(*read_file(folder_.file("file")), "I am a file");
}

// A file-size limit stands in for a full disk: writes fail half-way with an error.
TEST_F(BadInput, FullDiskFailsKeepsNothingHalfAndResumes) {
  std::string arguments = "convert " + bundled() + " " + folder_.file("out") + " --to safetensors";
  std::string limited = "ulimit -f 256; '" + testing::program() + "' " + arguments + " >/dev/null 2>'" +
                        folder_.file("err") + "'";
  int status = std::system(("bash -c \"" + limited + "\"").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1) << *read_file(folder_.file("err"));
  EXPECT_FALSE(exists(folder_.file("out/model.safetensors")));
  auto again = run_program(arguments);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(score(folder_.file("out")).code, 0);
}

TEST_F(BadInput, FinishedOutputIsLeftAloneAndOtherOptionsRefused) {
  std::string out = folder_.file("out");
  auto first = run_program("quantize " + bundled() + " " + out + " --method nf4");
  ASSERT_EQ(first.code, 0) << first.err;
  std::string manifest = *read_file(out + "/manifest.json");
  auto second = run_program("quantize " + bundled() + " " + out + " --method nf4");
  EXPECT_EQ(second.code, 0);
  EXPECT_NE((second.out + second.err).find("already complete"), std::string::npos) << second.err;
  auto other = run_program("quantize " + bundled() + " " + out + " --method nf4 --block 128");
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("block"), std::string::npos) << other.err;
  EXPECT_EQ(*read_file(out + "/manifest.json"), manifest);
}

}  // namespace
}  // namespace bm
