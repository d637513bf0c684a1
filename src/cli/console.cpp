#include "cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/system.h"
#include "cli/verb.h"

namespace bm {
namespace {

std::string progress_text(const ProgressState& state) {
  std::string text = state.label + " " + format_count(state.done);
  if (state.total) text += "/" + format_count(state.total);
  text += " " + state.unit;
  if (state.total && state.total >= state.done)
    text += " (" + std::to_string(100 * state.done / state.total) + " %)";
  double rate = state.seconds > 0 ? static_cast<double>(state.done) / state.seconds : 0;
  if (rate > 0) {
    char number[48];
    std::snprintf(number, sizeof number,
                  rate >= 100 ? ", %.0f/s"
                  : rate >= 1 ? ", %.1f/s"
                              : ", %.3f/s",
                  rate);
    text += number;
    if (!state.finished && state.total > state.done)
      text += ", " + format_duration(static_cast<double>(state.total - state.done) / rate) + " left";
  }
  if (state.finished) text += ", took " + format_duration(state.seconds);
  if (!state.note.empty()) text += ", " + state.note;
  return text;
}

size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 100;
}

}  // namespace

class Console::Sink final : public LogSink {
 public:
  Sink(const CommonOptions& options, std::FILE* log)
      : log_(log),
        quiet_(options.quiet),
        verbose_(options.verbose),
        terminal_(isatty(STDERR_FILENO) != 0),
        progress_(!options.quiet && !options.no_progress) {}
  ~Sink() override { close(); }

  void message(LogLevel level, std::string_view text, const Json& fields) override {
    std::lock_guard lock(mutex_);
    write_log(level_word(level), text, fields);
    bool shown = level == LogLevel::error || (!quiet_ && level != LogLevel::debug) || verbose_;
    if (!shown) return;
    clear_line();
    std::string line = level == LogLevel::warning ? "warning: " : "";
    line += std::string(text) + "\n";
    std::fputs(line.c_str(), stderr);
  }

  void progress(const ProgressState& state) override {
    std::lock_guard lock(mutex_);
    double now = now_seconds();
    // The log gets one line in two seconds, a file behind standard error one in ten.
    if (log_ && (state.finished || now - logged_ > 2)) {
      logged_ = now;
      Json fields = Json::object({{"label", state.label},
                                  {"done", state.done},
                                  {"total", state.total},
                                  {"unit", state.unit},
                                  {"seconds", state.seconds}});
      if (!state.note.empty()) fields.set("note", state.note);
      write_log("progress", progress_text(state), fields);
    }
    if (!progress_) return;
    if (!terminal_) {
      if (!state.finished && now - shown_ < 10) return;
      if (state.finished && state.seconds < 1) return;
      shown_ = now;
      std::fputs((progress_text(state) + "\n").c_str(), stderr);
      return;
    }
    std::string text = progress_text(state);
    size_t width = terminal_width();
    if (text.size() >= width) text.resize(width - 1);
    clear_line();
    std::fputs(text.c_str(), stderr);
    line_open_ = true;
    if (state.finished) {
      std::fputc('\n', stderr);
      line_open_ = false;
    }
    std::fflush(stderr);
  }

  void close() {
    std::lock_guard lock(mutex_);
    clear_line();
    if (log_) std::fclose(log_);
    log_ = nullptr;
  }

 private:
  static const char* level_word(LogLevel level) {
    switch (level) {
      case LogLevel::debug:
        return "debug";
      case LogLevel::info:
        return "info";
      case LogLevel::warning:
        return "warning";
      case LogLevel::error:
        return "error";
    }
    return "info";
  }
  void write_log(const char* kind, std::string_view text, const Json& fields) {
    if (!log_) return;
    Json line = Json::object({{"time", utc_timestamp()}, {"kind", kind}, {"text", text}});
    if (fields.is_object() && fields.size()) line.set("fields", fields);
    std::fputs((line.dump() + "\n").c_str(), log_);
    std::fflush(log_);
  }
  void clear_line() {
    if (!line_open_) return;
    std::fputs("\r\033[K", stderr);
    line_open_ = false;
  }

  std::mutex mutex_;
  std::FILE* log_;
  bool quiet_, verbose_, terminal_, progress_, line_open_ = false;
  double logged_ = 0, shown_ = 0;
};

Console::Console(std::unique_ptr<Sink> sink) : sink_(std::move(sink)) {}
Console::Console(Console&&) noexcept = default;
Console& Console::operator=(Console&&) noexcept = default;
Console::~Console() = default;
LogSink* Console::sink() { return sink_.get(); }
void Console::close() { sink_->close(); }

Result<Console> Console::open(const CommonOptions& options) {
  std::FILE* log = nullptr;
  if (!options.log.empty()) {
    log = std::fopen(options.log.c_str(), "ae");
    if (!log) return bad_input(std::string("cannot write the log: ") + std::strerror(errno)).in(options.log);
  }
  return Console(std::make_unique<Sink>(options, log));
}

// ---- standard output ----------------------------------------------------------------------------

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) return;
  std::fprintf(stderr, "biomistral: cannot write to standard output: %s\n", std::strerror(errno));
  std::_Exit(1);
}
void print_line(std::string_view text) { print(std::string(text) + "\n"); }

namespace {

// Columns on the screen: code points, which is right for all but wide and combining characters.
size_t columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}
bool numeric(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.,+-%eE ±×") == std::string::npos;
}

}  // namespace

void print_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> width;
  std::vector<bool> right(header.size(), !rows.empty());
  for (const std::string& cell : header) width.push_back(columns(cell));
  for (const auto& row : rows)
    for (size_t i = 0; i < header.size() && i < row.size(); ++i) {
      width[i] = std::max(width[i], columns(row[i]));
      if (!row[i].empty() && !numeric(row[i])) right[i] = false;
    }
  auto line = [&](const std::vector<std::string>& row) {
    std::string text;
    for (size_t i = 0; i < header.size(); ++i) {
      const std::string cell = i < row.size() ? row[i] : "";
      std::string padding(width[i] - columns(cell), ' ');
      if (i) text += "  ";
      text += right[i] ? padding + cell : cell + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    print_line(text);
  };
  line(header);
  for (const auto& row : rows) line(row);
}

}  // namespace bm
