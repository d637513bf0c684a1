#include "evaluation/score_logits.h"

#include <limits>

#include "formats/safetensors.h"

namespace bm {

Result<LogitsFile> LogitsFile::create(const std::string& path, int64_t requests, int64_t vocab,
                                      const std::vector<PerRequest>& tensors) {
  std::vector<TensorSpec> specs(tensors.size() + 1);
  specs[0].name = "last_logits";
  specs[0].shape = {requests, vocab};
  for (size_t i = 0; i < tensors.size(); ++i) {
    specs[i + 1].name = "logits." + tensors[i].name;
    specs[i + 1].shape = {tensors[i].tokens, vocab};
  }
  BM_TRY(SafetensorsLayout layout, plan_safetensors(specs, {{"format", "pt"}}));
  LogitsFile out;
  out.vocab_ = vocab;
  out.offsets_ = layout.offsets;
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  out.file_.emplace(std::move(file));
  BM_CHECK_OK(out.file_->reserve(layout.file_size));
  BM_CHECK_OK(out.file_->write_at(0, std::as_bytes(std::span(layout.header))));
  return out;
}

Status LogitsFile::write_at(uint64_t tensor_offset, int64_t row, const float* values) {
  auto width = static_cast<uint64_t>(vocab_) * sizeof(float);
  std::span<const float> span(values, static_cast<size_t>(vocab_));
  return file_->write_at(tensor_offset + static_cast<uint64_t>(row) * width, std::as_bytes(span));
}

Status LogitsFile::write_last(int64_t request, const float* row) {
  return write_at(offsets_[0], request, row);
}
Status LogitsFile::write_row(size_t tensor, int64_t token, const float* row) {
  return write_at(offsets_[tensor + 1], token, row);
}

Status LogitsFile::write_missing(int64_t request) {
  std::vector<float> row(static_cast<size_t>(vocab_), std::numeric_limits<float>::quiet_NaN());
  return write_last(request, row.data());
}

}  // namespace bm
