// Properties of merges, resume, shards, side files, warnings.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <thread>

#include "base/threads.h"
#include "merging/output.h"
#include "tiny_models.h"

namespace bm::testing {
namespace {

const std::string kName = "model.layers.1.mlp.up_proj.weight";

// semantics.md 1.1: toy vectors.
TEST(Merge, SlerpEndsAndToyValues) {
  TinyMerge models;
  ASSERT_TRUE(models.run(slerp_yaml("0"), "zero").ok());
  ASSERT_TRUE(models.run(slerp_yaml("1"), "one").ok());
  EXPECT_EQ(models.tensor("zero", kName), models.tensor("base", kName));
  EXPECT_EQ(models.tensor("one", kName), models.tensor("a", kName));

  struct Toy {
    std::vector<float> a, b;
    double t;
    std::vector<double> expected;
  };
  for (const Toy& toy :
       {Toy{{1, 2, 3, 4}, {4, 3, 2, 1}, .5, {2.7386127875, 2.7386127875, 2.7386127875, 2.7386127875}},
        Toy{{1, 2, 3, 4}, {4, 3, 2, 1}, .25, {1.9114047272, 2.4226651427, 2.9339255582, 3.4451859738}},
        Toy{{1, 0, 0}, {2, 0, 0}, .25, {1.25, 0, 0}}, Toy{{1, 0, 0}, {-1, 0, 0}, .25, {.5, 0, 0}}}) {
    TensorProblem p;
    auto size = static_cast<int64_t>(toy.a.size());
    p.shape = {size};
    for (const auto* x : {&toy.a, &toy.b})
      p.inputs.emplace_back(
          TensorView{DType::f32, {size}, reinterpret_cast<const std::byte*>(x->data()), nullptr},
          Rounding::none);
    p.base = 0;
    p.method = *find_merge_method("slerp");
    p.parameters = {{"t", toy.t}};
    p.per_input.resize(2);
    auto block = prepare_slerp(p);
    ASSERT_TRUE(block.ok());
    std::vector<float> out(toy.a.size());
    (*block)(0, size, out.data());
    for (size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], toy.expected[i], 1e-6);
  }
}

TEST(Merge, DensityOneAndLoneTaskVector) {
  TinyMerge models;
  // One task vector, density 1: the fine-tuned model itself, whatever the weight.
  std::string yaml =
      "models:\n- model: ./a\n  parameters: {weight: 0.3, density: 1}\nmerge_method: ties\nbase_model: "
      "./base\ndtype: float32\n";
  auto report = models.run(yaml, "lone");
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto merged = models.tensor("lone", kName), tuned = models.tensor("a", kName);
  for (size_t i = 0; i < merged.size(); ++i) ASSERT_NEAR(merged[i], tuned[i], 1e-6);
  ASSERT_EQ(report->lints.size(), 1u);
  EXPECT_NE(report->lints[0].text.find("`weight` has no effect"), std::string::npos);
}

// Listing the models in another order changes nothing, random masks included.
TEST(Merge, OrderOfModelsDoesNotMatter) {
  TinyMerge models;
  auto entry = [](const std::string& name, const std::string& values) {
    return "- model: ./" + name + "\n  parameters: {" + values + "}\n";
  };
  for (const std::string method :
       {"ties", "dare_ties", "dare_linear", "della", "breadcrumbs", "linear", "model_stock", "karcher"}) {
    SCOPED_TRACE(method);
    bool plain = method == "model_stock" || method == "karcher" || method == "linear";
    std::string a =
        entry("a", plain ? (method == "linear" ? "weight: 0.25" : "") : "weight: 0.25, density: 0.5");
    std::string b =
        entry("b", plain ? (method == "linear" ? "weight: 0.75" : "") : "weight: 0.75, density: 0.6");
    std::string tail = "merge_method: " + method + "\ndtype: float32\n" +
                       (method == "karcher" || method == "linear" ? "" : "base_model: ./base\n");
    ASSERT_TRUE(models.run("models:\n" + a + b + tail, method + "1").ok());
    ASSERT_TRUE(models.run("models:\n" + b + a + tail, method + "2").ok());
    auto x = models.tensor(method + "1", kName), y = models.tensor(method + "2", kName);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 2e-6);
  }
}

