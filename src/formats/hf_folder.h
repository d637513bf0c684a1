// Hugging Face model folders, written: config.json, model.safetensors or shards with an index, and the
// tokenizer and generation files of the folder a model came from. Reading is formats/checkpoint.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"
#include "formats/safetensors.h"
#include "tensor/tensor.h"

namespace bm {

struct OutputTensor {
  TensorSpec spec;
  // Gives the tensor's values in spec's dtype and shape (a view of a mapped file, or of a Tensor that
  // the view keeps alive). Called once, one tensor at a time, in the order of the shard's file.
  std::function<Result<TensorView>()> produce;
};

struct HfFolderOptions {
  uint64_t shard_bytes = 5'000'000'000;  // largest shard; a larger tensor gets a shard of its own
  SafetensorsMetadata metadata = {{"format", "pt"}};  // of each safetensors file
  Json index_metadata;           // more members of index.json's "metadata", before the totals
  bool total_parameters = true;  // transformers 5 writes it beside total_size
  bool resume = true;            // a whole shard left by an interrupted run with the same header is kept
  std::string progress_label = "writing weights";
};

// model.safetensors when all fits one shard, else model-0000i-of-0000n.safetensors and
// model.safetensors.index.json, cut greedily in the order given (transformers'
// split_torch_state_dict_into_shards). config null = no config.json. Files of other shard counts left
// in `folder` are removed last. Stops between tensors when stop_requested().
Status write_hf_folder(const std::string& folder, const Json& config,
                       const std::vector<OutputTensor>& tensors, const HfFolderOptions& options = {});

// The part of write_hf_folder that decides which tensor goes where: shard number of each tensor.
std::vector<size_t> plan_shards(const std::vector<OutputTensor>& tensors, uint64_t shard_bytes);

// config.json as transformers writes it: two spaces, keys in the order given, a line end.
Status write_config_json(const std::string& folder, const Json& config);

// Copies what is there of: tokenizer.json, tokenizer.model, tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, vocab.json, merges.txt, chat_template.jinja, chat_template.json, and, if asked,
// generation_config.json. Returns the names copied; a failed copy is an error. From a .gguf file
// tokenizer.json and tokenizer_config.json are made of its metadata.
Result<std::vector<std::string>> copy_tokenizer_files(const std::string& from_folder,
                                                      const std::string& to_folder,
                                                      bool with_generation_config = true);

}  // namespace bm
