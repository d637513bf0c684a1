#include "formats/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

#include "base/file.h"
#include "base/options.h"
#include "formats/gguf.h"
#include "formats/pytorch.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

constexpr const char* accepted =
    "A model is a folder with config.json and safetensors or pytorch_model*.bin, or a .gguf file";

enum class Kind { safetensors, pytorch, gguf };

Result<Kind> file_kind(const MappedFile& file) {
  auto bytes = file.bytes();
  if (bytes.size() >= 4 && !std::memcmp(bytes.data(), "GGUF", 4)) return Kind::gguf;
  if (looks_like_pytorch(bytes)) return Kind::pytorch;
  if (ends_with(file.path(), ".bin") || ends_with(file.path(), ".pt") || ends_with(file.path(), ".pth"))
    return Kind::pytorch;
  if (ends_with(file.path(), ".gguf")) return Kind::gguf;
  if (ends_with(file.path(), ".safetensors") || bytes.size() < 9 || bytes[8] == std::byte{'{'})
    return Kind::safetensors;
  return bad_input("is no weight file of a known kind", accepted).in(file.path());
}

// The shard files an index names, in order of their names, with the tensors promised in each.
using ShardMap = std::map<std::string, std::vector<std::string>>;

Result<ShardMap> read_index(const std::string& path) {
  BM_TRY(Json json, read_json_file(path));
  const Json& map = json["weight_map"];
  if (!map.is_object() || map.size() == 0)
    return bad_input("\"weight_map\" is missing or empty", "Download the index again").in(path);
  ShardMap shards;
  for (const auto& [tensor, file] : map.members()) {
    if (!file.is_string() || file.as_string().empty())
      return bad_input("its file is no name").in("tensor " + tensor).in(path);
    const std::string& name = file.as_string();
    if (name.find('/') != std::string::npos || name.find('\\') != std::string::npos || name == ".." ||
        name == "." || name.find('\0') != std::string::npos)
      return bad_input("names the file \"" + name + "\" outside the model's folder",
                       "Shards lie beside the index; do not use this index")
          .in("tensor " + tensor)
          .in(path);
    shards[name].push_back(tensor);
  }
  return shards;
}

// model-00001-of-00003.safetensors: {"model", 1, 3}.
struct ShardName {
  std::string stem;
  int64_t number = 0, count = 0;
};
std::optional<ShardName> parse_shard_name(std::string_view name, std::string_view extension) {
  if (!ends_with(name, extension)) return std::nullopt;
  name.remove_suffix(extension.size());
  size_t of = name.rfind("-of-");
  size_t dash = of == std::string_view::npos || of == 0 ? of : name.rfind('-', of - 1);
  if (of == std::string_view::npos || dash == std::string_view::npos) return std::nullopt;
  std::string number(name.substr(dash + 1, of - dash - 1)), count(name.substr(of + 4));
  auto digits = [](const std::string& text) {
    return !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos;
  };
  if (!digits(number) || !digits(count)) return std::nullopt;
  return ShardName{std::string(name.substr(0, dash)), std::stoll(number), std::stoll(count)};
}

Result<std::vector<std::string>> folder_names(const std::string& folder) {
  std::error_code code;
  std::vector<std::string> names;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code))
    names.push_back(at->path().filename().string());
  if (code) return bad_input("cannot be read: " + code.message()).in(folder);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

struct Checkpoint::State {
  // Where a tensor lies: which file of its kind, and what of it.
  struct Place {
    Kind kind;
    size_t file;  // in the kind's list
    size_t name;  // in names
    std::string stored_name;
    int64_t rotary_heads = 0;
  };
  std::string path;
  std::vector<std::string> files, names;
  Json config, gguf_metadata;
  bool gguf = false;
  std::vector<SafetensorsFile> safetensors;
  std::vector<PytorchFile> pytorch;
  std::vector<GgufFile> gguf_files;
  std::unordered_map<std::string, Place> places;

  Status open_folder();
  Status open_indexed(const std::string& index);
  Status open_without_index(const std::vector<std::string>& names_there);
  Status add_file(const std::string& file);
  Status add_gguf(const std::string& file);
  Status add(std::string name, Place place);
  Result<StoredTensor> gguf_tensor(const Place& place) const;
};

Status Checkpoint::State::add(std::string name, Place place) {
  place.name = names.size();
  auto [found, fresh] = places.emplace(name, std::move(place));
  if (!fresh)
    return bad_input("tensor " + name + " is in more than one shard",
                     "Files of two versions of the model are mixed; download it again")
        .in(files.back());
  names.push_back(std::move(name));
  return {};
}

