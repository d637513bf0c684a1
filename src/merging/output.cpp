#include "merging/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/threads.h"

namespace bm {
namespace {

constexpr const char* kJournal = ".merge-journal";

Error system_error(const std::string& path, const std::string& doing) {
  std::string reason = std::strerror(errno);
  bool full = errno == ENOSPC || errno == EDQUOT;
  return failed(doing + ": " + reason,
                full ? "Free space there, then run the same command again: it resumes." : "")
      .in(path);
}

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_ = -1;
};

Status write_all(int descriptor, const std::string& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error(path, "cannot write");
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

struct Shard {
  std::string name, path;  // path: where it lies now
  SafetensorsLayout layout;
  Descriptor file;
};

// True when the file at path has this size and begins with this header.
bool holds(const std::string& path, const SafetensorsLayout& layout) {
  auto size = file_size(path);
  if (!size.ok() || *size != layout.file_size) return false;
  auto file = MappedFile::open(path);
  return file.ok() && file->text().substr(0, layout.header.size()) == layout.header;
}

}  // namespace

uint64_t block_checksum(std::span<const std::byte> bytes) {
  // Four lanes of multiply-and-rotate over 64-bit words; detects torn and lost writes, no adversary.
  constexpr uint64_t prime = 0x9E3779B185EBCA87u;
  uint64_t lane[4] = {prime, prime ^ 1, prime ^ 2, prime ^ 3};
  size_t i = 0;
  for (; i + 32 <= bytes.size(); i += 32)
    for (size_t k = 0; k < 4; ++k) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + i + 8 * k, 8);
      uint64_t x = lane[k] ^ word;
      lane[k] = ((x << 29) | (x >> 35)) * prime;
    }
  uint64_t hash = bytes.size();
  for (; i < bytes.size(); ++i) hash = (hash ^ static_cast<uint64_t>(bytes[i])) * prime;
  for (uint64_t value : lane) hash = mix64(hash ^ value);
  return hash;
}

uint64_t combine_checksums(const std::vector<uint64_t>& blocks) {
  uint64_t hash = blocks.size();
  for (uint64_t block : blocks) hash = mix64(hash * 31 + block);
  return hash;
}

ShardPlan plan_merge_shards(const std::vector<TensorSpec>& tensors, uint64_t shard_bytes) {
  ShardPlan plan;
  uint64_t filled = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t bytes = tensors[i].bytes();
    bool close = !plan.tensors.empty() && !plan.tensors.back().empty() && shard_bytes > 0 &&
                 filled + bytes > shard_bytes;
    if (plan.tensors.empty() || close) {
      plan.tensors.emplace_back();
      filled = 0;
    }
    plan.tensors.back().push_back(i);
    filled += bytes;
  }
  size_t count = plan.tensors.size();
  for (size_t i = 0; i < count; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
    plan.names.push_back(count == 1 ? "model.safetensors" : name);
  }
  return plan;
}

struct MergeOutput::State {
  std::string folder;
  std::vector<TensorSpec> tensors;
  uint64_t block_elements = 0;
  ShardPlan plan;
  std::vector<Shard> shards;
  std::vector<size_t> shard_of, place;  // per tensor: its shard, its index there
  std::vector<char> done;
  std::vector<Json> notes;
  Descriptor journal;

  std::string journal_path() const { return path_join(folder, kJournal); }
  uint64_t offset(size_t tensor) const { return shards[shard_of[tensor]].layout.offsets[place[tensor]]; }

  Status open_shard(size_t index, const SafetensorsMetadata& metadata, bool& kept);
  Status open_journal(bool kept);
  void verify(const std::string& text);
  uint64_t checksum_on_disk(const MappedFile& file, size_t tensor) const;
  void remove_strays() const;
};

