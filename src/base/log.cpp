#include "base/log.h"

#include <array>
#include <cstdio>

namespace bm {
namespace {
std::atomic<LogSink*> g_sink{nullptr};
std::atomic<bool> g_stop{false};
}  // namespace

void set_log_sink(LogSink* sink) { g_sink = sink; }

void log_message(LogLevel level, std::string_view text, const Json& fields) {
  if (LogSink* sink = g_sink) sink->message(level, text, fields);
}

Progress::Progress(std::string label, std::string unit, uint64_t total)
    : start_(std::chrono::steady_clock::now()), last_(start_ - std::chrono::hours(1)) {
  state_.label = std::move(label);
  state_.unit = std::move(unit);
  state_.total = total;
}
Progress::~Progress() { report(true, true); }

void Progress::advance(uint64_t amount) {
  {
    std::lock_guard lock(mutex_);
    state_.done += amount;
  }
  report(false, false);
}
void Progress::set_done(uint64_t done) {
  {
    std::lock_guard lock(mutex_);
    state_.done = done;
  }
  report(false, false);
}
void Progress::set_total(uint64_t total) {
  std::lock_guard lock(mutex_);
  state_.total = total;
}
void Progress::note(std::string text) {
  std::lock_guard lock(mutex_);
  state_.note = std::move(text);
}

void Progress::report(bool force, bool finished) {
  LogSink* sink = g_sink;
  if (!sink) return;
  std::lock_guard lock(mutex_);
  auto now = std::chrono::steady_clock::now();
  if (!force && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  state_.seconds = std::chrono::duration<double>(now - start_).count();
  state_.finished = finished;
  sink->progress(state_);
}

void request_stop() { g_stop.store(true, std::memory_order_relaxed); }
bool stop_requested() { return g_stop.load(std::memory_order_relaxed); }
Error interrupted_error(std::string_view what) {
  return {Code::interrupted, std::string(what) + " was interrupted",
          "What is finished is kept: run the same command again to resume."};
}

std::string format_bytes(uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"B", "KB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string format_duration(double seconds) {
  char text[48];
  if (seconds < 60)
    std::snprintf(text, sizeof text, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  else if (seconds < 3600)
    std::snprintf(text, sizeof text, "%d min %02d s", static_cast<int>(seconds) / 60,
                  static_cast<int>(seconds) % 60);
  else
    std::snprintf(text, sizeof text, "%d h %02d min", static_cast<int>(seconds / 3600),
                  static_cast<int>(seconds / 60) % 60);
  return text;
}

std::string format_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

}  // namespace bm
