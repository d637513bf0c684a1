// JSON lines, plain, .gz or .zst: one JSON value a line, "\n" or "\r\n", empty lines skipped, a UTF-8
// byte-order mark at the start allowed. Streaming both ways; errors name file → line.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace bm {

class JsonlReader {
 public:
  static Result<JsonlReader> open(const std::string& path);
  JsonlReader(JsonlReader&&) noexcept;
  JsonlReader& operator=(JsonlReader&&) noexcept;
  ~JsonlReader();

  // The next value; false at the end. bad_input when the line is no JSON or the stream is damaged.
  // After an error in one line's JSON the next call goes on with the following line.
  Result<bool> next(Json& value);
  // The next non-empty line as it is, without its line end.
  Result<bool> next_line(std::string& line);
  uint64_t line() const;      // number of the last line returned, from 1
  double share_read() const;  // of the file's bytes, 0..1, for progress
  const std::string& path() const;

 private:
  struct State;
  explicit JsonlReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Calls function(value, line number) for every line; its error ends the reading and gets file → line.
Status for_each_jsonl(const std::string& path, const std::function<Status(const Json&, uint64_t)>& function);

// Compression from the name's ending; the file appears with commit().
class JsonlWriter {
 public:
  static Result<JsonlWriter> create(const std::string& path);
  JsonlWriter(JsonlWriter&&) noexcept;
  JsonlWriter& operator=(JsonlWriter&&) noexcept;
  ~JsonlWriter();
  Status write(const Json& value);           // compact: {"a":1}
  Status write_line(std::string_view line);  // one line already encoded, without "\n"
  uint64_t lines() const;
  Status commit();

 private:
  struct State;
  explicit JsonlWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bm
