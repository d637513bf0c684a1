// Files: read-only memory maps, whole reads, writes that appear only when complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

namespace fs = std::filesystem;

// Read-only map of a whole file. Copies share the map; it is released with the last copy.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  size_t size() const { return bytes_.size(); }
  const std::string& path() const { return path_; }
  // Hints for the kernel: sequential read-ahead, or drop the pages of a range that is done with.
  void advise_sequential() const;
  void drop(size_t offset, size_t length) const;

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::byte> bytes_;
  std::string path_;
};

Result<std::string> read_file(const std::string& path);

// Writes to PATH.tmp-<pid>, syncs, renames over PATH. A failed write leaves PATH as it was.
Status write_file_atomic(const std::string& path, std::string_view content);

// Streaming form: append or write at offsets, then commit(). Without commit the temporary is removed.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;
  ~AtomicFile();
  Status append(std::span<const std::byte> bytes);
  Status append(std::string_view text);
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);  // thread-safe
  // Reserves the space now, so that a full disk is reported before the work.
  Status reserve(uint64_t bytes);
  uint64_t size() const { return position_; }  // bytes appended so far
  Status commit();

 private:
  AtomicFile() = default;
  Status flush();
  void discard() noexcept;
  std::string path_, temporary_;
  int descriptor_ = -1;
  uint64_t position_ = 0;
  std::string buffer_;
};

Status make_directories(const std::string& path);
Status remove_all(const std::string& path);
Status copy_file(const std::string& from, const std::string& to);
Status rename_path(const std::string& from, const std::string& to);
bool exists(const std::string& path);
bool is_directory(const std::string& path);
Result<uint64_t> file_size(const std::string& path);
Result<uint64_t> free_space(const std::string& path);  // bytes
// Regular files below path (path itself if it is a file), sorted bytewise; relative symbolic links followed.
Result<std::vector<std::string>> list_files(const std::string& path);
std::string path_join(std::string_view folder, std::string_view name);
std::string path_name(std::string_view path);    // last component
std::string path_parent(std::string_view path);  // "" when none
bool ends_with(std::string_view text, std::string_view ending);
bool starts_with(std::string_view text, std::string_view beginning);
std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);  // ASCII white space, both ends

}  // namespace bm
