// metrics.jsonl of a training run: one line a step, appended as it happens. A resume first drops the
// lines behind the checkpoint, so that the file reads as if the run had never stopped.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/result.h"

namespace bm {

class MetricsLog {
 public:
  // Keeps lines whose "step" is at most `steps`; a last line that was cut off goes.
  static Result<MetricsLog> open(const std::string& path, int64_t steps);
  Status add(const Json& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::string path_;
};

}  // namespace bm
