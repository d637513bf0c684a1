#include "formats/hf_folder.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "formats/gguf.h"
#include "formats/gguf_tokenizer.h"

namespace bm {
namespace {

std::string shard_name(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

bool is_weight_name(std::string_view name) {
  return name == "model.safetensors" || name == "model.safetensors.index.json" ||
         (starts_with(name, "model-") && ends_with(name, ".safetensors") &&
          name.find("-of-") != std::string_view::npos);
}

// True when the file is whole and its header is the one that would be written.
bool same_header(const std::string& path, const SafetensorsLayout& layout) {
  auto file = MappedFile::open(path);
  return file.ok() && file->size() == layout.file_size &&
         std::memcmp(file->bytes().data(), layout.header.data(), layout.header.size()) == 0;
}

Status write_shard(const std::string& path, const std::vector<const OutputTensor*>& tensors,
                   const HfFolderOptions& options, Progress& progress) {
  std::vector<TensorSpec> specs;
  for (const OutputTensor* tensor : tensors) specs.push_back(tensor->spec);
  BM_TRY(SafetensorsLayout layout, plan_safetensors(specs, options.metadata).in(path));
  if (options.resume && same_header(path, layout)) {
    progress.advance(tensors.size());
    return {};
  }
  BM_TRY(SafetensorsWriter writer, SafetensorsWriter::create(path, specs, options.metadata));
  for (size_t i : writer.order()) {
    if (stop_requested()) return interrupted_error("writing " + path);
    const TensorSpec& spec = specs[i];
    BM_TRY(TensorView view, tensors[i]->produce().in("tensor " + spec.name));
    if (view.dtype != spec.dtype || view.shape != spec.shape)
      return failed("was made as " + std::string(dtype_name(view.dtype)) + " " + shape_text(view.shape) +
                    ", planned as " + std::string(dtype_name(spec.dtype)) + " " + shape_text(spec.shape))
          .in("tensor " + spec.name);
    BM_CHECK_OK(writer.write(i, view.span()));
    progress.advance();
  }
  return writer.commit();
}

Status write_index(const std::string& folder, const std::vector<OutputTensor>& tensors,
                   const std::vector<size_t>& shards, size_t count, const HfFolderOptions& options) {
  uint64_t bytes = 0, parameters = 0;
  std::vector<std::pair<std::string, std::string>> map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    bytes += tensors[i].spec.bytes();
    parameters += static_cast<uint64_t>(element_count(tensors[i].spec.shape));
    map.emplace_back(tensors[i].spec.name, shard_name(shards[i], count));
  }
  std::sort(map.begin(), map.end());
  Json metadata = options.index_metadata.is_object() ? options.index_metadata : Json::object();
  if (options.total_parameters) metadata.set("total_parameters", Json(parameters));
  metadata.set("total_size", Json(bytes));
  Json weights = Json::object();
  for (auto& [name, file] : map) weights.set(name, file);
  Json index = Json::object({{"metadata", metadata}, {"weight_map", weights}});
  return write_file_atomic(path_join(folder, "model.safetensors.index.json"), index.dump_pretty(2) + "\n");
}

// Weight files of an earlier writing with other shards would make the folder ambiguous.
Status remove_stale(const std::string& folder, size_t count) {
  std::vector<std::string> wanted;
  for (size_t i = 0; i < count; ++i) wanted.push_back(shard_name(i, count));
  if (count > 1) wanted.emplace_back("model.safetensors.index.json");
  std::error_code code;
  std::vector<std::string> stale;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    std::string name = at->path().filename().string();
    if (is_weight_name(name) && std::find(wanted.begin(), wanted.end(), name) == wanted.end())
      stale.push_back(name);
  }
  for (const std::string& name : stale) BM_CHECK_OK(remove_all(path_join(folder, name)));
  return {};
}

}  // namespace

std::vector<size_t> plan_shards(const std::vector<OutputTensor>& tensors, uint64_t shard_bytes) {
  std::vector<size_t> shards;
  size_t shard = 0;
  uint64_t filled = 0;
  for (const OutputTensor& tensor : tensors) {
    uint64_t bytes = tensor.spec.bytes();
    if (filled > 0 && filled + bytes > shard_bytes) {
      ++shard;
      filled = 0;
    }
    filled += bytes;
    shards.push_back(shard);
  }
  return shards;
}

Status write_config_json(const std::string& folder, const Json& config) {
  return write_file_atomic(path_join(folder, "config.json"), config.dump_pretty(2) + "\n");
}

Status write_hf_folder(const std::string& folder, const Json& config,
                       const std::vector<OutputTensor>& tensors, const HfFolderOptions& options) {
  BM_CHECK_OK(make_directories(folder));
  std::vector<size_t> shards = plan_shards(tensors, options.shard_bytes);
  size_t count = shards.empty() ? 1 : shards.back() + 1;
  std::vector<std::vector<const OutputTensor*>> parts(count);
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    parts[shards[i]].push_back(&tensors[i]);
    bytes += tensors[i].spec.bytes();
  }
  BM_TRY(uint64_t space, free_space(folder));
  // A shard being replaced still counts while its successor is written, so only a clear lack is refused.
  if (space < bytes && !options.resume)
    return failed("needs " + format_bytes(bytes) + ", " + format_bytes(space) + " are free",
                  "Free space or choose another folder")
        .in(folder);
  Progress progress(options.progress_label, "tensors", tensors.size());
  for (size_t i = 0; i < count; ++i)
    BM_CHECK_OK(write_shard(path_join(folder, shard_name(i, count)), parts[i], options, progress));
  if (count > 1) BM_CHECK_OK(write_index(folder, tensors, shards, count, options));
  if (!config.is_null()) BM_CHECK_OK(write_config_json(folder, config));
  return remove_stale(folder, count);
}

Result<std::vector<std::string>> copy_tokenizer_files(const std::string& from_folder,
                                                      const std::string& to_folder,
                                                      bool with_generation_config) {
  std::vector<std::string> names = {"tokenizer.json",
                                    "tokenizer.model",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "chat_template.jinja",
                                    "chat_template.json"};
  if (with_generation_config) names.emplace_back("generation_config.json");
  BM_CHECK_OK(make_directories(to_folder));
  std::vector<std::string> copied;
  if (!is_directory(from_folder) && ends_with(from_folder, ".gguf")) {
    BM_TRY(GgufFile file, GgufFile::open(from_folder));
    BM_TRY(auto files, tokenizer_files_from_gguf(file.metadata()).in(from_folder));
    for (const NamedText& text : files) {
      BM_CHECK_OK(write_file_atomic(path_join(to_folder, text.name), text.content));
      copied.push_back(text.name);
    }
    return copied;
  }
  for (const std::string& name : names) {
    std::string from = path_join(from_folder, name);
    if (!exists(from)) continue;
    BM_CHECK_OK(copy_file(from, path_join(to_folder, name)));
    copied.push_back(name);
  }
  return copied;
}

}  // namespace bm
