// The verbs of recipes: each fills its room's options struct and calls its entry point.
#include "base/file.h"
#include "base/log.h"
#include "corpus/build.h"
#include "evaluation/compare.h"
#include "evaluation/evaluate.h"
#include "merging/merge.h"
#include "pipeline/stages.h"
#include "quantization/quantize.h"
#include "report/report.h"
#include "training/finetune.h"
#include "training/pretrain.h"

namespace bm {
namespace {

Result<std::string> one_word(const Json& value) {
  if (!value.is_string()) return bad_input("a single path or stage name is wanted");
  return value.as_string();
}

Result<std::vector<std::string>> words(const Json& value) {
  std::vector<std::string> list;
  if (value.is_string()) return std::vector<std::string>{value.as_string()};
  for (const Json& item : value.items()) {
    BM_TRY(std::string word, one_word(item));
    list.push_back(std::move(word));
  }
  if (list.empty()) return bad_input("a list of paths or stage names is wanted");
  return list;
}

template <class Options>
struct RoomTask : StageTask {
  Options options;
  void describe_fields(Fields& fields) override { describe(fields, options); }
};

struct CorpusTask final : RoomTask<CorpusOptions> {
  Status set_special(const std::string&, const Json& value) override {
    BM_TRY(options.inputs, words(value));
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(CorpusReport report, build_corpus(options, common));
    (void)report;
    return {};
  }
};

struct PretrainTask final : RoomTask<PretrainOptions> {
  Status set_special(const std::string& key, const Json& value) override {
    BM_TRY((key == "model" ? options.model : options.data), one_word(value));
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(PretrainReport report, pretrain(options, common));
    (void)report;
    return {};
  }
};

struct FinetuneTask final : RoomTask<FinetuneOptions> {
  Status set_special(const std::string& key, const Json& value) override {
    BM_TRY((key == "model" ? options.model : options.data), one_word(value));
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(TrainReport report, finetune(options, common));
    (void)report;
    return {};
  }
};

struct MergeTask final : RoomTask<MergeOptions> {
  Json inline_config;  // `config:` written as a mapping inside the recipe

  Status set_special(const std::string& key, const Json& value) override {
    if (key == "models") {
      if (!value.is_object()) return bad_input("models maps the configuration's names to stages or paths");
      for (const auto& [name, path] : value.members()) {
        BM_TRY(options.model_paths[name], one_word(path));
      }
      return {};
    }
    if (value.is_object()) {
      inline_config = value;
    } else {
      BM_TRY(options.config, one_word(value));
    }
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    if (inline_config.is_object()) {
      options.config = out + ".merge.yaml";
      if (!common.dry_run) BM_CHECK_OK(write_file_atomic(options.config, dump_yaml(inline_config)));
    }
    BM_TRY(MergeReport report, merge(options, common));
    (void)report;
    return {};
  }
};

struct QuantizeTask final : RoomTask<QuantizeOptions> {
  Status set_special(const std::string&, const Json& value) override {
    BM_TRY(options.model, one_word(value));
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(QuantizeReport report, quantize(options, common));
    (void)report;
    return {};
  }
};

struct EvaluateTask final : RoomTask<EvaluateOptions> {
  Status set_special(const std::string&, const Json& value) override {
    BM_TRY(options.models, words(value));
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(EvaluateReport report, evaluate(options, common));
    if (report.failed_items > 0)
      log_warning(format_count(static_cast<uint64_t>(report.failed_items)) + " items failed: see " +
                  path_join(out, "ledger.jsonl"));
    return {};
  }
};

struct CompareTask final : RoomTask<CompareOptions> {
  Status set_special(const std::string& key, const Json& value) override {
    if (key == "models") {
      BM_TRY(options.models, words(value));
    } else {
      BM_TRY((key == "reference" ? options.reference : options.data), one_word(value));
    }
    return {};
  }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.out = out;
    BM_TRY(CompareReport report, compare(options, common));
    (void)report;
    return {};
  }
};

// The page lies beside the stages' folders: OUT/report.html.
struct ReportTask final : RoomTask<ReportOptions> {
  Status set_special(const std::string&, const Json&) override { return {}; }
  Status run(const CommonOptions& common, const std::string& out) override {
    options.runs = {path_parent(out)};
    options.out = path_join(path_parent(out), "report.html");
    if (common.dry_run) return {};
    return write_report(options);
  }
};

template <class Task>
std::unique_ptr<StageTask> make_task() {
  return std::make_unique<Task>();
}

StageKind kind(std::string verb, std::function<std::unique_ptr<StageTask>()> make) {
  StageKind result;
  result.verb = std::move(verb);
  result.make = std::move(make);
  return result;
}

std::vector<StageKind> make_kinds() {
  using enum Reference;
  StageKind corpus = kind("corpus", make_task<CorpusTask>);
  corpus.references = {{"tokenizer", model}};
  corpus.special = {"inputs"};
  corpus.text_output = "heldout.jsonl";

  StageKind pretrain = kind("pretrain", make_task<PretrainTask>);
  pretrain.references = {{"model", model}, {"data", folder}, {"evaluate-data", text}};
  pretrain.special = {"model", "data"};
  pretrain.model_output = "final";

  StageKind finetune = kind("finetune", make_task<FinetuneTask>);
  finetune.references = {{"model", model}, {"load", model}, {"data", folder}, {"evaluate-data", text}};
  finetune.special = {"model", "data"};
  finetune.model_output = "final";

  StageKind merge = kind("merge", make_task<MergeTask>);
  merge.references = {{"models", model}};
  merge.special = {"config", "models"};
  merge.model_output = ".";

  StageKind quantize = kind("quantize", make_task<QuantizeTask>);
  quantize.references = {
      {"model", model}, {"calibration", folder}, {"quality", text}, {"search-from", folder}};
  quantize.special = {"model"};
  quantize.model_output = ".";

  StageKind evaluate = kind("evaluate", make_task<EvaluateTask>);
  evaluate.references = {{"models", model}};
  evaluate.special = {"models"};
  evaluate.names_key = "names";

  StageKind compare = kind("compare", make_task<CompareTask>);
  compare.references = {{"reference", model}, {"models", model}, {"data", text}};
  compare.special = {"reference", "models", "data"};

  return {corpus,   pretrain, finetune, merge,
          quantize, evaluate, compare,  kind("report", make_task<ReportTask>)};
}

}  // namespace

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> kinds = make_kinds();
  return kinds;
}

}  // namespace bm
