// pretrain against transformers' Trainer: goldens of ../shared/golden/training, tolerances of its SOURCE.txt.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "paths.h"
#include "training/adamw.h"
#include "training/order.h"
#include "training/pretrain.h"

namespace bm {
namespace {

std::string data(const std::string& name) {
  return testing::source_path("tests/parity/training/data/" + name);
}

Json read(const std::string& path) {
  auto json = read_json_file(path);
  EXPECT_TRUE(json.ok()) << path;
  return json.ok() ? *json : Json();
}

std::vector<Json> metrics(const std::string& folder) {
  std::vector<Json> lines;
  for (const std::string& line : split(*read_file(folder + "/metrics.jsonl"), '\n'))
    if (!line.empty()) lines.push_back(*parse_json(line));
  return lines;
}

PretrainOptions golden_options(const std::string& out) {
  PretrainOptions options;
  options.model = data("initial_model");
  options.data = data("data/blocks.safetensors");
  options.out = out;
  options.steps = 20;
  options.micro_batch = 4;
  options.accumulate = 2;
  options.lr = 3e-3;
  options.order = "sequential";
  return options;
}

CommonOptions peer() {
  CommonOptions common;
  common.mode = "peer";
  return common;
}

void expect_steps(const std::vector<Json>& got, const Json& golden) {
  ASSERT_EQ(got.size(), golden.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const Json& expected = golden[i];
    EXPECT_EQ(got[i]["step"].as_int(), expected["step"].as_int());
    EXPECT_NEAR(got[i]["loss"].as_double(), expected["loss"].as_double(), 1e-5) << "step " << i + 1;
    EXPECT_NEAR(got[i]["grad_norm"].as_double() / expected["grad_norm"].as_double(), 1, 1e-5)
        << "step " << i + 1;
    double rate = expected["learning_rate"].as_double();
    EXPECT_NEAR(got[i]["lr"].as_double(), rate, 1e-15 + 1e-12 * rate);
    if (expected.contains("loss_float64")) {
      EXPECT_NEAR(got[i]["loss"].as_double(), expected["loss_float64"].as_double(), 1e-5);
      EXPECT_NEAR(got[i]["grad_norm"].as_double() / expected["grad_norm_float64"].as_double(), 1, 1e-5);
    }
  }
}

// Gaps between a checkpoint's tensors `prefix_got`+name and a golden file's `prefix_expected`+name.
std::vector<double> gaps(const SafetensorsFile& got, const std::string& prefix_got,
                         const SafetensorsFile& expected, const std::string& prefix_expected,
                         double* largest = nullptr) {
  std::vector<double> result;
  for (const auto& entry : expected.entries()) {
    if (!starts_with(entry.name, prefix_expected)) continue;
    auto a = got.get(prefix_got + entry.name.substr(prefix_expected.size()));
    auto b = convert(expected.view(entry), DType::f64);
    EXPECT_TRUE(a.ok()) << entry.name;
    if (!a.ok()) continue;
    for (int64_t i = 0; i < b->count(); ++i) {
      result.push_back(std::abs(static_cast<double>(a->as<float>()[i]) - b->as<double>()[i]));
      if (largest) *largest = std::max(*largest, std::abs(b->as<double>()[i]));
    }
  }
  return result;
}

void expect_parameters(std::vector<double> differences, const std::string& what) {
  ASSERT_GT(differences.size(), 30000u) << what;
  std::sort(differences.begin(), differences.end());
  EXPECT_LE(differences[differences.size() / 2], 1e-7) << what;
  auto above =
      static_cast<size_t>(differences.end() - std::upper_bound(differences.begin(), differences.end(), 1e-6));
  EXPECT_LE(above, differences.size() / 1000) << what;
  EXPECT_LE(differences.back(), 2e-4) << what;
}

void run_cosine(const std::string& name, double warmup) {
  testing::TemporaryFolder folder;
  PretrainOptions options = golden_options(folder.file("run"));
  options.warmup = warmup;
  options.save_every = 1;
  options.keep = 20;
  auto report = pretrain(options, peer());
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  expect_steps(metrics(options.out), read(data(name + "/steps.json")));
  EXPECT_EQ(report->tokens, 20u * 8 * 64);
  if (!testing::have_shared()) return;
  std::string golden = testing::shared_path("golden/training/" + name);
  auto state = [&](int step) {
    return SafetensorsFile::open(options.out + "/checkpoints/step-" + std::to_string(step) +
                                 "/state.safetensors");
  };
  auto f32 = SafetensorsFile::open(golden + "/parameters_after_steps_1_5_20.safetensors");
  ASSERT_TRUE(f32.ok());
  for (int step : {1, 5, 20}) {
    auto got = state(step);
    ASSERT_TRUE(got.ok()) << got.error().paragraph();
    expect_parameters(gaps(*got, "parameter.", *f32, "step_" + std::to_string(step) + "."),
                      name + " step " + std::to_string(step));
  }
  auto last = state(20),
       f64 = SafetensorsFile::open(golden + "/parameters_after_step_20_float64.safetensors");
  expect_parameters(gaps(*last, "parameter.", *f64, ""), name + " float64");
  auto moments = SafetensorsFile::open(golden + "/adamw_moments_after_step_20.safetensors");
  for (const char* kind : {"exp_avg.", "exp_avg_sq."}) {
    double largest = 0;
    auto differences = gaps(*last, kind, *moments, kind, &largest);
    ASSERT_FALSE(differences.empty());
    EXPECT_LE(*std::max_element(differences.begin(), differences.end()), 1e-5 * largest)
        << name << " " << kind;
  }
}

TEST(PretrainParity, CosineWithoutWarmup) { run_cosine("cosine_warmup0", 0); }
TEST(PretrainParity, CosineWithWarmup) { run_cosine("cosine_warmup3", 3); }

TEST(PretrainParity, UnevenEpochsInTheDefaultOrder) {
  testing::TemporaryFolder folder;
  Json golden = read(data("uneven_epochs_default_shuffle.json"));
  auto blocks = SafetensorsFile::open(data("data/blocks.safetensors"));
  ASSERT_TRUE(blocks.ok());
  std::vector<NamedTensor> first;
  for (const char* name : {"input_ids", "labels"}) {
    TensorView view = *blocks->get(name);
    view.shape[0] = 13;
    first.push_back({name, view});
  }
  ASSERT_TRUE(write_safetensors(folder.file("blocks.safetensors"), first).ok());
  PretrainOptions options = golden_options(folder.file("run"));
  options.data = folder.file("blocks.safetensors");
  options.steps = 0;
  options.epochs = golden["epochs"].as_double();
  options.micro_batch = golden["per_device_train_batch_size"].as_int();
  options.accumulate = golden["gradient_accumulation_steps"].as_int();
  options.order = "shuffled";
  CommonOptions common = peer();
  common.seed = golden["seed"].as_int();
  auto report = pretrain(options, common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  expect_steps(metrics(options.out), golden["steps"]);
  BatchPlan plan(13, options.micro_batch, options.accumulate, OrderRule::seedable, AccumulationRule::by_epoch,
                 42);
  EXPECT_EQ(plan.steps_of(3), static_cast<int64_t>(golden["steps"].size()));
  for (size_t s = 0; s < golden["steps"].size(); ++s) {
    const Json& micro_batches = golden["steps"][s]["micro_batches"];
    const auto& got = plan.step(static_cast<int64_t>(s));
    ASSERT_EQ(got.size(), micro_batches.size());
    for (size_t m = 0; m < got.size(); ++m) {
      ASSERT_EQ(got[m].size(), micro_batches[m].size());
      for (size_t i = 0; i < got[m].size(); ++i) EXPECT_EQ(got[m][i], micro_batches[m][i].as_uint());
    }
  }
}

TEST(OrderParity, TrainersAndPlainSamplersOrders) {
  Json golden = read(data("default_shuffle_orders.json"));
  for (uint64_t n : {37u, 1000u}) {
    const Json& orders = golden["n_" + std::to_string(n)];
    auto expect_same = [&](const Json& expected, const std::vector<uint64_t>& got) {
      ASSERT_EQ(expected.size(), got.size());
      for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[i].as_uint()) << n << " " << i;
    };
    for (uint64_t epoch = 0; epoch < 3; ++epoch)
      expect_same(orders["trainer_default"]["epoch_" + std::to_string(epoch)],
                  epoch_order(OrderRule::seedable, n, 42, epoch));
    expect_same(orders["plain_RandomSampler_right_after_manual_seed"]["order"],
                epoch_order(OrderRule::plain_sampler, n, 42, 0));
  }
  Mt19937 raw(42);
  for (const Json& value : golden["first_10_raw_32_bit_outputs_of_mt19937_seed_42"].items())
    EXPECT_EQ(raw.next(), value.as_uint());
}

TEST(DecayParity, GroupsAreTrainers) {
  Json golden = read(data("decayed_parameters.json"));
  ASSERT_GT(golden["weight_decay"].size(), 10u);
  for (const Json& name : golden["weight_decay"].items())
    EXPECT_TRUE(decays(DecayRule::names, name.as_string())) << name.as_string();
  for (const Json& name : golden["no_weight_decay"].items()) {
    EXPECT_FALSE(decays(DecayRule::names, name.as_string())) << name.as_string();
    EXPECT_TRUE(decays(DecayRule::all, name.as_string())) << name.as_string();
  }
}

// Losses of a run at the goldens' low-precision rate.
std::vector<double> losses_of(const std::string& precision, double* changed = nullptr) {
  testing::TemporaryFolder folder;
  PretrainOptions options = golden_options(folder.file("run"));
  options.lr = read(data("bfloat16_variants_losses.json"))["learning_rate"].as_double();
  options.precision = precision;
  auto report = pretrain(options, peer());
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().paragraph());
  std::vector<double> losses;
  if (!report.ok()) return losses;
  for (const Json& line : metrics(options.out)) losses.push_back(line["loss"].as_double());
  if (changed) {
    auto start = SafetensorsFile::open(data("initial_model/model.safetensors"));
    auto end = SafetensorsFile::open(options.out + "/checkpoints/step-20/state.safetensors");
    double moved = 0, all = 0;
    for (const auto& entry : start->entries()) {
      const float *a = start->view(entry).as<float>(), *b = end->get("parameter." + entry.name)->as<float>();
      for (int64_t i = 0; i < element_count(entry.shape); ++i, ++all) moved += round_to_bf16(a[i]) != b[i];
    }
    *changed = moved / all;
  }
  return losses;
}

double largest_gap(const std::vector<double>& losses, const Json& golden) {
  double largest = 0;
  EXPECT_EQ(losses.size(), golden.size());
  for (size_t i = 0; i < std::min(losses.size(), golden.size()); ++i)
    largest = std::max(largest, std::abs(losses[i] - golden[i].as_double()));
  return largest;
}

TEST(PrecisionParity, MastersStayWithFloat32AndPureBf16DoesNot) {
  Json golden = read(data("bfloat16_variants_losses.json"));
  const Json& runs = golden["runs"];
  const Json &f32 = runs["float32"]["losses"], &pure = runs["pure_bfloat16_parameters_and_moments"]["losses"];
  EXPECT_LE(largest_gap(losses_of("f32"), f32), 1e-5);
  double masters = largest_gap(losses_of("bf16-masters"), f32);
  EXPECT_LE(masters, 5e-3);
  double changed = 0;
  std::vector<double> pure_losses = losses_of("bf16-pure", &changed);
  EXPECT_LE(largest_gap(pure_losses, pure), 5e-2);
  EXPECT_GT(largest_gap(pure_losses, f32), 10 * masters) << "pure bf16 loses updates, and it must show";
  EXPECT_NEAR(changed,
              runs["pure_bfloat16_parameters_and_moments"]["fraction_of_parameters_that_changed"].as_double(),
              0.05);
  // Rounding by chance keeps on average what pure bf16 loses.
  EXPECT_LT(largest_gap(losses_of("bf16-stochastic"), f32), largest_gap(pure_losses, f32) / 2);
}

}  // namespace
}  // namespace bm