// Tensors of several blocks: any number of threads gives the same bytes, in every method.
TEST(Merge, ThreadsDoNotMatter) {
  TinyMerge models(700, 100);
  const std::vector<std::string> yamls = {
      slerp_yaml("[0.2, 0.7]"), kTiesYaml,
      "models:\n- model: ./a\n  parameters: {weight: 0.6, density: 0.5}\n- model: ./b\n  parameters: "
      "{weight: 0.4, density: 0.3}\n"
      "merge_method: dare_ties\nbase_model: ./base\ndtype: bfloat16\n",
      "models:\n- model: ./a\n  parameters: {weight: 0.6}\n- model: ./b\n  parameters: {weight: "
      "0.4}\nparameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n"
      "merge_method: nuslerp\ndtype: float32\n",
      "models:\n- model: ./base\n- model: ./a\n- model: ./b\nparameters: {select_topk: 0.3}\nmerge_method: "
      "sce\nbase_model: ./base\ndtype: float32\n"};
  for (size_t i = 0; i < yamls.size(); ++i)
    for (const std::string mode : {"corrected", "peer"}) {
      CommonOptions common;
      common.mode = mode;
      std::string name = mode + std::to_string(i);
      set_thread_count(1);
      ASSERT_TRUE(models.run(yamls[i], name + "one", common).ok());
      set_thread_count(3);
      ASSERT_TRUE(models.run(yamls[i], name + "three", common).ok());
      set_thread_count(0);
      EXPECT_TRUE(models.weights(name + "one") == models.weights(name + "three")) << name;
    }
}

// Puts a finished merge back into the state of one that was cut off after `tensors` tensors.
void cut_off(const std::string& out, const std::vector<std::string>& tensors,
             const std::map<std::string, std::string>& sums) {
  ASSERT_TRUE(rename_path(out + "/model.safetensors", out + "/.merge-model.safetensors").ok());
  std::string journal;
  for (const std::string& name : tensors)
    journal += "{\"tensor\":\"" + name + "\",\"checksum\":\"" + sums.at(name) + "\"}\n";
  ASSERT_TRUE(write_file_atomic(out + "/.merge-journal", journal + "{\"tensor\":\"mod").ok());
  Json manifest = *read_json_file(out + "/manifest.json");
  manifest.set("status", "running");
  ASSERT_TRUE(write_file_atomic(out + "/manifest.json", manifest.dump()).ok());
}

TEST(Merge, ResumesAndVerifiesWhatLiesThere) {
  TinyMerge models;
  const std::string yaml =
      "models:\n- model: ./a\n  parameters: {weight: 0.6, density: 0.5}\n- model: ./b\n  parameters: "
      "{weight: 0.4, density: 0.3}\n"
      "merge_method: dare_linear\nbase_model: ./base\ndtype: float32\n";
  CommonOptions peer;  // the one random stream must stand where it stood
  peer.mode = "peer";
  ASSERT_TRUE(models.run(yaml, "out", peer).ok());
  std::string whole = models.weights("out"), out = models.file("out");
  std::map<std::string, std::string> sums;
  std::vector<std::string> done;
  auto file = SafetensorsFile::open(out + "/model.safetensors");
  for (const auto& entry : file->entries()) {
    sums[entry.name] = std::to_string(combine_checksums({block_checksum(file->view(entry).span())}));
    if (done.size() < 9) done.push_back(entry.name);
  }
  cut_off(out, done, sums);
  // Damage one tensor that the journal calls done and all that it does not name.
  std::string bytes = whole;
  for (const auto& entry : file->entries()) {
    bool named = std::find(done.begin(), done.end(), entry.name) != done.end();
    if (!named || entry.name == done[4])
      std::memset(bytes.data() + (bytes.size() - file->entries().back().end) + entry.begin, 0x55, 40);
  }
  ASSERT_TRUE(write_file_atomic(out + "/.merge-model.safetensors", bytes).ok());
  auto report = models.run(yaml, "out", peer);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_FALSE(report->already_complete);
  EXPECT_TRUE(models.weights("out") == whole);
  EXPECT_FALSE(exists(out + "/.merge-journal"));
  auto again = models.run(yaml, "out", peer);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
}

