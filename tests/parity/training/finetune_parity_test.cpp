// finetune against PEFT and torch.optim.AdamW (golden/lora/SOURCE.txt holds formulas and tolerances).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "formats/safetensors.h"
#include "paths.h"
#include "training/finetune.h"

namespace bm {
namespace {

std::string golden(const std::string& name) { return testing::shared_path("golden/lora/" + name); }

// The answer-only batch as a safetensors file of padded rows.
void write_batch(const std::string& path) {
  const auto batch = read_json_file(golden("batch.json"));
  ASSERT_TRUE(batch.ok());
  Tensor ids(DType::i64, {static_cast<int64_t>((*batch)["input_ids"].size()),
                          static_cast<int64_t>((*batch)["input_ids"][0].size())});
  Tensor labels(DType::i64, ids.shape());
  size_t at = 0;
  for (size_t row = 0; row < (*batch)["input_ids"].size(); ++row)
    for (size_t i = 0; i < (*batch)["input_ids"][row].size(); ++i, ++at) {
      ids.as<int64_t>()[at] = (*batch)["input_ids"][row][i].as_int();
      labels.as<int64_t>()[at] = (*batch)["labels_answer_only"][row][i].as_int();
    }
  ASSERT_TRUE(write_safetensors(path, {{"input_ids", ids.view()}, {"labels", labels.view()}}).ok());
}

TEST(FinetuneParity, FiveStepsOfPeft) {
  if (!testing::have_shared()) GTEST_SKIP() << "golden/lora lies in ../shared only";
  testing::TemporaryFolder folder;
  write_batch(folder.file("batch.safetensors"));
  FinetuneOptions options;
  options.model = golden("lora_r16_alpha16_all7/adapter");
  options.data = folder.file("batch.safetensors");
  options.out = folder.file("run");
  options.steps = 5;
  options.schedule = "constant";
  options.lr = 1e-3;
  options.clip = 0;
  options.lora_dropout = 0;
  options.micro_batch = 8;
  options.weight_decay = 0.01;
  const auto report = finetune(options, {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  const auto losses = read_json_file(golden("lora_r16_alpha16_all7/losses.json"));
  const Json& expected = (*losses)["adamw_steps_answer_only"]["the_same_float64"];
  const auto lines = split(*read_file(options.out + "/metrics.jsonl"), '\n');
  for (size_t s = 0; s < 5; ++s)
    EXPECT_NEAR((*parse_json(lines[s]))["loss"].as_double(), expected[s].as_double(), 1e-5) << s;
  // Adam turns a rounding error of a near-zero gradient into a full step: most entries must fit closely.
  const auto ours = SafetensorsFile::open(options.out + "/final/adapter_model.safetensors");
  const auto theirs =
      SafetensorsFile::open(golden("lora_r16_alpha16_all7/adapter_after_5_adamw_steps_float64.safetensors"));
  ASSERT_TRUE(ours.ok() && theirs.ok());
  ASSERT_EQ(ours->entries().size(), theirs->entries().size());
  std::vector<double> differences;
  for (const auto& entry : theirs->entries()) {
    const auto mine = ours->get(entry.name);
    ASSERT_TRUE(mine.ok()) << entry.name;
    ASSERT_EQ(mine->shape, entry.shape);
    ASSERT_EQ(mine->dtype, DType::f32);
    for (int64_t i = 0; i < mine->count(); ++i)
      differences.push_back(
          std::abs(static_cast<double>(mine->as<float>()[i]) - theirs->view(entry).as<double>()[i]));
  }
  std::sort(differences.begin(), differences.end());
  EXPECT_LE(differences[differences.size() / 2], 5e-7);
  EXPECT_LE(differences[differences.size() * 99 / 100], 1e-5);
  EXPECT_LE(differences.back(), 2 * 5 * 1e-3);
}

}  // namespace
}  // namespace bm
