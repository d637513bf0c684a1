#include "training/finetune.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "model/adapter_save.h"
#include "model/frozen_matrix.h"
#include "model/lora.h"
#include "model/save.h"
#include "training/sft_data.h"

namespace bm {
namespace {

bool is_encoding(const std::string& load) { return load == "nf4" || load == "fp4" || load == "int8"; }

Status check_options(const FinetuneOptions& o) {
  BM_CHECK_OK(check_training_options(o));
  if (o.method != "lora" && o.method != "full")
    return bad_input("unknown method \"" + o.method + "\"", "lora and full are known");
  if (o.loss != "answer" && o.loss != "all")
    return bad_input("unknown loss \"" + o.loss + "\"", "answer and all are known");
  if (o.max_length < 2) return bad_input("--max-length must be 2 or more");
  if (o.method == "full" && !o.load.empty())
    return bad_input("--load quantizes a base that stays frozen, --method full trains it",
                     "Use --method lora, or leave --load out");
  if (!o.load.empty() && !is_encoding(o.load) && !is_directory(o.load) && !ends_with(o.load, ".gguf"))
    return bad_input("--load " + o.load + " is neither nf4, fp4 or int8 nor a model folder");
  if (o.data.empty())
    return bad_input("no data given", o.tasks.empty()
                                          ? "Give --data FILE.jsonl"
                                          : "Give --data DIR, the folder with the benchmarks' files");
  return {};
}

BaseFormat base_format(const std::string& load) {
  return load == "nf4"    ? BaseFormat::nf4
         : load == "fp4"  ? BaseFormat::fp4
         : load == "int8" ? BaseFormat::int8
                          : BaseFormat::stored;
}

Result<StageIdentity> identity_of(const FinetuneOptions& options, const CommonOptions& common,
                                  uint64_t seed) {
  FinetuneOptions described = options;
  Fields fields;
  describe(fields, described);
  StageIdentity identity{"finetune", fields.dump_identity(), {}, seed, common.mode};
  if (common.limit > 0) identity.options.set("limit", common.limit);
  const auto add = [&](const char* role, const std::string& path) -> Status {
    BM_TRY(StageInput input, stage_input(role, path));
    identity.inputs.push_back(input);
    return {};
  };
  BM_CHECK_OK(add("model", options.model));
  if (!options.load.empty() && !is_encoding(options.load)) BM_CHECK_OK(add("load", options.load));
  if (!options.base.empty()) BM_CHECK_OK(add("base", options.base));
  BM_CHECK_OK(add("data", options.data));
  for (const std::string& path : options.evaluate_data) BM_CHECK_OK(add("evaluate-data", path));
  return identity;
}

Result<std::unique_ptr<TrainableModel>> load_model(const FinetuneOptions& o, uint64_t seed) {
  if (o.method == "full") return TrainableModel::load(o.model, o.base);
  LoraOptions lora;
  lora.rank = o.lora_rank;
  lora.alpha = o.lora_alpha;
  lora.dropout = o.lora_dropout;
  lora.rank_stabilized = o.rslora;
  lora.dora = o.dora;
  if (!o.targets.empty()) lora.targets = o.targets;
  lora.modules_to_save = o.modules_to_save;
  lora.seed = seed;
  if (o.load.empty() || is_encoding(o.load))
    return TrainableModel::load_lora(o.model, o.base, lora, base_format(o.load));
  // A folder that was quantized before is the base; MODEL gives the tokenizer, or the adapter to go on with.
  if (is_adapter_folder(o.model)) return TrainableModel::load_lora(o.model, o.load, lora, BaseFormat::stored);
  return TrainableModel::load_lora(o.load, "", lora, BaseFormat::stored);
}

// Where the tokenizer's files are: beside an adapter, or at its base.
Result<std::string> tokenizer_folder(const FinetuneOptions& o) {
  if (!is_adapter_folder(o.model) || has_tokenizer_files(o.model)) return o.model;
  if (!o.base.empty()) return o.base;
  BM_TRY(Adapter adapter, Adapter::open(o.model));
  return adapter.find_base();
}

bool is_block_data(const std::string& path) {
  return ends_with(path, ".safetensors") || ends_with(path, ".bin") || ends_with(path, ".idx") ||
         (is_directory(path) && exists(path_join(path, "tokens.idx")));
}

Result<Blocks> load_blocks(const FinetuneOptions& o, const ModelConfig& config, int64_t max_length,
                           uint64_t seed, Json& facts) {
  if (o.tasks.empty() && is_block_data(o.data))
    return Blocks::open(o.data, ends_with(o.data, ".safetensors") ? 0 : max_length, config.vocab);
  if (o.tasks.empty() && is_directory(o.data))
    return bad_input("is a folder without tokens.idx",
                     "Give JSON lines, or --tasks for a folder of benchmarks")
        .in(o.data);
  BM_TRY(std::string folder, tokenizer_folder(o));
  BM_TRY(auto tokenizer, tokenizer_of(folder));
  SftDataOptions options{o.loss == "answer", max_length, ""};
  if (!o.chat_template.empty()) {
    BM_TRY(options.chat_template, read_file(o.chat_template));
  }
  const std::string source = o.tasks.empty() ? o.data : "--tasks";
  Result<SftData> read = o.tasks.empty() ? read_sft_lines(o.data, *tokenizer, options)
                                         : read_sft_tasks({o.tasks, o.data, seed, 0}, *tokenizer, options);
  BM_TRY(SftData data, std::move(read));
  facts.set("data", data.json());
  if (!o.packing) return Blocks::from_examples(source, data.examples, config.vocab);
  BM_TRY(Blocks blocks, Blocks::packed(source, data.examples, max_length, config.vocab));
  return blocks;
}

Result<TrainParts> prepare(const FinetuneOptions& o, const CommonOptions& common, uint64_t seed, int ranks) {
  TrainParts parts;
  if (o.method == "full" && !is_adapter_folder(o.model)) {
    BM_TRY(Precision precision, parse_precision(o.precision));
    BM_CHECK_OK(check_memory_before_loading(o.model, precision, common, ranks));
  }
  BM_TRY(parts.model, load_model(o, seed));
  const ModelConfig& config = parts.model->config();
  const int64_t max_length =
      config.max_positions > 0 ? std::min(o.max_length, config.max_positions) : o.max_length;
  BM_TRY(parts.blocks, load_blocks(o, config, max_length, seed, parts.facts));
  if (o.document_mask) BM_CHECK_OK(parts.blocks->mask_documents(o.data, config.eos_ids));
  BM_TRY(std::string folder, tokenizer_folder(o));
  BM_TRY(parts.held_out, open_held_out(o.evaluate_data, folder, max_length, config.vocab));
  parts.facts.set("method", o.method);
  if (const LoraPlan* lora = parts.model->lora()) {
    parts.facts.set("adapted_matrices", static_cast<int64_t>(lora->targets.size()));
    parts.facts.set("lora_rank", lora->options.rank);
    parts.facts.set("base_format", o.load.empty() ? "as stored" : o.load);
    parts.facts.set("base_fingerprint", parts.model->base_fingerprint());
  }
  return parts;
}

Result<DType> final_dtype(const FinetuneOptions& o, const TrainableModel& model) {
  std::string name = o.dtype;
  if (name.empty()) name = model.lora() ? "f32" : model.config().stored_dtype;
  if (name.empty()) name = "f32";
  auto dtype = dtype_from_user(name);
  if (dtype && (*dtype == DType::f32 || *dtype == DType::bf16 || *dtype == DType::f16)) return *dtype;
  if (o.dtype.empty()) return DType::f32;
  return bad_input("--dtype " + name + " is no float type", "f32, bf16 and f16 are");
}

}  // namespace

void describe(Fields& f, FinetuneOptions& o) {
  f.add("data", o.data,
        "JSON lines (prompt and completion, messages, text, or input_ids and labels), safetensors with "
        "input_ids "
        "and labels; with --tasks the folder of the benchmarks' files",
        {.unit = "path", .result_neutral = true});
  f.add("tasks", o.tasks, "train on the training questions of these benchmarks, e.g. medqa",
        {.unit = "names"});
  f.add("base", o.base, "base model of an adapter that is trained further, if not the one it names",
        {.unit = "folder", .result_neutral = true});
  f.add("method", o.method, "LoRA adapters on a frozen base, or all parameters",
        {.choices = {"lora", "full"}});
  f.add("load", o.load,
        "how the frozen base is held: nf4, fp4, int8 (quantized on the fly), or a folder that was quantized "
        "before; "
        "default: as stored",
        {.unit = "format"});
  f.add("lora-rank", o.lora_rank, "rank of the adapters");
  f.add("lora-alpha", o.lora_alpha, "their scale is alpha / rank");
  f.add("lora-dropout", o.lora_dropout, "share of an adapter's inputs set to 0 in training");
  f.add("rslora", o.rslora, "scale alpha / √rank instead");
  f.add("dora", o.dora, "train a magnitude per output as well (needs --lora-dropout 0)");
  f.add("targets", o.targets,
        "what is adapted: names by suffix (q_proj,v_proj), one regular expression of the whole name, or "
        "all-linear, the default");
  f.add("modules-to-save", o.modules_to_save,
        "modules trained whole beside the adapters, e.g. lm_head,embed_tokens");
  f.add("loss", o.loss, "which tokens are learned", {.choices = {"answer", "all"}});
  f.add("max-length", o.max_length,
        "tokens of an example; longer ones lose the beginning of their prompt (with --loss all: their end)",
        {.unit = "tokens"});
  f.add("packing", o.packing, "join the examples and cut them to --max-length, as TRL's packing does");
  f.add("chat-template", o.chat_template, "file with a Jinja template instead of the model's own",
        {.unit = "file"});
  describe_training(f, o);
}

Result<TrainReport> finetune(const FinetuneOptions& options, const CommonOptions& common) {
  BM_CHECK_OK(check_options(options));
  const uint64_t seed = common.seed_or(42);
  return run_on_ranks(options, common, [&](Communicator& ranks) {
    TrainStage stage{.options = options,
                     .common = common,
                     .seed = seed,
                     .identify = [&] { return identity_of(options, common, seed); },
                     .prepare = [&] { return prepare(options, common, seed, ranks.size()); },
                     .write_final = [&](const TrainParts& parts, const std::string& folder) -> Status {
                       BM_TRY(DType dtype, final_dtype(options, *parts.model));
                       if (parts.model->lora()) return save_adapter_folder(*parts.model, folder, dtype);
                       return save_model_folder(*parts.model, options.model, folder, dtype);
                     },
                     .disk_bytes_final = 0};
    return run_train_stage(stage, ranks);
  });
}

}  // namespace bm
