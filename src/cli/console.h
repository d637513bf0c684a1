// Standard error (messages, a progress line on terminals) and the --log file.
#pragma once

#include <memory>

#include "base/log.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

class Console {
 public:
  // bad_input when the log file cannot be written.
  static Result<Console> open(const CommonOptions& options);
  Console(Console&&) noexcept;
  Console& operator=(Console&&) noexcept;
  ~Console();
  LogSink* sink();
  void close();  // ends the progress line, flushes the log

 private:
  class Sink;
  explicit Console(std::unique_ptr<Sink> sink);
  std::unique_ptr<Sink> sink_;
};

}  // namespace bm
