#include "formats/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <cctype>

#include "base/file.h"
#include "base/system.h"

namespace bm {

bool is_archive_name(std::string_view path) {
  std::string lower;
  for (char c : path) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (std::string_view ending : {".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip"})
    if (ends_with(lower, ending)) return true;
  return false;
}

std::string hostile_name_reason(std::string_view name) {
  if (name.empty()) return "empty name";
  if (name.find('\0') != std::string_view::npos) return "zero byte in the name";
  if (name[0] == '/' || name[0] == '\\') return "absolute path";
  if (name.size() > 1 && name[1] == ':' && std::isalpha(static_cast<unsigned char>(name[0])))
    return "absolute path";
  size_t start = 0;
  while (start <= name.size()) {
    size_t end = name.find_first_of("/\\", start);
    if (end == std::string_view::npos) end = name.size();
    if (name.substr(start, end - start) == "..") return "leaves its folder by ..";
    start = end + 1;
  }
  return "";
}

struct ArchiveReader::State {
  std::string path;
  MappedFile file;
  struct ::archive* archive = nullptr;
  struct ::archive_entry* entry = nullptr;
  uint64_t index = 0;

  ~State() {
    if (archive) archive_read_free(archive);
  }
  std::string message() const {
    const char* text = archive_error_string(archive);
    return text ? text : "unknown error";
  }
};

ArchiveReader::ArchiveReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArchiveReader::ArchiveReader(ArchiveReader&&) noexcept = default;
ArchiveReader& ArchiveReader::operator=(ArchiveReader&&) noexcept = default;
ArchiveReader::~ArchiveReader() = default;

Result<ArchiveReader> ArchiveReader::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  BM_TRY(state->file, MappedFile::open(path));
  state->file.advise_sequential();
  state->archive = archive_read_new();
  archive_read_support_filter_gzip(state->archive);
  archive_read_support_filter_zstd(state->archive);
  archive_read_support_format_tar(state->archive);
  archive_read_support_format_zip(state->archive);
  auto bytes = state->file.bytes();
  if (archive_read_open_memory(state->archive, bytes.data(), bytes.size()) != ARCHIVE_OK)
    return bad_input("is no archive: " + state->message(), ".tar, .tar.gz, .tar.zst and .zip are read")
        .in(path);
  return ArchiveReader(std::move(state));
}

Result<bool> ArchiveReader::next(ArchiveMember& member) {
  while (true) {
    int code = archive_read_next_header(state_->archive, &state_->entry);
    if (code == ARCHIVE_EOF) return false;
    if (code < ARCHIVE_WARN) {
      if (state_->index == 0)
        return bad_input("is no archive: " + state_->message(), ".tar, .tar.gz, .tar.zst and .zip are read")
            .in(state_->path);
      return bad_input("cannot be read further: " + state_->message(),
                       "The archive is cut off or damaged; download it again")
          .in("member " + std::to_string(state_->index + 1))
          .in(state_->path);
    }
    uint64_t index = state_->index++;
    if (archive_entry_filetype(state_->entry) != AE_IFREG || archive_entry_hardlink(state_->entry) != nullptr)
      continue;
    // The raw name: conversion to the locale would drop what it cannot express.
    const char* name = archive_entry_pathname(state_->entry);
    if (!name) name = archive_entry_pathname_utf8(state_->entry);
    std::string raw = name ? name : "";
    member.name = to_utf8_safe(raw);
    member.size = archive_entry_size_is_set(state_->entry) ? archive_entry_size(state_->entry) : -1;
    member.index = index;
    member.hostile = hostile_name_reason(raw);
    return true;
  }
}

Result<std::string> ArchiveReader::read(uint64_t limit) {
  std::string content;
  const void* block = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  while (true) {
    int code = archive_read_data_block(state_->archive, &block, &size, &offset);
    if (code == ARCHIVE_EOF) return content;
    if (code < ARCHIVE_WARN)
      return bad_input("cannot be read: " + state_->message(),
                       "The archive is cut off or damaged; download it again")
          .in("member " + std::to_string(state_->index))
          .in(state_->path);
    auto end = static_cast<uint64_t>(offset) + size;
    if (end > limit)
      return bad_input("has more than " + std::to_string(limit) + " bytes")
          .in("member " + std::to_string(state_->index))
          .in(state_->path);
    if (content.size() < static_cast<size_t>(offset)) content.resize(static_cast<size_t>(offset));  // a hole
    content.append(static_cast<const char*>(block), size);
  }
}

double ArchiveReader::share_read() const {
  if (state_->file.size() == 0) return 1;
  return static_cast<double>(archive_filter_bytes(state_->archive, -1)) /
         static_cast<double>(state_->file.size());
}

}  // namespace bm
