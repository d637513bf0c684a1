// finetune: its data forms, labels, folders and refusals, on the small bundled model.
#include "training/finetune.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "formats/adapter.h"
#include "formats/checkpoint.h"
#include "model/trainable.h"
#include "paths.h"
#include "training/sft_data.h"

namespace bm {
namespace {

std::string stories() { return testing::source_path("data/demo/stories260k"); }

std::shared_ptr<const Tokenizer> tokenizer() {
  auto loaded = Tokenizer::load(stories());
  EXPECT_TRUE(loaded.ok());
  return *loaded;
}

SftData read_lines(const std::string& lines, const SftDataOptions& options = {}) {
  testing::TemporaryFolder folder;
  EXPECT_TRUE(write_file_atomic(folder.file("data.jsonl"), lines).ok());
  auto data = read_sft_lines(folder.file("data.jsonl"), *tokenizer(), options);
  EXPECT_TRUE(data.ok()) << data.error().paragraph();
  return data.ok() ? *data : SftData{};
}

std::string refusal(const std::string& lines, const SftDataOptions& options = {}) {
  testing::TemporaryFolder folder;
  EXPECT_TRUE(write_file_atomic(folder.file("data.jsonl"), lines).ok());
  auto data = read_sft_lines(folder.file("data.jsonl"), *tokenizer(), options);
  return data.ok() ? "accepted" : data.error().paragraph();
}

// The text of the targets.
std::string learned(const Example& example) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < example.labels.size(); ++i) {
    if (example.labels[i] == kNoTarget) continue;
    EXPECT_EQ(example.labels[i], example.tokens[i]);
    ids.push_back(example.labels[i]);
  }
  return tokenizer()->decode(ids, true);
}

TEST(SftData, OnlyTheCompletionAndTheEndAreLearned) {
  const SftData data =
      read_lines(R"({"prompt": "Once upon a time there was a dog.", "completion": " The dog was happy."})"
                 "\n"
                 R"({"text": "The cat sat."})"
                 "\n");
  ASSERT_EQ(data.examples.size(), 2u);
  const Example& first = data.examples[0];
  EXPECT_NE(learned(first).find("The dog was happy."), std::string::npos) << learned(first);
  EXPECT_EQ(learned(first).find("Once"), std::string::npos);
  EXPECT_EQ(first.tokens.back(), *tokenizer()->eos_id());
  EXPECT_EQ(first.labels.back(), *tokenizer()->eos_id());
  EXPECT_EQ(first.tokens[0], *tokenizer()->bos_id());
  EXPECT_EQ(first.labels[0], kNoTarget);
  // Prompt and completion are one text for the tokenizer.
  std::vector<int32_t> together = tokenizer()->encode("Once upon a time there was a dog. The dog was happy.");
  together.push_back(*tokenizer()->eos_id());
  EXPECT_EQ(first.tokens, together);
  const SftData all =
      read_lines(R"({"prompt": "Once upon", "completion": " a time"})", {.answers_only = false});
  EXPECT_EQ(all.examples[0].labels, all.examples[0].tokens);
}

TEST(SftData, ChatThroughTheTemplate) {
  SftDataOptions options;
  options.chat_template =
      "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
      "{% if add_generation_prompt %}[assistant]{% endif %}";
  const SftData data = read_lines(
      R"({"messages": [{"role": "user", "content": "Who is big?"}, {"role": "assistant", "content": "The dog."},)"
      R"( {"role": "user", "content": "And who is red?"}, {"role": "assistant", "content": "The ball."}]})",
      options);
  ASSERT_EQ(data.examples.size(), 1u);
  const std::string text = learned(data.examples[0]);
  EXPECT_NE(text.find("The dog."), std::string::npos) << text;
  EXPECT_NE(text.find("The ball."), std::string::npos) << text;
  EXPECT_EQ(text.find("big"), std::string::npos) << text;
  EXPECT_EQ(text.find("red"), std::string::npos) << text;
  options.chat_template = "{{ messages | length }} {% for m in messages %}{{ m['content'] }}{% endfor %}";
  EXPECT_NE(
      refusal(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
              options)
          .find("template changes"),
      std::string::npos);
}

TEST(SftData, LongExamplesLoseTheBeginningOfThePrompt) {
  std::string prompt;
  for (int i = 0; i < 60; ++i) prompt += "The dog was big. ";
  const std::string line = "{\"prompt\": \"" + prompt + "\", \"completion\": \"The end.\"}";
  const SftData data = read_lines(line, {.max_length = 40});
  ASSERT_EQ(data.examples.size(), 1u);
  EXPECT_EQ(data.cut, 1);
  EXPECT_EQ(data.examples[0].tokens.size(), 40u);
  EXPECT_EQ(data.examples[0].tokens[0], *tokenizer()->bos_id());
  EXPECT_NE(learned(data.examples[0]).find("The end."), std::string::npos);
  EXPECT_NE(refusal(line, {.max_length = 4}).find("--max-length"), std::string::npos);
}

