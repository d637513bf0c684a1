// Examples to fine-tune on: JSON lines, or the training questions of a benchmark, tokenized with labels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tokenizer/tokenizer.h"
#include "training/blocks.h"

namespace bm {

struct SftDataOptions {
  bool answers_only = true;        // else every token is a target
  int64_t max_length = 2048;       // tokens; longer examples are cut from the left, but never into the answer
  std::string chat_template = {};  // source; "" = the model's own
};

struct SftData {
  std::vector<Example> examples;
  int64_t cut = 0;       // examples that were too long and lost the beginning of their prompt
  int64_t too_long = 0;  // left out: the answer alone does not fit
  int64_t targets = 0;
  Json json() const;
};

// Lines of one of the forms
//   {"prompt": text, "completion": text}     the completion is the answer, closed by EOS
//   {"messages": [{"role", "content"}, …]}   through the chat template; answers are what the assistant says
//   {"text": text}                           all of it is a target
//   {"input_ids": […], "labels": […]}        as they are (labels −100 = no target; without them all are)
// Prompt and completion are tokenized together; a token is an answer's when any of its characters is.
// bad_input names the line and what is wrong; no line at all; no example that fits.
Result<SftData> read_sft_lines(const std::string& path, const Tokenizer& tokenizer,
                               const SftDataOptions& options);

// The training questions of catalogued tasks ("medqa"): BioMistral's zero-shot prompt, the letter as answer
// (the paper's supervised fine-tuning). Questions that are also in the scored set are left out.
struct SftTasks {
  std::vector<std::string> names;
  std::string data;  // folder with the published files
  uint64_t seed = 42;
  int64_t limit = 0;  // questions of a task; 0 = all
};
Result<SftData> read_sft_tasks(const SftTasks& tasks, const Tokenizer& tokenizer,
                               const SftDataOptions& options);

}  // namespace bm
