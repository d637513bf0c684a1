// Small random models for the tests of model/.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/model.h"
#include "model/random_model.h"
#include "paths.h"

namespace bm::testing {

// gtest's way out of a helper that returns a value.
template <class T>
T take(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().paragraph());
  return std::move(result).value();
}
inline void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error().paragraph());
}
template <class T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? "no error" : result.error().paragraph();
}
inline std::string error_of(const Status& status) {
  return status.ok() ? "no error" : status.error().paragraph();
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

struct RandomModel {
  explicit RandomModel(const RandomModelShape& shape = {}, DType dtype = DType::f32, uint64_t seed = 7) {
    check(write_random_model(folder.path(), shape, dtype, seed));
  }
  std::shared_ptr<const Model> load() const { return take(Model::load(folder.path())); }
  TemporaryFolder folder;
};

inline std::vector<int32_t> random_tokens(size_t count, int64_t vocab, uint64_t seed) {
  std::vector<int32_t> tokens;
  const CounterRandom random(seed, 1);
  for (size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(random.below(i, static_cast<uint64_t>(vocab))));
  return tokens;
}

inline std::vector<int64_t> rows_from(int64_t first, size_t end) {
  std::vector<int64_t> rows;
  for (int64_t i = first; i < static_cast<int64_t>(end); ++i) rows.push_back(i);
  return rows;
}

// All logits [n, vocab] of one sequence.
inline std::vector<float> logits_of(const Model& model, const std::vector<int32_t>& tokens) {
  const std::vector<int64_t> rows = rows_from(0, tokens.size());
  std::vector<float> result(tokens.size() * static_cast<size_t>(model.config().vocab));
  const SequenceInput input{tokens, nullptr, rows};
  check(forward(model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* logits) {
    std::copy(logits, logits + count * model.config().vocab, result.begin() + first * model.config().vocab);
  }));
  return result;
}

}  // namespace bm::testing