TEST(SftData, RefusesWhatIsNoExample) {
  EXPECT_NE(refusal("{\"prompt\": \"x\"}").find("line 1"), std::string::npos);
  EXPECT_NE(refusal("{\"prompt\": \"x\", \"completion\": \"\"}").find("completion is empty"),
            std::string::npos);
  EXPECT_NE(refusal("{\"input_ids\": [1, 2], \"labels\": [1]}").find("2 input_ids and 1 labels"),
            std::string::npos);
  EXPECT_NE(refusal("{\"input_ids\": [1, 2], \"labels\": [-100, -100]}").find("no token to learn"),
            std::string::npos);
  EXPECT_NE(refusal("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}").find("template"),
            std::string::npos);
  EXPECT_NE(refusal("").find("holds no example"), std::string::npos);
}

// ---- runs -----------------------------------------------------------------------------------------------

FinetuneOptions small(const testing::TemporaryFolder& folder, const std::string& out) {
  std::string lines;
  for (const char* who : {"dog", "cat", "bird", "boy", "girl", "ball"})
    lines += "{\"prompt\": \"Who is the hero of the story about the " + std::string(who) +
             "?\", \"completion\": \" It is the " + who + ".\"}\n";
  EXPECT_TRUE(write_file_atomic(folder.file("data.jsonl"), lines).ok());
  FinetuneOptions options;
  options.model = stories();
  options.data = folder.file("data.jsonl");
  options.out = folder.file(out);
  options.lora_rank = 4;
  options.epochs = 5;
  options.micro_batch = 2;
  options.lr = 5e-3;
  return options;
}

TEST(Finetune, LoraLearnsAndItsFolderIsAPeftFolder) {
  testing::TemporaryFolder folder;
  FinetuneOptions options = small(folder, "run");
  options.load = "nf4";
  auto report = finetune(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->steps, 15);
  EXPECT_LT(report->last_loss, 0.8 * report->first_loss);
  const auto adapter = Adapter::open(options.out + "/final");
  ASSERT_TRUE(adapter.ok()) << adapter.error().paragraph();
  EXPECT_EQ(adapter->modules().size(), 5u * 7);
  EXPECT_EQ(adapter->config()["target_modules"].size(), 7u);
  EXPECT_TRUE(exists(options.out + "/final/tokenizer.json"));
  EXPECT_TRUE(TrainableModel::load(options.out + "/final").ok()) << "merged into its base";
  auto again = finetune(options, {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
  // Trained further from where it stands.
  FinetuneOptions further = small(folder, "further");
  further.model = options.out + "/final";
  further.load = "nf4";
  further.lora_dropout = 0;
  auto second = finetune(further, {});
  ASSERT_TRUE(second.ok()) << second.error().paragraph();
  EXPECT_LT(second->first_loss, 0.8 * report->first_loss);
}

TEST(Finetune, FullAndPackedAndTheSameBitsForAnyThreads) {
  testing::TemporaryFolder folder;
  FinetuneOptions options = small(folder, "full");
  options.method = "full";
  options.lr = 1e-3;
  options.packing = true;
  options.document_mask = true;
  options.max_length = 64;
  options.loss = "all";
  auto report = finetune(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_LT(report->last_loss, report->first_loss);
  EXPECT_TRUE(Checkpoint::open(options.out + "/final").ok());
}

// Naming targets replaces the default, and an embedding that is saved stays the head.
TEST(Finetune, TargetsFromTheCommandLine) {
  testing::TemporaryFolder folder;
  FinetuneOptions options = small(folder, "run");
  Fields fields;
  describe(fields, options);
  ASSERT_TRUE(fields.find("targets")->set_text("q_proj,v_proj").ok());
  ASSERT_TRUE(fields.find("modules-to-save")->set_text("embed_tokens").ok());
  options.epochs = 1;
  ASSERT_TRUE(finetune(options, {}).ok());
  const auto adapter = Adapter::open(options.out + "/final");
  ASSERT_TRUE(adapter.ok());
  EXPECT_EQ(adapter->modules().size(), 5u * 2);
  EXPECT_EQ(adapter->replaced().size(), 1u);
  EXPECT_TRUE(adapter->config()["ensure_weight_tying"].as_bool());
}

TEST(Finetune, RefusesWhatCannotWork) {
  testing::TemporaryFolder folder;
  const auto with = [&](auto change) {
    FinetuneOptions options = small(folder, "run");
    change(options);
    auto report = finetune(options, {});
    return report.ok() ? "accepted" : report.error().paragraph();
  };
  EXPECT_NE(with([](auto& o) { o.method = "prefix"; }).find("lora and full"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.load = "int3"; }).find("nf4, fp4 or int8"), std::string::npos);
  EXPECT_NE(with([](auto& o) {
              o.method = "full";
              o.load = "nf4";
            }).find("stays frozen"),
            std::string::npos);
  EXPECT_NE(with([](auto& o) { o.targets = {"wq"}; }).find("no linear is called wq"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.data = "/nowhere.jsonl"; }).find("/nowhere.jsonl"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.modules_to_save = {"lm_head"}; }).find("embed"), std::string::npos);
  EXPECT_FALSE(exists(folder.file("run"))) << "nothing may be written";
}

}  // namespace
}  // namespace bm
