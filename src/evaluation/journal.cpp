#include "evaluation/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/file.h"
#include "base/system.h"

namespace bm {
namespace {

Error system_error(const std::string& path, const char* doing) {
  return failed(std::string(doing) + ": " + std::strerror(errno), "check free space and permissions")
      .in(path);
}

// The whole lines of a journal and the bytes they take; a torn or foreign rest is left out.
Status read_lines(const std::string& path, const std::string& plan, std::map<uint64_t, std::string>& lines,
                  size_t& good) {
  good = 0;
  if (!exists(path)) return {};
  BM_TRY(std::string text, read_file(path));
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    if (end == std::string::npos) break;
    std::string_view line(text.data() + start, end - start);
    if (start == 0) {
      if (line != "plan " + plan)
        return bad_input("holds answers to other prompts", "use --overwrite, or another --out").in(path);
    } else {
      uint64_t key = 0;
      auto [last, error] = std::from_chars(line.data(), line.data() + line.size(), key);
      if (error != std::errc() || last == line.data() + line.size() || *last != '\t' || line.back() != '}')
        break;
      lines[key] = std::string(last + 1, line.data() + line.size());
    }
    start = good = end + 1;
  }
  return {};
}

}  // namespace

Result<std::map<uint64_t, std::string>> Journal::read(const std::string& path, const std::string& plan) {
  std::map<uint64_t, std::string> lines;
  size_t good = 0;
  BM_CHECK_OK(read_lines(path, plan, lines, good));
  return lines;
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)),
      pending_(std::move(other.pending_)),
      descriptor_(other.descriptor_),
      last_sync_(other.last_sync_),
      lines_(std::move(other.lines_)) {
  other.descriptor_ = -1;
}

Journal::~Journal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<Journal> Journal::open(const std::string& path, const std::string& plan) {
  Journal journal;
  journal.path_ = path;
  size_t good = 0;
  BM_CHECK_OK(read_lines(path, plan, journal.lines_, good));
  journal.descriptor_ = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  if (journal.descriptor_ < 0) return system_error(path, "cannot be opened");
  if (::ftruncate(journal.descriptor_, static_cast<off_t>(good)) != 0)
    return system_error(path, "cannot be cut");
  if (::lseek(journal.descriptor_, 0, SEEK_END) < 0) return system_error(path, "cannot be appended to");
  if (good == 0) {
    journal.pending_ = "plan " + plan + "\n";
    BM_CHECK_OK(journal.sync(true));
  }
  return journal;
}

Status Journal::append(uint64_t key, const std::string& line) {
  pending_ += std::to_string(key) + "\t" + line + "\n";
  lines_[key] = line;
  return {};
}

Status Journal::sync(bool now) {
  for (size_t done = 0; done < pending_.size();) {  // written at once: it survives a kill of the process
    ssize_t count = ::write(descriptor_, pending_.data() + done, pending_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(path_, "cannot be written");
    done += static_cast<size_t>(count);
  }
  pending_.clear();
  if (!now && now_seconds() - last_sync_ < 2) return {};
  if (::fdatasync(descriptor_) != 0) return system_error(path_, "cannot be synced");
  last_sync_ = now_seconds();
  return {};
}

Status Journal::remove() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  return remove_all(path_);
}

}  // namespace bm
