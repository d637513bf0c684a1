// The safetensors file of `score --logits`, written row by row as rows come, so that no more than one
// row is held.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace bm {

class LogitsFile {
 public:
  struct PerRequest {
    std::string name;  // the request's id
    int64_t tokens = 0;
  };
  // last_logits [requests, vocab]; logits.<name> [tokens, vocab] for each of `tensors`.
  static Result<LogitsFile> create(const std::string& path, int64_t requests, int64_t vocab,
                                   const std::vector<PerRequest>& tensors);
  Status write_last(int64_t request, const float* row);
  Status write_row(size_t tensor, int64_t token, const float* row);
  Status write_missing(int64_t request);  // NaN
  Status commit() { return file_->commit(); }

 private:
  LogitsFile() = default;
  Status write_at(uint64_t tensor_offset, int64_t row, const float* values);
  std::optional<AtomicFile> file_;
  std::vector<uint64_t> offsets_;  // of last_logits, then of the tensors
  int64_t vocab_ = 0;
};

}  // namespace bm