TEST(Merge, SurvivesSigkill) {
  TinyMerge models(900, 120);
  ASSERT_TRUE(models.run(kTiesYaml, "whole").ok());
  for (int attempt = 0; attempt < 6; ++attempt) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      set_thread_count(1);
      auto report = models.run(kTiesYaml, "killed");
      _exit(report.ok() ? 0 : 1);
    }
    usleep(static_cast<useconds_t>(3000 + 9000 * attempt));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    }
  }
  auto report = models.run(kTiesYaml, "killed");
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_TRUE(models.weights("killed") == models.weights("whole"));
}

TEST(Merge, RefusesAnotherRunsFolder) {
  TinyMerge models;
  ASSERT_TRUE(models.run(slerp_yaml("0.3"), "out").ok());
  auto other = models.run(slerp_yaml("0.4"), "out");
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code(), Code::bad_input);
  CommonOptions overwrite;
  overwrite.overwrite = true;
  EXPECT_TRUE(models.run(slerp_yaml("0.4"), "out", overwrite).ok());
}

// A shard is closed before the tensor that would exceed the limit; one tensor may exceed it alone.
TEST(Merge, Shards) {
  std::vector<TensorSpec> specs;
  for (int64_t size : {4, 4, 20, 1, 1})
    specs.push_back({"t" + std::to_string(specs.size()), DType::f32, {size}});
  ShardPlan plan = plan_merge_shards(specs, 32);
  ASSERT_EQ(plan.tensors.size(), 3u);
  EXPECT_EQ(plan.tensors[0], (std::vector<size_t>{0, 1}));
  EXPECT_EQ(plan.tensors[1], (std::vector<size_t>{2}));
  EXPECT_EQ(plan.tensors[2], (std::vector<size_t>{3, 4}));
  EXPECT_EQ(plan.names[2], "model-00003-of-00003.safetensors");
  EXPECT_EQ(*parse_shard_size("9000"), 9000u);
  EXPECT_EQ(*parse_shard_size("20k"), 20000u);
  EXPECT_EQ(*parse_shard_size("5B"), 5'000'000'000u);
  for (const char* bad : {"", "x", "-1", "5Q", "0", "99999999999999999999", "5kk"})
    EXPECT_FALSE(parse_shard_size(bad).ok()) << bad;

  TinyMerge models;
  MergeOptions options = models.options(slerp_yaml("0.5"), "out");
  options.out_shard_size = "1";
  ASSERT_TRUE(merge(options, {}).ok());
  Json index = *read_json_file(options.out + "/model.safetensors.index.json");
  EXPECT_EQ(index["weight_map"].size(), tiny_names(2).size());
  EXPECT_EQ(index["weight_map"]["lm_head.weight"], Json("model-00001-of-00021.safetensors"))
      << "files follow the order of execution";
}

TEST(Merge, SideFiles) {
  TinyMerge models;
  ASSERT_TRUE(write_file_atomic(models.file("base/tokenizer.json"), "{\"a\": 1}").ok());
  ASSERT_TRUE(write_file_atomic(models.file("base/vocab.json"), "{}").ok());
  ASSERT_TRUE(write_file_atomic(models.file("base/generation_config.json"), "{\"g\": 2}").ok());
  std::string yaml =
      "slices:\n- sources:\n  - {model: ./base, layer_range: [0, 2]}\n- sources:\n  - {model: ./a, "
      "layer_range: [1, 2]}\n"
      "merge_method: passthrough\nbase_model: ./base\ndtype: bfloat16\n";
  ASSERT_TRUE(models.run(yaml, "out").ok());
  Json config = *read_json_file(models.file("out/config.json"));
  EXPECT_EQ(config["num_hidden_layers"], Json(3));
  EXPECT_EQ(config["torch_dtype"], Json("bfloat16"));
  for (const char* name : {"tokenizer.json", "vocab.json", "generation_config.json"})
    EXPECT_EQ(*read_file(models.file("out/") + name), *read_file(models.file("base/") + name)) << name;
  EXPECT_EQ(*read_file(models.file("out/mergekit_config.yml")), yaml);
  std::string card = *read_file(models.file("out/README.md"));
  for (const char* part :
       {"Passthrough", "layer_range: [1, 2]", "./base", "seed: 0", "float32, one rounding"})
    EXPECT_NE(card.find(part), std::string::npos) << part;
  Json manifest = *read_json_file(models.file("out/manifest.json"));
  EXPECT_EQ(manifest["status"], Json("complete"));
  EXPECT_EQ(manifest["results"]["method"], Json("passthrough"));
}

TEST(Merge, DryRunAndLimit) {
  TinyMerge models;
  CommonOptions common;
  common.dry_run = true;
  auto dry = models.run(slerp_yaml("0.5"), "out", common);
  ASSERT_TRUE(dry.ok());
  EXPECT_FALSE(exists(models.file("out")));
  EXPECT_GT(dry->summary["memory_bytes"].as_uint(), 0u);
  common.dry_run = false;
  common.limit = 3;
  ASSERT_TRUE(models.run(slerp_yaml("0.5"), "out", common).ok());
  EXPECT_EQ(SafetensorsFile::open(models.file("out/model.safetensors"))->entries().size(), 3u);
}

TEST(Merge, Lints) {
  TinyMerge models;
  auto lints = [&](const std::string& yaml) {
    static int count = 0;
    CommonOptions dry;
    dry.dry_run = true;
    auto report = models.run(yaml, "lint" + std::to_string(count++), dry);
    EXPECT_TRUE(report.ok()) << report.error().paragraph();
    std::string all;
    for (const Lint& lint : report->lints) all += lint.text + "\n";
    return all;
  };
  EXPECT_EQ(lints(slerp_yaml("0.5")), "");
  EXPECT_NE(lints(slerp_yaml("[{value: 0.5}, {filter: mlp, value: 1}]")).find("never applies"),
            std::string::npos);
  EXPECT_NE(lints(slerp_yaml("[{filter: mlp, value: 1}, {filter: mlp.up, value: 1}, {value: 0}]"))
                .find("\"mlp.up\""),
            std::string::npos);
  EXPECT_NE(lints(slerp_yaml("[{filter: mpl, value: 1}, {value: 0}]")).find("no tensor's name holds \"mpl\""),
            std::string::npos);
  EXPECT_NE(lints(slerp_yaml("1.5")).find("extrapolates"), std::string::npos);
  EXPECT_NE(lints("models:\n- model: ./a\n  parameters: {weight: 1, density: 0.5, gamma: 0}\n- model: ./b\n  "
                  "parameters: {weight: 1}\n"
                  "merge_method: breadcrumbs\nbase_model: ./base\n")
                .find("gamma is 0"),
            std::string::npos);
}

TEST(Merge, MisspeltKeysAreRefusedWithTheNearest) {
  TinyMerge models;
  auto report = models.run(
      "models:\n- model: ./a\n  parameters: {weight: 1, densty: 0.5}\nmerge_method: ties\nbase_model: "
      "./base\n",
      "out");
  ASSERT_FALSE(report.ok());
  std::string message = report.error().paragraph();
  EXPECT_NE(message.find("\"density\""), std::string::npos) << message;
  EXPECT_NE(message.find("line 3"), std::string::npos) << message;
  EXPECT_FALSE(exists(models.file("out")));
}

}  // namespace
}  // namespace bm::testing
