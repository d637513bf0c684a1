#include "formats/compressed.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace bm {
namespace {

constexpr size_t out_chunk = size_t{1} << 17;  // bytes

Error damaged(const std::string& what, uint64_t offset) {
  return bad_input(what + " at compressed byte " + std::to_string(offset),
                   "The file is damaged or cut off; make or download it again");
}

class PlainReader : public ByteReader {
 public:
  explicit PlainReader(MappedFile file) : file_(std::move(file)) {}
  Result<size_t> read(std::span<std::byte> out) override {
    size_t count = std::min(out.size(), file_.size() - at_);
    if (count) std::memcpy(out.data(), file_.bytes().data() + at_, count);
    at_ += count;
    return count;
  }
  uint64_t consumed() const override { return at_; }
  uint64_t file_size() const override { return file_.size(); }

 private:
  MappedFile file_;
  size_t at_ = 0;
};

// Owns the bytes through `keep`, or borrows them for the time of a call.
class GzipReader : public ByteReader {
 public:
  GzipReader(std::span<const std::byte> bytes, MappedFile keep) : bytes_(bytes), keep_(std::move(keep)) {
    inflateInit2(&stream_, 15 + 16);
  }
  ~GzipReader() override { inflateEnd(&stream_); }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  Result<size_t> read(std::span<std::byte> out) override {
    size_t made = 0;
    while (made < out.size() && !ended_) {
      size_t give = std::min<size_t>(bytes_.size() - at_, size_t{1} << 30);
      size_t want = std::min<size_t>(out.size() - made, size_t{1} << 30);
      stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes_.data() + at_));
      stream_.avail_in = static_cast<uInt>(give);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + made);
      stream_.avail_out = static_cast<uInt>(want);
      int code = inflate(&stream_, Z_NO_FLUSH);
      at_ += give - stream_.avail_in;
      made += want - stream_.avail_out;
      if (code == Z_STREAM_END) {
        next_member();
      } else if (code == Z_BUF_ERROR && at_ == bytes_.size()) {
        return damaged("gzip: cut off", at_);
      } else if (code != Z_OK) {
        return damaged(std::string("gzip: ") + (stream_.msg ? stream_.msg : "damaged"), at_);
      }
    }
    return made;
  }
  uint64_t consumed() const override { return at_; }
  uint64_t file_size() const override { return bytes_.size(); }

 private:
  // Members follow each other; zero padding and other trailing bytes end the stream, as gzip(1) does it.
  void next_member() {
    if (bytes_.size() - at_ >= 2 && bytes_[at_] == std::byte{0x1f} && bytes_[at_ + 1] == std::byte{0x8b}) {
      inflateReset(&stream_);
    } else {
      ended_ = true;
    }
  }
  std::span<const std::byte> bytes_;
  MappedFile keep_;
  z_stream stream_{};
  size_t at_ = 0;
  bool ended_ = false;
};

class ZstdReader : public ByteReader {
 public:
  ZstdReader(std::span<const std::byte> bytes, MappedFile keep)
      : bytes_(bytes), keep_(std::move(keep)), stream_(ZSTD_createDStream()) {
    // Windows of up to 128 MB are what the command line tool reads; larger ones are an attack on memory.
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 27);
  }
  ~ZstdReader() override { ZSTD_freeDStream(stream_); }
  ZstdReader(const ZstdReader&) = delete;
  ZstdReader& operator=(const ZstdReader&) = delete;

  Result<size_t> read(std::span<std::byte> out) override {
    ZSTD_outBuffer made{out.data(), out.size(), 0};
    while (made.pos < made.size) {
      ZSTD_inBuffer in{bytes_.data(), bytes_.size(), at_};
      size_t before = made.pos;
      if (at_ == bytes_.size() && frame_done_) break;
      size_t code = ZSTD_decompressStream(stream_, &made, &in);
      if (ZSTD_isError(code)) return damaged(std::string("zstd: ") + ZSTD_getErrorName(code), in.pos);
      bool stuck = in.pos == at_ && made.pos == before;
      at_ = in.pos;
      frame_done_ = code == 0;
      if (stuck && !frame_done_) return damaged("zstd: cut off", at_);
    }
    return made.pos;
  }
  uint64_t consumed() const override { return at_; }
  uint64_t file_size() const override { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  MappedFile keep_;
  ZSTD_DStream* stream_;
  size_t at_ = 0;
  bool frame_done_ = false;
};

std::unique_ptr<ByteReader> make_reader(std::span<const std::byte> bytes, MappedFile keep) {
  switch (compression_from_magic(bytes)) {
    case Compression::gzip:
      return std::make_unique<GzipReader>(bytes, std::move(keep));
    case Compression::zstd:
      return std::make_unique<ZstdReader>(bytes, std::move(keep));
    case Compression::none:
      break;
  }
  return std::make_unique<PlainReader>(std::move(keep));
}

