// The course of a training stage, whatever is trained on whatever data: refuse what cannot work, say the
// plan, train, write final/, close the folder. pretrain.cpp and finetune.cpp fill in what differs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/stage.h"
#include "parallel/communicator.h"
#include "training/memory_plan.h"
#include "training/options.h"
#include "training/training_run.h"

namespace bm {

struct TrainReport {
  bool already_complete = false, dry_run = false;
  int64_t steps = 0, parameters = 0;
  uint64_t tokens = 0;
  double first_loss = 0, last_loss = 0;
  std::optional<double> first_held_out_loss, last_held_out_loss;  // natural log, per target
  Json summary;  // what the manifest stores as results, or the plan of a dry run
};

// What a stage brings along.
struct TrainParts {
  std::unique_ptr<TrainableModel> model;
  std::optional<Blocks> blocks;
  std::vector<MixedSource> sources;  // empty: the blocks are one corpus
  std::vector<HeldOut> held_out;
  Json facts = Json::object();  // for the summary: what the data and the adapter are
};

struct TrainStage {
  const TrainOptions& options;
  const CommonOptions& common;
  uint64_t seed = 42;
  std::function<Result<StageIdentity>()> identify;
  std::function<Result<TrainParts>()> prepare;
  // Writes the result into an empty folder.
  std::function<Status(const TrainParts&, const std::string& folder)> write_final;
  uint64_t disk_bytes_final = 0;
};

// bad_input: data that do not fit the model or the options; failed: loss or gradient not finite (the
// last checkpoint stays), out of memory or disk; interrupted: stopped after saving a checkpoint.
Result<TrainReport> run_train_stage(const TrainStage& stage, Communicator& ranks);

// With --ranks N above 1: runs `work` in N processes of this machine; else in this one, as a rank of the job
// it was started in. The report is the first rank's; other ranks say nothing.
using RankWork = std::function<Result<TrainReport>(Communicator&)>;
Result<TrainReport> run_on_ranks(const TrainOptions& options, const CommonOptions& common,
                                 const RankWork& work);

// Held-out data of the options: text is tokenized with the tokenizer of `tokenizer_model`.
Result<std::vector<HeldOut>> open_held_out(const std::vector<std::string>& paths,
                                           const std::string& tokenizer_model, int64_t length, int64_t vocab);
Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const std::string& model);

// Refuses what cannot fit before its weights are widened.
Status check_memory_before_loading(const std::string& model, Precision precision, const CommonOptions& common,
                                   int local_ranks);

}  // namespace bm
