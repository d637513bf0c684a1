#include "training/metrics_log.h"

#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace bm {

Result<MetricsLog> MetricsLog::open(const std::string& path, int64_t steps) {
  std::string kept;
  if (exists(path)) {
    BM_TRY(std::string text, read_file(path));
    for (const std::string& line : split(text, '\n')) {
      auto json = parse_json(line);
      if (!json.ok() || !(*json)["step"].is_integer() || (*json)["step"].as_int() > steps) continue;
      kept += line + "\n";
    }
  }
  BM_CHECK_OK(write_file_atomic(path, kept));
  MetricsLog log;
  log.path_ = path;
  log.file_.reset(std::fopen(path.c_str(), "ab"));
  if (!log.file_) return failed(std::string("cannot be written: ") + std::strerror(errno)).in(path);
  return log;
}

Status MetricsLog::add(const Json& line) {
  std::string text = line.dump_spaced() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
    return failed(std::string("cannot be written: ") + std::strerror(errno), "Is the disk full?").in(path_);
  return {};
}

}  // namespace bm