Result<std::string> read_all(ByteReader& reader, uint64_t limit) {
  std::string text;
  std::vector<std::byte> chunk(out_chunk);
  while (true) {
    BM_TRY(size_t count, reader.read(chunk));
    if (count == 0) return text;
    if (text.size() + count > limit)
      return bad_input("decompresses to more than " + std::to_string(limit) + " bytes",
                       "Is it what it says it is?");
    text.append(reinterpret_cast<const char*>(chunk.data()), count);
  }
}

}  // namespace

Compression compression_from_name(std::string_view path) {
  if (ends_with(path, ".gz")) return Compression::gzip;
  if (ends_with(path, ".zst")) return Compression::zstd;
  return Compression::none;
}

Compression compression_from_magic(std::span<const std::byte> bytes) {
  auto begins = [&](std::initializer_list<unsigned> magic) {
    size_t i = 0;
    if (bytes.size() < magic.size()) return false;
    for (unsigned byte : magic)
      if (bytes[i++] != static_cast<std::byte>(byte)) return false;
    return true;
  };
  if (begins({0x1f, 0x8b})) return Compression::gzip;
  if (begins({0x28, 0xb5, 0x2f, 0xfd})) return Compression::zstd;
  return Compression::none;
}

Result<std::unique_ptr<ByteReader>> open_bytes(const std::string& path) {
  BM_TRY(MappedFile file, MappedFile::open(path));
  file.advise_sequential();
  auto bytes = file.bytes();
  return make_reader(bytes, std::move(file));
}

Result<std::string> decompress(std::span<const std::byte> bytes, uint64_t limit) {
  if (compression_from_magic(bytes) == Compression::none) {
    if (bytes.size() > limit) return bad_input("has more than " + std::to_string(limit) + " bytes");
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return read_all(*make_reader(bytes, {}), limit);
}

Result<std::string> read_decompressed(const std::string& path, uint64_t limit) {
  BM_TRY(auto reader, open_bytes(path));
  return read_all(*reader, limit).in(path);
}

// ---- writing ----------------------------------------------------------------------------------------

struct ByteWriter::State {
  AtomicFile file;
  std::string path;
  Compression compression;
  uint64_t written = 0;
  z_stream deflate{};
  ZSTD_CCtx* zstd = nullptr;
  std::vector<std::byte> out = std::vector<std::byte>(out_chunk);

  State(AtomicFile f, std::string p, Compression c) : file(std::move(f)), path(std::move(p)), compression(c) {
    if (compression == Compression::gzip)
      deflateInit2(&deflate, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    if (compression == Compression::zstd) {
      zstd = ZSTD_createCCtx();
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, 5);
      ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    }
  }
  ~State() {
    if (compression == Compression::gzip) deflateEnd(&deflate);
    ZSTD_freeCCtx(zstd);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Status put(std::string_view bytes, bool finish) {
    if (compression == Compression::none) return file.append(bytes);
    return compression == Compression::gzip ? put_gzip(bytes, finish) : put_zstd(bytes, finish);
  }

  Status put_gzip(std::string_view bytes, bool finish) {
    do {
      size_t give = std::min<size_t>(bytes.size(), size_t{1} << 30);
      bool last = give == bytes.size();
      deflate.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
      deflate.avail_in = static_cast<uInt>(give);
      do {
        deflate.next_out = reinterpret_cast<Bytef*>(out.data());
        deflate.avail_out = static_cast<uInt>(out.size());
        ::deflate(&deflate, finish && last ? Z_FINISH : Z_NO_FLUSH);
        BM_CHECK_OK(file.append(std::span(out).first(out.size() - deflate.avail_out)));
      } while (deflate.avail_out == 0);
      bytes.remove_prefix(give);
    } while (!bytes.empty());
    return {};
  }

  Status put_zstd(std::string_view bytes, bool finish) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer made{out.data(), out.size(), 0};
      size_t left = ZSTD_compressStream2(zstd, &made, &in, finish ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left)) return failed(std::string("zstd: ") + ZSTD_getErrorName(left)).in(path);
      BM_CHECK_OK(file.append(std::span(out).first(made.pos)));
      if (finish ? left == 0 : in.pos == in.size) return {};
    }
  }
};

ByteWriter::ByteWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ByteWriter::ByteWriter(ByteWriter&&) noexcept = default;
ByteWriter& ByteWriter::operator=(ByteWriter&&) noexcept = default;
ByteWriter::~ByteWriter() = default;

Result<ByteWriter> ByteWriter::create(const std::string& path, Compression compression) {
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  return ByteWriter(std::make_unique<State>(std::move(file), path, compression));
}

Status ByteWriter::write(std::string_view bytes) {
  state_->written += bytes.size();
  return bytes.empty() ? Status() : state_->put(bytes, false);
}
uint64_t ByteWriter::written() const { return state_->written; }
Status ByteWriter::commit() {
  BM_CHECK_OK(state_->put({}, true));
  return state_->file.commit();
}

}  // namespace bm
