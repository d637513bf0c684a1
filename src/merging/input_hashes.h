// SHA-256 of a merge's inputs, taken by threads of their own while the merge runs: reading each file front to
// back, at most a stretch ahead of the merge, they also bring cold files into memory in the order the disk
// likes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/stage.h"

namespace bm {

class InputHashes {
 public:
  // Starts on the inputs that have no hash yet.
  explicit InputHashes(std::vector<StageInput> inputs);
  ~InputHashes();  // gives up what is not done
  InputHashes(const InputHashes&) = delete;
  InputHashes& operator=(const InputHashes&) = delete;
  // Share of the merge that is done, 0 to 1.
  void progress(double share) { share_ = share; }
  // Waits for the rest.
  Result<std::vector<StageInput>> finish();

 private:
  void hash(size_t index);
  std::vector<StageInput> inputs_;
  std::vector<std::unique_ptr<Result<std::string>>> hashes_;
  std::vector<std::thread> threads_;
  std::atomic<double> share_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace bm
