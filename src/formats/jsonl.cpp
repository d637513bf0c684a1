#include "formats/jsonl.h"

#include <cstring>

#include "formats/compressed.h"

namespace bm {

struct JsonlReader::State {
  std::string path;
  std::unique_ptr<ByteReader> reader;
  std::string buffer;
  size_t at = 0;
  bool ended = false;
  uint64_t line = 0;  // lines taken from the stream, empty ones too

  static constexpr size_t chunk = size_t{1} << 18;
  static constexpr size_t longest_line = size_t{1} << 30;

  Status fill() {
    buffer.erase(0, at);
    at = 0;
    if (buffer.size() > longest_line) return bad_input("a line of more than 1 GB", "Is it JSON lines?");
    size_t had = buffer.size();
    buffer.resize(had + chunk);
    BM_TRY(size_t count, reader->read(std::as_writable_bytes(std::span(buffer).subspan(had))));
    buffer.resize(had + count);
    ended = count == 0;
    return {};
  }

  // The next line, empty or not; false at the end.
  Result<bool> take(std::string& out) {
    size_t searched = at;
    while (true) {
      size_t end = buffer.find('\n', searched);
      if (end == std::string::npos && !ended) {
        searched = buffer.size() - at;
        BM_CHECK_OK(fill());
        continue;
      }
      if (end == std::string::npos && at == buffer.size()) return false;
      size_t stop = end == std::string::npos ? buffer.size() : end;
      out.assign(buffer, at, stop - at);
      at = end == std::string::npos ? stop : stop + 1;
      if (!out.empty() && out.back() == '\r') out.pop_back();
      if (++line == 1 && starts_with(out, "\xef\xbb\xbf")) out.erase(0, 3);
      return true;
    }
  }
};

JsonlReader::JsonlReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
JsonlReader::JsonlReader(JsonlReader&&) noexcept = default;
JsonlReader& JsonlReader::operator=(JsonlReader&&) noexcept = default;
JsonlReader::~JsonlReader() = default;

Result<JsonlReader> JsonlReader::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  BM_TRY(state->reader, open_bytes(path));
  return JsonlReader(std::move(state));
}

Result<bool> JsonlReader::next_line(std::string& line) {
  while (true) {
    auto taken = state_->take(line);
    if (!taken.ok())
      return std::move(taken).error().in("line " + std::to_string(state_->line + 1)).in(state_->path);
    if (!*taken) return false;
    if (!trim(line).empty()) return true;
  }
}

Result<bool> JsonlReader::next(Json& value) {
  std::string line;
  BM_TRY(bool more, next_line(line));
  if (!more) return false;
  BM_TRY(value, parse_json(line).in("line " + std::to_string(state_->line)).in(state_->path));
  return true;
}

uint64_t JsonlReader::line() const { return state_->line; }
double JsonlReader::share_read() const {
  uint64_t size = state_->reader->file_size();
  return size == 0 ? 1.0 : static_cast<double>(state_->reader->consumed()) / static_cast<double>(size);
}
const std::string& JsonlReader::path() const { return state_->path; }

Status for_each_jsonl(const std::string& path, const std::function<Status(const Json&, uint64_t)>& function) {
  BM_TRY(JsonlReader reader, JsonlReader::open(path));
  Json value;
  while (true) {
    BM_TRY(bool more, reader.next(value));
    if (!more) return {};
    BM_CHECK_OK(function(value, reader.line()).in("line " + std::to_string(reader.line())).in(path));
  }
}

struct JsonlWriter::State {
  ByteWriter writer;
  uint64_t lines = 0;
};

JsonlWriter::JsonlWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
JsonlWriter::JsonlWriter(JsonlWriter&&) noexcept = default;
JsonlWriter& JsonlWriter::operator=(JsonlWriter&&) noexcept = default;
JsonlWriter::~JsonlWriter() = default;

Result<JsonlWriter> JsonlWriter::create(const std::string& path) {
  BM_TRY(ByteWriter writer, ByteWriter::create(path));
  return JsonlWriter(std::make_unique<State>(State{std::move(writer), 0}));
}
Status JsonlWriter::write(const Json& value) { return write_line(value.dump()); }
Status JsonlWriter::write_line(std::string_view line) {
  BM_CHECK_OK(state_->writer.write(line));
  ++state_->lines;
  return state_->writer.write("\n");
}
uint64_t JsonlWriter::lines() const { return state_->lines; }
Status JsonlWriter::commit() { return state_->writer.commit(); }

}  // namespace bm
