#include "training/pretrain.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/file.h"
#include "model/save.h"

namespace bm {
namespace {

struct MixEntry {
  std::string path;
  double share = 0;
};

Result<std::vector<MixEntry>> parse_mix(const std::vector<std::string>& words) {
  std::vector<MixEntry> entries;
  double sum = 0;
  for (const std::string& word : words) {
    const size_t at = word.rfind('=');
    MixEntry entry{word.substr(0, at), 0};
    const char* end = word.data() + word.size();
    const char* begin = at == std::string::npos ? end : word.data() + at + 1;
    const auto parsed = std::from_chars(begin, end, entry.share);
    if (at == std::string::npos || parsed.ec != std::errc() || parsed.ptr != end || !(entry.share > 0))
      return bad_input("--mix " + word + " is no PATH=SHARE with a share above 0",
                       "For one block in ten: --mix general-corpus=0.1");
    sum += entry.share;
    entries.push_back(std::move(entry));
  }
  if (sum >= 1)
    return bad_input("the shares of --mix leave nothing for --data", "Together they must be below 1");
  return entries;
}

// The corpora behind one another; an epoch is one pass over --data with the others' share added.
Status add_mix(const PretrainOptions& o, int64_t vocab, std::span<const int64_t> ends, TrainParts& parts) {
  BM_TRY(auto entries, parse_mix(o.mix));
  if (entries.empty()) return {};
  double others = 0;
  for (const MixEntry& entry : entries) others += entry.share;
  const uint64_t main = parts.blocks->count();
  parts.sources = {{0, main, main}};
  Json facts = Json::array();
  for (const MixEntry& entry : entries) {
    const int64_t length = parts.blocks->length();
    BM_TRY(Blocks blocks,
           Blocks::open(entry.path, ends_with(entry.path, ".safetensors") ? 0 : length, vocab));
    if (o.document_mask) BM_CHECK_OK(blocks.mask_documents(entry.path, ends));
    const double wanted = static_cast<double>(main) * entry.share / (1 - others);
    const auto an_epoch = std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(wanted)));
    parts.sources.push_back({parts.blocks->count(), blocks.count(), an_epoch});
    facts.push_back(Json::object({{"path", entry.path},
                                  {"share", entry.share},
                                  {"blocks", Json(blocks.count())},
                                  {"blocks_an_epoch", Json(an_epoch)}}));
    parts.blocks->append(blocks);
  }
  parts.facts.set("mix", facts);
  return {};
}

Result<DType> final_dtype(const PretrainOptions& options, const ModelConfig& config) {
  const std::string& name = options.dtype.empty() ? config.stored_dtype : options.dtype;
  if (name.empty()) return DType::f32;
  auto dtype = dtype_from_user(name);
  if (!dtype || (*dtype != DType::f32 && *dtype != DType::bf16 && *dtype != DType::f16)) {
    if (options.dtype.empty()) return DType::f32;
    return bad_input("--dtype " + name + " is no float type", "f32, bf16 and f16 are");
  }
  return *dtype;
}

Result<StageIdentity> identity_of(const PretrainOptions& options, const CommonOptions& common,
                                  uint64_t seed) {
  PretrainOptions described = options;
  Fields fields;
  describe(fields, described);
  StageIdentity identity{"pretrain", fields.dump_identity(), {}, seed, common.mode};
  if (common.limit > 0) identity.options.set("limit", common.limit);
  BM_TRY(StageInput model, stage_input("model", options.model));
  BM_TRY(StageInput data, stage_input("data", options.data));
  identity.inputs = {model, data};
  BM_TRY(auto mix, parse_mix(options.mix));
  for (const MixEntry& entry : mix) {
    BM_TRY(StageInput input, stage_input("mix", entry.path));
    identity.inputs.push_back(input);
  }
  for (const std::string& path : options.evaluate_data) {
    BM_TRY(StageInput held_out, stage_input("evaluate-data", path));
    identity.inputs.push_back(held_out);
  }
  return identity;
}

Result<TrainParts> prepare(const PretrainOptions& o, const CommonOptions& common, int ranks) {
  TrainParts parts;
  BM_TRY(Precision precision, parse_precision(o.precision));
  BM_CHECK_OK(check_memory_before_loading(o.model, precision, common, ranks));
  BM_TRY(parts.model, TrainableModel::load(o.model));
  const ModelConfig& config = parts.model->config();
  BM_TRY(DType dtype, final_dtype(o, config));
  (void)dtype;
  BM_TRY(parts.blocks, Blocks::open(o.data, o.sequence_length, config.vocab));
  if (o.document_mask) BM_CHECK_OK(parts.blocks->mask_documents(o.data, config.eos_ids));
  BM_TRY(parts.held_out, open_held_out(o.evaluate_data, o.model, parts.blocks->length(), config.vocab));
  BM_CHECK_OK(add_mix(o, config.vocab, config.eos_ids, parts));
  return parts;
}

}  // namespace

void describe(Fields& f, PretrainOptions& o) {
  f.add("data", o.data, "corpus folder, Megatron pair, or safetensors with input_ids and labels",
        {.unit = "path", .result_neutral = true});
  f.add("sequence-length", o.sequence_length, "tokens of a block; 0 = as the corpus was packed, else 2048",
        {.unit = "tokens"});
  f.add("mix", o.mix,
        "PATH=SHARE: a further corpus and its share of all blocks (0.1 = every tenth); may be given several "
        "times");
  describe_training(f, o);
}

Result<PretrainReport> pretrain(const PretrainOptions& options, const CommonOptions& common) {
  BM_CHECK_OK(check_training_options(options));
  const uint64_t seed = common.seed_or(42);
  return run_on_ranks(options, common, [&](Communicator& ranks) {
    TrainStage stage{.options = options,
                     .common = common,
                     .seed = seed,
                     .identify = [&] { return identity_of(options, common, seed); },
                     .prepare = [&] { return prepare(options, common, ranks.size()); },
                     .write_final = [&](const TrainParts& parts, const std::string& folder) -> Status {
                       BM_TRY(DType dtype, final_dtype(options, parts.model->config()));
                       return save_model_folder(*parts.model, options.model, folder, dtype);
                     },
                     .disk_bytes_final = 0};
    return run_train_stage(stage, ranks);
  });
}

}  // namespace bm