Status Checkpoint::State::add_gguf(const std::string& file) {
  BM_TRY(GgufFile opened, GgufFile::open(file));
  const Json& split = opened.metadata()["split.count"];
  if (split.is_integer() && split.as_int() > 1)
    return bad_input("is one of " + split.dump() + " parts of a split GGUF",
                     "Join them first with llama-gguf-split --merge")
        .in(file);
  BM_TRY(config, config_from_gguf(opened));
  gguf = true;
  gguf_metadata = opened.metadata();
  int64_t heads = config["num_attention_heads"].as_int(), kv_heads = config["num_key_value_heads"].as_int();
  for (const GgufTensor& tensor : opened.tensors()) {
    auto mapping = map_gguf_tensor(tensor.name, heads, kv_heads);
    if (!mapping && tensor.name == "rope_freqs.weight") continue;  // is in the config
    if (!mapping)
      return bad_input("tensor " + tensor.name + " has no place in a Llama model",
                       "The file is of another architecture")
          .in(file);
    if (mapping->rotary_heads > 0 &&
        (tensor.shape.empty() || tensor.shape[0] % (2 * mapping->rotary_heads) != 0))
      return bad_input("shape " + shape_text(tensor.shape) + " does not divide into heads")
          .in("tensor " + tensor.name)
          .in(file);
    BM_CHECK_OK(add(mapping->name, {Kind::gguf, gguf_files.size(), 0, tensor.name, mapping->rotary_heads}));
  }
  gguf_files.push_back(std::move(opened));
  return {};
}

Status Checkpoint::State::add_file(const std::string& file) {
  BM_TRY(MappedFile mapped, MappedFile::open(file));
  BM_TRY(Kind kind, file_kind(mapped));
  files.push_back(file);
  if (kind == Kind::gguf) return add_gguf(file);
  if (kind == Kind::safetensors) {
    BM_TRY(SafetensorsFile opened, SafetensorsFile::open(file));
    for (const auto& entry : opened.entries())
      BM_CHECK_OK(add(entry.name, {kind, safetensors.size(), 0, entry.name}));
    safetensors.push_back(std::move(opened));
  } else {
    BM_TRY(PytorchFile opened, PytorchFile::open(file));
    for (const auto& tensor : opened.tensors())
      BM_CHECK_OK(add(tensor.name, {kind, pytorch.size(), 0, tensor.name}));
    pytorch.push_back(std::move(opened));
  }
  return {};
}

Status Checkpoint::State::open_indexed(const std::string& index) {
  std::string index_path = path_join(path, index);
  BM_TRY(ShardMap shards, read_index(index_path));
  for (const auto& [shard, tensors] : shards)
    if (!exists(path_join(path, shard)))
      return bad_input("shard " + shard + " is missing; the index puts " + std::to_string(tensors.size()) +
                           " tensors in it, first " + tensors.front(),
                       "Download the shard into the folder")
          .in(index_path);
  for (const auto& [shard, tensors] : shards) BM_CHECK_OK(add_file(path_join(path, shard)));
  for (const auto& [shard, tensors] : shards)
    for (const std::string& tensor : tensors) {
      auto found = places.find(tensor);
      bool there = found != places.end();
      const Place* place = there ? &found->second : nullptr;
      std::string where = !there                             ? ""
                          : place->kind == Kind::safetensors ? path_name(safetensors[place->file].path())
                                                             : path_name(pytorch[place->file].path());
      if (where != shard)
        return bad_input("tensor " + tensor + " is not in shard " + shard + ", as the index says, but " +
                             (there ? "in " + where : std::string("nowhere")),
                         "Index and shards are of different versions; download both again")
            .in(index_path);
    }
  return {};
}

// Shards without their index, or one file under another name.
Status Checkpoint::State::open_without_index(const std::vector<std::string>& names_there) {
  for (std::string_view extension : {".safetensors", ".bin"}) {
    std::map<std::pair<std::string, int64_t>, std::set<int64_t>> groups;
    for (const std::string& name : names_there)
      if (auto shard = parse_shard_name(name, extension))
        groups[{shard->stem, shard->count}].insert(shard->number);
    if (groups.empty()) continue;
    if (groups.size() > 1)
      return bad_input("shards of more than one model lie here and no index says which are meant", accepted)
          .in(path);
    const auto& [key, numbers] = *groups.begin();
    for (int64_t i = 1; i <= key.second; ++i)
      if (!numbers.count(i))
        return bad_input("shard " + std::to_string(i) + " of " + std::to_string(key.second) + " of " +
                             key.first + "-*" + std::string(extension) + " is missing, and the index too",
                         "Download the missing files")
            .in(path);
    for (const std::string& name : names_there)
      if (parse_shard_name(name, extension)) BM_CHECK_OK(add_file(path_join(path, name)));
    return {};
  }
  for (std::string_view extension : {".safetensors", ".gguf"}) {
    std::vector<std::string> found;
    for (const std::string& name : names_there)
      if (ends_with(name, extension)) found.push_back(name);
    if (found.size() == 1) return add_file(path_join(path, found[0]));
    if (found.size() > 1)
      return bad_input("holds " + std::to_string(found.size()) + " " + std::string(extension) +
                           " files and no index",
                       "Name one of them")
          .in(path);
  }
  return bad_input(
             "no weights: neither model.safetensors, pytorch_model.bin, an index of shards nor a .gguf file",
             accepted)
      .in(path);
}

