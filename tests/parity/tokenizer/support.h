// Reading of golden files for the tokenizer's parity tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "paths.h"
#include "tokenizer/tokenizer.h"

namespace bm::testing {

inline std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> out;
  auto text = read_file(path);
  if (!text) {
    ADD_FAILURE() << text.error().paragraph();
    return out;
  }
  for (const std::string& line : split(*text, '\n')) {
    if (line.empty()) continue;
    auto json = parse_json(line);
    if (!json) {
      ADD_FAILURE() << path << ": " << json.error().paragraph();
      return out;
    }
    out.push_back(std::move(*json));
  }
  EXPECT_FALSE(out.empty()) << path;
  return out;
}

inline std::vector<int32_t> ids_of(const Json& json) {
  std::vector<int32_t> out;
  for (const Json& id : json.items()) out.push_back(static_cast<int32_t>(id.as_int()));
  return out;
}

inline std::vector<std::pair<int64_t, int64_t>> offsets_of(const Json& json) {
  std::vector<std::pair<int64_t, int64_t>> out;
  for (const Json& span : json.items()) out.emplace_back(span[0].as_int(), span[1].as_int());
  return out;
}

inline std::shared_ptr<const Tokenizer> load_or_fail(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().paragraph();
    return nullptr;
  }
  return std::move(*tokenizer);
}

}  // namespace bm::testing

#define REQUIRE_SHARED() \
  if (!bm::testing::have_shared()) GTEST_SKIP() << "../shared is not there"
