// JSON lines compressed by all threads: the lines are cut into frames at fixed sizes, each compressed by
// itself (Zstandard allows frames one after the other), so the bytes do not depend on the threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace bm {

class FrameWriter {
 public:
  // The file appears with commit(). level: Zstandard's.
  static Result<FrameWriter> create(const std::string& path, int level);
  Status write_line(std::string_view line);  // without its line end
  uint64_t lines() const { return lines_; }
  Status commit();

 private:
  FrameWriter(AtomicFile file, int level) : file_(std::move(file)), level_(level) {}
  Status flush();
  AtomicFile file_;
  int level_;
  uint64_t lines_ = 0;
  std::vector<std::string> frames_;  // full ones, and the one that grows
};

}  // namespace bm
