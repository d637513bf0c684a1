#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bm {
namespace {

std::string errno_text() { return std::strerror(errno); }

// Errors of the user's paths are bad input; the machine's (disk full, I/O) are failures.
Error system_error(const std::string& action, const std::string& path) {
  int number = errno;
  std::string what = "cannot " + action + ": " + errno_text();
  std::string cure;
  bool machine = number == ENOSPC || number == EDQUOT || number == EIO || number == EMFILE ||
                 number == ENOMEM || number == EFBIG;
  if (number == ENOENT) cure = "Check the path.";
  if (number == EACCES || number == EPERM) cure = "Check the permissions of the file and its folder.";
  if (number == ENOSPC || number == EDQUOT)
    cure = "Free some space or choose another disk; finished work is kept, run the same command again.";
  if (number == EFBIG)
    cure = "The file would pass the limit on file sizes (ulimit -f): raise it, run the same command again.";
  if (number == EROFS) cure = "The file system is read-only: choose another folder.";
  Error error(machine ? Code::failed : Code::bad_input, std::move(what), std::move(cure));
  error.in(path);
  return error;
}

struct Mapping {
  void* address = nullptr;
  size_t length = 0;
  ~Mapping() {
    if (address) ::munmap(address, length);
  }
};

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

constexpr size_t kBuffer = 1 << 20;

Status sync_folder(const std::string& path) {
  std::string folder = path_parent(path);
  Descriptor descriptor(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() >= 0) ::fsync(descriptor.get());  // best effort: some file systems refuse
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0) return system_error("open", path);
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) return system_error("read", path);
  if (S_ISDIR(status.st_mode)) return bad_input("is a folder, a file is wanted").in(path);
  if (!S_ISREG(status.st_mode)) return bad_input("is no regular file").in(path);
  MappedFile file;
  file.path_ = path;
  auto mapping = std::make_shared<Mapping>();
  auto length = static_cast<size_t>(status.st_size);
  if (length > 0) {
    void* address = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor.get(), 0);
    if (address == MAP_FAILED) return system_error("map", path);
    mapping->address = address;
    mapping->length = length;
    file.bytes_ = {static_cast<const std::byte*>(address), length};
  }
  file.owner_ = mapping;
  return file;
}

void MappedFile::advise_sequential() const {
  if (!bytes_.empty()) ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_SEQUENTIAL);
}

void MappedFile::drop(size_t offset, size_t length) const {
  constexpr size_t kPage = 4096;
  size_t begin = (offset + kPage - 1) / kPage * kPage;
  size_t end = std::min(offset + length, bytes_.size()) / kPage * kPage;
  if (begin < end) ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

Result<std::string> read_file(const std::string& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (descriptor.get() < 0) return system_error("open", path);
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) return system_error("read", path);
  if (S_ISDIR(status.st_mode)) return bad_input("is a folder, a file is wanted").in(path);
  std::string content;
  content.reserve(static_cast<size_t>(std::max<off_t>(status.st_size, 0)));
  std::vector<char> buffer(1 << 16);
  for (;;) {
    ssize_t got = ::read(descriptor.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path);
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(got));
  }
}

Status write_file_atomic(const std::string& path, std::string_view content) {
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  BM_CHECK_OK(file.append(content));
  return file.commit();
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  AtomicFile file;
  file.path_ = path;
  file.temporary_ = path + ".tmp-" + std::to_string(::getpid());
  file.descriptor_ = ::open(file.temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file.descriptor_ < 0) return system_error("write", path);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }
AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  position_ = other.position_;
  buffer_ = std::move(other.buffer_);
  return *this;
}
AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  descriptor_ = -1;
  ::unlink(temporary_.c_str());
}

Status AtomicFile::append(std::string_view text) {
  return append(std::span<const std::byte>(reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

Status AtomicFile::append(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBuffer) BM_CHECK_OK(flush());
  if (bytes.size() > kBuffer) {
    BM_CHECK_OK(write_at(position_, bytes));
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  position_ += bytes.size();
  return {};
}

Status AtomicFile::flush() {
  if (buffer_.empty()) return {};
  std::string pending = std::move(buffer_);
  buffer_.clear();
  return write_at(position_ - pending.size(),
                  {reinterpret_cast<const std::byte*>(pending.data()), pending.size()});
}

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return system_error("write", path_);
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Status AtomicFile::reserve(uint64_t bytes) {
  int code = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return {};
  errno = code;
  return system_error("reserve " + std::to_string(bytes) + " bytes", path_);
}

Status AtomicFile::commit() {
  BM_CHECK_OK(flush());
  if (::fsync(descriptor_) != 0) return system_error("write", path_);
  int descriptor = std::exchange(descriptor_, -1);
  bool closed = ::close(descriptor) == 0;
  if (!closed || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    Error error = system_error("write", path_);
    ::unlink(temporary_.c_str());
    return error;
  }
  return sync_folder(path_);
}

Status make_directories(const std::string& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (!code) return {};
  errno = code.value();
  return system_error("create the folder", path);
}

Status remove_all(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (!code) return {};
  errno = code.value();
  return system_error("remove", path);
}

Status copy_file(const std::string& from, const std::string& to) {
  BM_TRY(MappedFile source, MappedFile::open(from));
  BM_TRY(AtomicFile target, AtomicFile::create(to));
  BM_CHECK_OK(target.append(source.bytes()));
  return target.commit();
}

Status rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_error("rename to " + to, from);
  return sync_folder(to);
}

bool exists(const std::string& path) {
  std::error_code code;
  return fs::exists(path, code);
}
bool is_directory(const std::string& path) {
  std::error_code code;
  return fs::is_directory(path, code);
}

Result<uint64_t> file_size(const std::string& path) {
  std::error_code code;
  uint64_t size = fs::file_size(path, code);
  if (!code) return size;
  errno = code.value();
  return system_error("read", path);
}

Result<uint64_t> free_space(const std::string& path) {
  std::error_code code;
  std::string at = path;
  while (!at.empty() && !exists(at)) at = path_parent(at);
  fs::space_info info = fs::space(at.empty() ? "." : at, code);
  if (!code) return info.available;
  errno = code.value();
  return system_error("read", path);
}

Result<std::vector<std::string>> list_files(const std::string& path) {
  std::error_code code;
  if (!exists(path)) {
    errno = ENOENT;
    return system_error("open", path);
  }
  std::vector<std::string> files;
  if (!is_directory(path)) {
    files.push_back(path);
    return files;
  }
  fs::recursive_directory_iterator at(path, fs::directory_options::skip_permission_denied, code), end;
  for (; !code && at != end; at.increment(code)) {
    std::error_code ignored;
    if (at->is_regular_file(ignored)) files.push_back(at->path().string());
  }
  if (code) {
    errno = code.value();
    return system_error("list", path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string path_join(std::string_view folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  std::string joined(folder);
  if (joined.back() != '/') joined += '/';
  joined += name;
  return joined;
}
std::string path_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}
std::string path_parent(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  return std::string(path.substr(0, slash ? slash : 1));
}
bool ends_with(std::string_view text, std::string_view ending) { return text.ends_with(ending); }
bool starts_with(std::string_view text, std::string_view beginning) { return text.starts_with(beginning); }

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (;;) {
    size_t at = text.find(separator, begin);
    parts.emplace_back(text.substr(begin, at == std::string_view::npos ? at : at - begin));
    if (at == std::string_view::npos) return parts;
    begin = at + 1;
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace bm
