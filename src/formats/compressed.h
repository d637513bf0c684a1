// Streams of bytes, plain, gzip (RFC 1952, several members in a row included) or Zstandard (RFC 8878,
// several frames included). Reading recognizes the compression by its first bytes, never by the name;
// writing takes it from the name's ending (.gz, .zst).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/result.h"

namespace bm {

enum class Compression : uint8_t { none, gzip, zstd };
Compression compression_from_name(std::string_view path);              // ".gz", ".zst", else none
Compression compression_from_magic(std::span<const std::byte> bytes);  // 1f 8b | 28 b5 2f fd

// Pulls decompressed bytes. Errors: not readable, damaged or cut-off stream (with the offset in the file).
class ByteReader {
 public:
  virtual ~ByteReader() = default;
  // Fills up to out.size() bytes; 0 at the end only.
  virtual Result<size_t> read(std::span<std::byte> out) = 0;
  virtual uint64_t consumed() const = 0;  // bytes of the file used so far, for progress
  virtual uint64_t file_size() const = 0;
};
Result<std::unique_ptr<ByteReader>> open_bytes(const std::string& path);

// Whole decompression in memory; more than `limit` bytes of output is an error (a decompression bomb).
Result<std::string> decompress(std::span<const std::byte> bytes, uint64_t limit = uint64_t{1} << 32);
Result<std::string> read_decompressed(const std::string& path, uint64_t limit = uint64_t{1} << 32);

// Writes through the compressor of `compression` into a file that appears only with commit().
// The same bytes in give the same bytes out: no time stamps, fixed level, one thread.
class ByteWriter {
 public:
  static Result<ByteWriter> create(const std::string& path, Compression compression);
  static Result<ByteWriter> create(const std::string& path) {
    return create(path, compression_from_name(path));
  }
  ByteWriter(ByteWriter&&) noexcept;
  ByteWriter& operator=(ByteWriter&&) noexcept;
  ~ByteWriter();
  Status write(std::string_view bytes);
  uint64_t written() const;  // bytes handed to write() so far
  Status commit();

 private:
  struct State;
  explicit ByteWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bm
