// Calibration text as blocks of token ids, by AutoAWQ's rule: samples longer than a block are dropped, the
// first --samples others are joined and cut into blocks; what is left over is not used.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace bm {

struct CalibrationBlocks {
  std::vector<std::vector<int32_t>> blocks;  // each of `block` tokens
  int64_t samples = 0, dropped = 0;          // used; longer than the block
  std::string source;                        // "held.jsonl", "corpus folder demo-corpus"
  std::string licence;                       // of the text, as far as it is recorded
};

// Joins and cuts. bad_input when not even one block comes out: says how many tokens there are.
Result<CalibrationBlocks> cut_blocks(const std::vector<std::vector<int32_t>>& samples, int64_t most_samples,
                                     int64_t block);

// path: JSON lines with "text" or "ids" (also .gz, .zst), or a corpus folder (articles-*.jsonl.zst), whose
// articles are cut at blank lines and drawn in an order that depends on `seed` alone. The tokenizer is
// asked for only when there is text. bad_input: a line with neither, ids outside the vocabulary.
Result<CalibrationBlocks> read_calibration(
    const std::string& path, int64_t most_samples, int64_t block, int64_t vocabulary, uint64_t seed,
    const std::function<Result<std::shared_ptr<const Tokenizer>>()>& tokenizer);

}  // namespace bm
