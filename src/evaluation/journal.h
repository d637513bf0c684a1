// Finished lines of an interrupted run: appended as they come, so that kill −9 loses at most what was
// computed since the last sync (two seconds and the batch under way). A torn last line is ignored.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"

namespace bm {

class Journal {
 public:
  // Reads what is there, cuts a torn end off, opens for appending. `plan` names the plan the keys belong
  // to; a journal of another plan is an error.
  static Result<Journal> open(const std::string& path, const std::string& plan);
  // Only the lines, nothing is changed (another process may be writing).
  static Result<std::map<uint64_t, std::string>> read(const std::string& path, const std::string& plan);
  Journal(Journal&&) noexcept;
  Journal& operator=(Journal&&) = delete;
  ~Journal();

  // key → line as appended before.
  const std::map<uint64_t, std::string>& lines() const { return lines_; }
  std::map<uint64_t, std::string>& lines() { return lines_; }
  // line: one JSON object without a line break.
  Status append(uint64_t key, const std::string& line);
  Status sync(bool now = false);  // at most every two seconds unless now
  // Closes and deletes the file.
  Status remove();

 private:
  Journal() = default;
  std::string path_, pending_;
  int descriptor_ = -1;
  double last_sync_ = 0;
  std::map<uint64_t, std::string> lines_;
};

}  // namespace bm
