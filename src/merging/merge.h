// merge CONFIG.yaml OUT: mergekit's configurations, tensor by tensor.
//
//   options → configuration (config.h) → plan (plan.h) → per tensor: passes over the inputs
//   (arithmetic.h and the methods) → blocks written at known offsets (output.h) → config, tokenizer,
//   card (side_files.h) → manifest.json
//
// Memory: inputs are mapped; a thread holds a few blocks of 65,536 values per input, random and della
// masks one bit per element of the tensor at hand. Results do not depend on the number of threads.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"
#include "merging/plan.h"

namespace bm {

struct MergeOptions {
  std::string config;                  // YAML file
  std::string out;                     // folder to write
  std::optional<int64_t> random_seed;  // mergekit's name for --seed
  std::string out_shard_size = "5B";   // bytes; suffixes k, M, B as mergekit's: powers of 1,000
  bool copy_tokenizer = true;
  bool write_model_card = true;
  bool statistics = false;       // merge_statistics.json and a table in the card
  std::string intermediate_dir;  // for configurations with a name; "" = OUT.intermediate
  bool allow_crimes = false;
  bool unsafe_truncate_embeddings = false;
  // mergekit's flags that change nothing here; naming one is answered with a word about it.
  bool clone_tensors = false, lazy_unpickle = false, low_cpu_memory = false, cuda = false,
       read_to_gpu = false, trust_remote_code = false, safe_serialization = true, multi_gpu = false,
       async_write = false;
  std::string lora_merge_cache, transformers_cache, device;
  // Names in the YAML → folders; recipes fill it ("models: {base: base, adapted: pretrain}").
  std::map<std::string, std::string> model_paths;
};
void describe(Fields& fields, MergeOptions& options);

struct MergeReport {
  bool already_complete = false;
  size_t tensors = 0;
  uint64_t bytes = 0;
  double seconds = 0;
  std::vector<Lint> lints;
  Json summary;  // what manifest.json keeps under "results"
};

// bad_input: configuration or models are wrong, nothing was written. failed: disk. interrupted: resumable.
Result<MergeReport> merge(const MergeOptions& options, const CommonOptions& common);

// What merge() would do: {"method", "mode", "tensors": [...], "memory_bytes", "disk_bytes", "read_bytes",
// "seconds_estimate", "warnings"}, for a file of several configurations those of the last, with "earlier":
// the others. Reads no weights.
Result<Json> merge_plan(const MergeOptions& options, const CommonOptions& common);

// "9000", "20k", "5B" → bytes.
Result<uint64_t> parse_shard_size(const std::string& text);

}  // namespace bm
