// Central directory of a zip file: APPNOTE.TXT 4.3 (records) and 4.5.3 (zip64 extra field).
#include <cstring>
#include <unordered_set>

#include "formats/pytorch.h"

namespace bm {
namespace {

template <class T>
T read_at(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

Error damaged(const std::string& what) {
  return bad_input("zip: " + what, "The file is cut off or damaged; download it again");
}

struct Directory {
  uint64_t offset = 0, size = 0, entries = 0;
};

Result<Directory> find_directory(std::span<const std::byte> file) {
  constexpr uint64_t end_size = 22;
  if (file.size() < end_size) return damaged("file is " + std::to_string(file.size()) + " bytes, too short");
  uint64_t last = file.size() - end_size;
  uint64_t first = last > 0xffff ? last - 0xffff : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (read_at<uint32_t>(file, at) != 0x06054b50) continue;
    Directory directory{read_at<uint32_t>(file, at + 16), read_at<uint32_t>(file, at + 12),
                        read_at<uint16_t>(file, at + 10)};
    bool zip64 =
        directory.offset == 0xffffffff || directory.size == 0xffffffff || directory.entries == 0xffff;
    if (zip64 && at >= 20 && read_at<uint32_t>(file, at - 20) == 0x07064b50) {
      uint64_t record = read_at<uint64_t>(file, at - 20 + 8);
      if (file.size() < 56 || record > file.size() - 56 || read_at<uint32_t>(file, record) != 0x06064b50)
        return damaged("its zip64 record is missing");
      directory = {read_at<uint64_t>(file, record + 48), read_at<uint64_t>(file, record + 40),
                   read_at<uint64_t>(file, record + 32)};
    }
    if (directory.offset > file.size() || directory.size > file.size() - directory.offset ||
        directory.entries > directory.size / 46)
      return damaged("its directory lies outside the file");
    return directory;
  }
  return damaged("no directory at its end: truncated");
}

// Sizes and offset that did not fit 32 bits stand in extra field 1, in this order, only those needed.
Status read_zip64_extra(std::span<const std::byte> extra, uint64_t& plain, uint64_t& packed,
                        uint64_t& offset) {
  uint64_t at = 0;
  while (at + 4 <= extra.size()) {
    uint16_t id = read_at<uint16_t>(extra, at), size = read_at<uint16_t>(extra, at + 2);
    at += 4;
    if (size > extra.size() - at) return damaged("an extra field is cut off");
    if (id == 1) {
      uint64_t field = at, end = at + size;
      for (uint64_t* value : {&plain, &packed, &offset}) {
        if (*value != 0xffffffff) continue;
        if (end - field < 8) return damaged("a zip64 field is cut off");
        *value = read_at<uint64_t>(extra, field);
        field += 8;
      }
    }
    at += size;
  }
  return {};
}

}  // namespace

Result<std::vector<ZipMember>> read_zip_directory(std::span<const std::byte> file) {
  BM_TRY(Directory directory, find_directory(file));
  std::vector<ZipMember> members;
  std::unordered_set<std::string> seen;
  uint64_t at = directory.offset, end = directory.offset + directory.size;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (end - at < 46 || read_at<uint32_t>(file, at) != 0x02014b50)
      return damaged("its directory is damaged");
    uint64_t packed = read_at<uint32_t>(file, at + 20), plain = read_at<uint32_t>(file, at + 24);
    uint64_t name_size = read_at<uint16_t>(file, at + 28), extra_size = read_at<uint16_t>(file, at + 30);
    uint64_t comment_size = read_at<uint16_t>(file, at + 32), offset = read_at<uint32_t>(file, at + 42);
    if (end - at - 46 < name_size + extra_size + comment_size) return damaged("its directory is cut off");
    ZipMember member;
    member.method = read_at<uint16_t>(file, at + 10);
    member.crc32 = read_at<uint32_t>(file, at + 16);
    member.name.assign(reinterpret_cast<const char*>(file.data()) + at + 46, name_size);
    BM_CHECK_OK(read_zip64_extra(file.subspan(at + 46 + name_size, extra_size), plain, packed, offset)
                    .in("member " + member.name));
    if (!seen.insert(member.name).second) return damaged("member " + member.name + " appears twice");
    if (file.size() < 30 || offset > file.size() - 30 || read_at<uint32_t>(file, offset) != 0x04034b50)
      return damaged("member " + member.name + " lies outside the file");
    uint64_t data = offset + 30 + read_at<uint16_t>(file, offset + 26) + read_at<uint16_t>(file, offset + 28);
    if (data > file.size() || packed > file.size() - data)
      return damaged("member " + member.name + " promises more bytes than the file has: truncated");
    member.data = file.subspan(data, packed);
    members.push_back(std::move(member));
    at += 46 + name_size + extra_size + comment_size;
  }
  return members;
}

}  // namespace bm
