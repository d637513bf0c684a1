#include "merging/input_hashes.h"

#include <chrono>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"

namespace bm {

InputHashes::InputHashes(std::vector<StageInput> inputs)
    : inputs_(std::move(inputs)), hashes_(inputs_.size()) {
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (inputs_[i].sha256.empty()) threads_.emplace_back([this, i] { hash(i); });
}

InputHashes::~InputHashes() {
  stop_ = true;
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

void InputHashes::hash(size_t index) {
  constexpr double stretch = 512e6;  // bytes ahead of the merge
  const std::string& path = inputs_[index].path;
  double total = 0;
  if (auto files = list_files(path); files.ok())
    for (const std::string& file : *files)
      if (auto size = file_size(file); size.ok()) total += static_cast<double>(*size);
  auto pace = [&](uint64_t done) {
    while (!stop_ && static_cast<double>(done) > share_ * total + stretch)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return !stop_ && !stop_requested();
  };
  hashes_[index] = std::make_unique<Result<std::string>>(sha256_path(path, pace));
}

Result<std::vector<StageInput>> InputHashes::finish() {
  share_ = 1;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!hashes_[i]) continue;
    BM_TRY(inputs_[i].sha256, std::move(*hashes_[i]));
  }
  return inputs_;
}

}  // namespace bm
