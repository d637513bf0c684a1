// Messages and progress. Nothing below cli/ prints: lines go to the sink that cli/ installs
// (standard error and, with --log, JSON lines in a file); without one they are dropped.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "base/json.h"

namespace bm {

enum class LogLevel { debug, info, warning, error };

struct ProgressState {
  std::string label;  // "AWQ search"
  std::string unit;   // "layers"
  uint64_t done = 0;
  uint64_t total = 0;  // 0 = unknown
  double seconds = 0;  // since the start
  std::string note;    // e.g. "loss 3.21, 812 tok/s"
  bool finished = false;
};

class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void message(LogLevel level, std::string_view text, const Json& fields) = 0;
  virtual void progress(const ProgressState& state) = 0;
};

void set_log_sink(LogSink* sink);  // not owned; nullptr = drop
void log_message(LogLevel level, std::string_view text, const Json& fields = {});
inline void log_debug(std::string_view text, const Json& fields = {}) { log_message(LogLevel::debug, text, fields); }
inline void log_info(std::string_view text, const Json& fields = {}) { log_message(LogLevel::info, text, fields); }
inline void log_warning(std::string_view text, const Json& fields = {}) { log_message(LogLevel::warning, text, fields); }

// Reports done/total with rate and time left, at most ten times a second. Thread-safe.
class Progress {
 public:
  Progress(std::string label, std::string unit, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(uint64_t amount = 1);
  void set_done(uint64_t done);
  void set_total(uint64_t total);
  void note(std::string text);

 private:
  void report(bool force, bool finished);
  std::mutex mutex_;
  ProgressState state_;
  std::chrono::steady_clock::time_point start_, last_;
};

// Set by cli/'s handlers of SIGINT and SIGTERM; loops poll it between items and return
// Error{Code::interrupted} after saving what a resume needs.
void request_stop();
bool stop_requested();
Error interrupted_error(std::string_view what);

std::string format_bytes(uint64_t bytes);      // "1.5 GB" (powers of 1,024)
std::string format_duration(double seconds);   // "3 min 20 s"
std::string format_count(uint64_t count);      // "1,534"

}  // namespace bm
