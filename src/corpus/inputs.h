// The inputs of a corpus as a list of parts (one archive, or up to 512 loose files), and the articles'
// bytes inside a part, one batch after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/archive.h"

namespace bm {

struct InputFile {
  std::string path;    // on disk
  std::string source;  // as records name it: "folder/sub/123.xml", "archive.tar.gz"
  uint64_t bytes = 0;
  bool article = true;  // by its name; others get a line in the ledger and are not opened
};
struct InputPart {
  bool archive = false;
  std::vector<InputFile> files;  // one when it is an archive
  uint64_t bytes = 0;
};

// Folders are searched, sorted by name. bad_input: a path that does not exist, or nothing to read.
Result<std::vector<InputPart>> plan_inputs(const std::vector<std::string>& inputs);

// ".xml", ".nxml", ".jats", also with ".gz" or ".zst" behind; any case.
bool is_article_name(std::string_view name);

struct RawArticle {
  std::string source;
  std::string bytes;
  std::string problem;        // not empty: why there are no bytes
  bool is_article = true;     // false: a file of another kind
  bool is_container = false;  // the line is about the archive, not about one of its articles
};

class PartReader {
 public:
  // Files and members of more than max_article bytes (unpacked) are problems.
  PartReader(const InputPart& part, uint64_t max_article) : part_(part), max_article_(max_article) {}
  // Appends raw articles until `bytes` or `count` is reached; false when the part has ended before.
  bool next(std::vector<RawArticle>& batch, uint64_t bytes, size_t count);
  double share_read() const;

 private:
  bool next_file(RawArticle& article);
  bool next_member(RawArticle& article);
  const InputPart& part_;
  uint64_t max_article_;
  size_t position_ = 0;
  std::unique_ptr<ArchiveReader> archive_;
  bool ended_ = false;
};

}  // namespace bm