Status Checkpoint::State::open_folder() {
  std::string config_path = path_join(path, "config.json");
  if (exists(config_path)) {
    BM_TRY(config, read_json_file(config_path));
  }
  BM_TRY(auto names_there, folder_names(path));
  auto there = [&](std::string_view name) {
    return std::binary_search(names_there.begin(), names_there.end(), name);
  };
  constexpr std::pair<const char*, const char*> forms[] = {
      {"model.safetensors", "model.safetensors.index.json"},
      {"pytorch_model.bin", "pytorch_model.bin.index.json"}};
  for (auto [whole, index] : forms) {
    if (there(whole) && there(index)) {
      BM_TRY(ShardMap shards, read_index(path_join(path, index)));
      if (shards.size() == 1 && shards.begin()->first == whole) return open_indexed(index);
      return bad_input("both " + std::string(whole) + " and " + index +
                           " are here, and the index names other files",
                       "Remove the one that is not meant")
          .in(path);
    }
    if (there(whole)) return add_file(path_join(path, whole));
    if (there(index)) return open_indexed(index);
  }
  return open_without_index(names_there);
}

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  if (!exists(path)) return bad_input("does not exist", accepted).in(path);
  auto state = std::make_shared<State>();
  state->path = path;
  if (is_directory(path)) {
    BM_CHECK_OK(state->open_folder());
  } else {
    BM_CHECK_OK(state->add_file(path));
  }
  Checkpoint result;
  result.state_ = std::move(state);
  return result;
}

const std::string& Checkpoint::path() const { return state_->path; }
const std::vector<std::string>& Checkpoint::files() const { return state_->files; }
const std::vector<std::string>& Checkpoint::names() const { return state_->names; }
const Json& Checkpoint::config() const { return state_->config; }
const Json& Checkpoint::gguf_metadata() const { return state_->gguf_metadata; }
bool Checkpoint::is_gguf() const { return state_->gguf; }
void Checkpoint::drop_pages() const {
  for (const SafetensorsFile& file : state_->safetensors) file.drop_pages();
  for (const PytorchFile& file : state_->pytorch) file.drop_pages();
  for (const GgufFile& file : state_->gguf_files) file.drop_pages();
}

bool Checkpoint::contains(std::string_view name) const {
  return state_->places.count(std::string(name)) != 0;
}

// Dense view or block rows; the rows of q and k are copied back into Hugging Face's order.
Result<StoredTensor> Checkpoint::State::gguf_tensor(const Place& place) const {
  const GgufFile& file = gguf_files[place.file];
  const GgufTensor& tensor = *file.find(place.stored_name);
  if (!tensor.blocks && !tensor.dtype)
    return bad_input("is stored as " + ggml_type_name(tensor.type) + ", which is not read",
                     "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are")
        .in("tensor " + place.stored_name)
        .in(file.path());
  auto data = file.data(tensor);
  StoredTensor result{names[place.name], tensor.shape, tensor.blocks, {}, file.path()};
  Shape bytes_shape{static_cast<int64_t>(data.size())};
  if (tensor.blocks) {
    result.view = {DType::u8, bytes_shape, data.data(), file.owner()};
  } else {
    result.view = {*tensor.dtype, tensor.shape, data.data(), file.owner()};
  }
  if (place.rotary_heads == 0) return result;
  Tensor rows = tensor.blocks ? Tensor(DType::u8, bytes_shape) : Tensor(*tensor.dtype, tensor.shape);
  int64_t count = tensor.shape[0];
  size_t row_bytes = data.size() / static_cast<size_t>(count);
  for (int64_t row = 0; row < count; ++row) {
    auto from = static_cast<size_t>(permuted_row(row, count, place.rotary_heads));
    std::memcpy(rows.data() + static_cast<size_t>(row) * row_bytes, data.data() + from * row_bytes,
                row_bytes);
  }
  result.view = rows.view();
  return result;
}

Result<StoredTensor> Checkpoint::get(std::string_view name) const {
  auto found = state_->places.find(std::string(name));
  if (found == state_->places.end()) {
    std::string nearest = nearest_word(name, state_->names);
    return bad_input("tensor " + std::string(name) + " is missing",
                     nearest.empty() ? "" : "The nearest name there is " + nearest)
        .in(path());
  }
  const State::Place& place = found->second;
  if (place.kind == Kind::gguf) return state_->gguf_tensor(place);
  StoredTensor result;
  result.name = found->first;
  if (place.kind == Kind::safetensors) {
    const SafetensorsFile& file = state_->safetensors[place.file];
    result.view = file.view(*file.find(name));
    result.file = file.path();
  } else {
    const PytorchFile& file = state_->pytorch[place.file];
    BM_TRY(result.view, file.view(*file.find(name)).in("tensor " + found->first).in(file.path()));
    result.file = file.path();
  }
  result.shape = result.view.shape;
  return result;
}

Result<std::vector<float>> Checkpoint::get_f32(std::string_view name) const {
  BM_TRY(StoredTensor tensor, get(name));
  if (!tensor.blocks) return to_f32(tensor.view).in("tensor " + tensor.name).in(tensor.file);
  int64_t count = element_count(tensor.shape);
  std::vector<float> values(static_cast<size_t>(count));
  dequantize_blocks(*tensor.blocks, tensor.view.data, values.data(), count);
  return values;
}

}  // namespace bm
