#include "corpus/frames.h"

#include <zstd.h>

#include <memory>

#include "base/threads.h"

namespace bm {

namespace {

constexpr size_t kFrameBytes = size_t{1} << 20;  // of lines in one frame
constexpr size_t kFramesAtOnce = 8;

bool compress(std::string& frame, int level) {
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };
  thread_local std::unique_ptr<ZSTD_CCtx, Free> context(ZSTD_createCCtx());
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::string out(ZSTD_compressBound(frame.size()), '\0');
  size_t size = ZSTD_compress2(context.get(), out.data(), out.size(), frame.data(), frame.size());
  if (ZSTD_isError(size)) return false;
  out.resize(size);
  frame = std::move(out);
  return true;
}

}  // namespace

Result<FrameWriter> FrameWriter::create(const std::string& path, int level) {
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  return FrameWriter(std::move(file), level);
}

Status FrameWriter::write_line(std::string_view line) {
  if (frames_.empty() || frames_.back().size() >= kFrameBytes) {
    if (frames_.size() >= kFramesAtOnce) BM_CHECK_OK(flush());
    frames_.emplace_back();
    frames_.back().reserve(kFrameBytes + kFrameBytes / 4);
  }
  frames_.back() += line;
  frames_.back() += '\n';
  ++lines_;
  return {};
}

Status FrameWriter::flush() {
  std::vector<char> done(frames_.size(), 0);
  parallel_for(frames_.size(), [&](size_t i) { done[i] = compress(frames_[i], level_) ? 1 : 0; });
  for (size_t i = 0; i < frames_.size(); ++i) {
    if (!done[i]) return failed("Zstandard could not compress a frame", "Is there enough memory?");
    BM_CHECK_OK(file_.append(frames_[i]));
  }
  frames_.clear();
  return {};
}

Status FrameWriter::commit() {
  if (lines_ == 0) frames_.emplace_back();  // an empty frame: a file of no bytes would be no Zstandard file
  BM_CHECK_OK(flush());
  return file_.commit();
}

}  // namespace bm