Status MergeOutput::State::open_shard(size_t index, const SafetensorsMetadata& metadata, bool& kept) {
  Shard shard;
  shard.name = plan.names[index];
  std::vector<TensorSpec> specs;
  for (size_t tensor : plan.tensors[index]) {
    shard_of[tensor] = index;
    place[tensor] = specs.size();
    specs.push_back(tensors[tensor]);
  }
  BM_TRY(shard.layout, plan_safetensors(specs, metadata));
  std::string final_path = path_join(folder, shard.name), partial = path_join(folder, ".merge-" + shard.name);
  // A run cut off between the renames leaves some files under their last names already.
  shard.path = exists(final_path) && !exists(partial) ? final_path : partial;
  bool whole = holds(shard.path, shard.layout);
  kept = kept && whole;
  shard.file = Descriptor(::open(shard.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (shard.file.get() < 0) return system_error(shard.path, "cannot create");
  if (!whole) {
    if (::ftruncate(shard.file.get(), 0) != 0) return system_error(shard.path, "cannot empty");
    // Space is taken now, so that a full disk is reported before the work.
    int code = ::posix_fallocate(shard.file.get(), 0,
                                 static_cast<off_t>(std::max<uint64_t>(1, shard.layout.file_size)));
    if (code != 0) {
      errno = code;
      Error error = system_error(shard.path, "cannot take " + format_bytes(shard.layout.file_size));
      ::unlink(shard.path.c_str());
      return error;
    }
    const std::string& header = shard.layout.header;
    BM_CHECK_OK(
        write_all(shard.file.get(), shard.path, 0, std::as_bytes(std::span(header.data(), header.size()))));
  }
  shards.push_back(std::move(shard));
  return {};
}

uint64_t MergeOutput::State::checksum_on_disk(const MappedFile& file, size_t tensor) const {
  uint64_t begin = offset(tensor), bytes = tensors[tensor].bytes();
  uint64_t block = block_elements * dtype_bits(tensors[tensor].dtype) / 8;
  std::vector<uint64_t> sums(static_cast<size_t>((bytes + block - 1) / block));
  parallel_for(sums.size(), [&](size_t i) {
    uint64_t at = block * i;
    sums[i] = block_checksum(file.bytes().subspan(begin + at, std::min(block, bytes - at)));
  });
  return combine_checksums(sums);
}

// Marks the tensors whose journal line and bytes agree.
void MergeOutput::State::verify(const std::string& text) {
  std::unordered_map<std::string, Json> lines;
  for (const std::string& line : split(text, '\n')) {
    auto entry = parse_json(line);  // a line cut off by the kill is skipped
    if (!entry.ok() || !(*entry)["tensor"].is_string() || !(*entry)["checksum"].is_string()) continue;
    lines[(*entry)["tensor"].as_string()] = *entry;
  }
  std::vector<MappedFile> files;
  for (const Shard& shard : shards) {
    auto file = MappedFile::open(shard.path);
    if (!file.ok()) return;
    files.push_back(std::move(file).value());
  }
  size_t count = 0, broken = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto found = lines.find(tensors[i].name);
    if (found == lines.end()) continue;
    done[i] = found->second["checksum"] == Json(std::to_string(checksum_on_disk(files[shard_of[i]], i)));
    if (done[i]) notes[i] = found->second["notes"];
    ++(done[i] ? count : broken);
  }
  log_info("resuming: " + std::to_string(count) + " of " + std::to_string(tensors.size()) +
           " tensors are there and verified" +
           (broken ? ", " + std::to_string(broken) + " were damaged and are made again" : ""));
}

Status MergeOutput::State::open_journal(bool kept) {
  if (kept && exists(journal_path())) {
    BM_TRY(std::string text, read_file(journal_path()));
    verify(text);
  }
  int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (kept ? 0 : O_TRUNC);
  journal = Descriptor(::open(journal_path().c_str(), flags, 0644));
  if (journal.get() < 0) return system_error(journal_path(), "cannot create");
  // After a line cut off by a kill the next one must not be glued to it.
  if (kept && ::write(journal.get(), "\n", 1) != 1) return system_error(journal_path(), "cannot write");
  return {};
}

// Files of an earlier attempt with another number of shards.
void MergeOutput::State::remove_strays() const {
  auto files = list_files(folder);
  if (!files.ok()) return;
  for (const std::string& path : *files) {
    std::string name = path_name(path);
    if (!starts_with(name, ".merge-model") &&
        !(starts_with(name, "model-") && ends_with(name, ".safetensors")))
      continue;
    bool wanted = std::any_of(shards.begin(), shards.end(), [&](const Shard& shard) {
      return name == shard.name || name == ".merge-" + shard.name;
    });
    if (!wanted) ::unlink(path.c_str());
  }
}

MergeOutput::MergeOutput(std::unique_ptr<State> state) : state_(std::move(state)) {}
MergeOutput::MergeOutput(MergeOutput&&) noexcept = default;
MergeOutput& MergeOutput::operator=(MergeOutput&&) noexcept = default;
MergeOutput::~MergeOutput() = default;

Result<MergeOutput> MergeOutput::open(const std::string& folder, std::vector<TensorSpec> tensors,
                                      uint64_t shard_bytes, const SafetensorsMetadata& metadata,
                                      uint64_t block_elements) {
  auto state = std::make_unique<State>();
  state->folder = folder;
  state->block_elements = block_elements;
  state->plan = plan_merge_shards(tensors, shard_bytes);
  state->tensors = std::move(tensors);
  size_t count = state->tensors.size();
  state->shard_of.resize(count);
  state->place.resize(count);
  state->done.resize(count, 0);
  state->notes.resize(count);
  bool kept = exists(state->journal_path());
  for (size_t i = 0; i < state->plan.names.size(); ++i) BM_CHECK_OK(state->open_shard(i, metadata, kept));
  state->remove_strays();
  BM_CHECK_OK(state->open_journal(kept));
  return MergeOutput(std::move(state));
}

bool MergeOutput::done(size_t tensor) const { return state_->done[tensor] != 0; }
size_t MergeOutput::done_count() const {
  return static_cast<size_t>(std::count(state_->done.begin(), state_->done.end(), 1));
}
const ShardPlan& MergeOutput::shards() const { return state_->plan; }

Status MergeOutput::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
  const Shard& shard = state_->shards[state_->shard_of[tensor]];
  return write_all(shard.file.get(), shard.path, state_->offset(tensor) + offset, bytes);
}

