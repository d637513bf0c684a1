// Members of .tar, .tar.gz/.tgz, .tar.zst and .zip, one after the other, without ever writing to disk
// (libarchive). Names are data: those that would escape a folder are marked, never followed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace bm {

struct ArchiveMember {
  std::string name;     // as stored, UTF-8 as far as it is (invalid bytes replaced)
  int64_t size = -1;    // bytes; -1 when the archive does not say before the data
  uint64_t index = 0;   // position among all members, from 0
  std::string hostile;  // not empty: why the name is refused ("leaves its folder by ..", "absolute path")
};

// True for names that end in .tar, .tar.gz, .tgz, .tar.zst or .zip (any case).
bool is_archive_name(std::string_view path);
// "" when a member's name is harmless, else the reason.
std::string hostile_name_reason(std::string_view name);

// Streams over one archive; not thread-safe.
class ArchiveReader {
 public:
  // bad_input: not an archive of these kinds.
  static Result<ArchiveReader> open(const std::string& path);
  ArchiveReader(ArchiveReader&&) noexcept;
  ArchiveReader& operator=(ArchiveReader&&) noexcept;
  ~ArchiveReader();

  // Goes to the next regular file; folders, links and devices are passed over. False at the end.
  // An error here means the rest of the archive cannot be read (cut off or damaged).
  Result<bool> next(ArchiveMember& member);
  // The present member's bytes. More than `limit` is an error of this member alone: next() goes on.
  Result<std::string> read(uint64_t limit = uint64_t{1} << 30);
  double share_read() const;  // of the archive file's bytes, 0..1, for progress

 private:
  struct State;
  explicit ArchiveReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bm