const Json& MergeOutput::notes(size_t tensor) const { return state_->notes[tensor]; }

Status MergeOutput::finish_tensor(size_t tensor, uint64_t checksum, const Json& notes) {
  const Shard& shard = state_->shards[state_->shard_of[tensor]];
  // Without this the disk would idle until the end and then have everything to write.
  ::sync_file_range(shard.file.get(), static_cast<off_t>(state_->offset(tensor)),
                    static_cast<off_t>(state_->tensors[tensor].bytes()), SYNC_FILE_RANGE_WRITE);
  Json entry =
      Json::object({{"tensor", state_->tensors[tensor].name}, {"checksum", std::to_string(checksum)}});
  if (!notes.is_null()) entry.set("notes", notes);
  std::string line = entry.dump() + "\n";
  if (::write(state_->journal.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return system_error(state_->journal_path(), "cannot write");
  state_->done[tensor] = 1;
  state_->notes[tensor] = notes;
  return {};
}

Status MergeOutput::commit(const Json& extra) {
  for (Shard& shard : state_->shards)
    if (::fsync(shard.file.get()) != 0) return system_error(shard.path, "cannot sync");
  uint64_t total = 0;
  Json map = Json::object();
  for (size_t i = 0; i < state_->tensors.size(); ++i) {
    total += state_->tensors[i].bytes();
    map.set(state_->tensors[i].name, state_->shards[state_->shard_of[i]].name);
  }
  for (Shard& shard : state_->shards) {
    std::string target = path_join(state_->folder, shard.name);
    if (shard.path != target) BM_CHECK_OK(rename_path(shard.path, target));
    shard.path = target;
  }
  if (state_->shards.size() > 1) {
    Json metadata = Json::object({{"total_size", total}});
    for (const Json::Member& member : extra.members()) metadata.set(member.first, member.second);
    Json index = Json::object({{"metadata", metadata}, {"weight_map", map}});
    BM_CHECK_OK(write_file_atomic(path_join(state_->folder, "model.safetensors.index.json"),
                                  index.dump_pretty() + "\n"));
  }
  return remove_all(state_->journal_path());
}

}  // namespace bm
