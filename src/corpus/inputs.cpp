#include "corpus/inputs.h"

#include "base/file.h"
#include "formats/compressed.h"

namespace bm {

namespace {

constexpr size_t kFilesPerPart = 512;
constexpr uint64_t kBytesPerPart = 256ull << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

// "../a/folder/" → "folder"; "" for "." and "/".
std::string shown_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::string name = path_name(path);
  return name == "." || name == ".." || name == "/" ? "" : name;
}

class Planner {
 public:
  void add(InputFile file) {
    if (is_archive_name(file.path)) {
      InputPart part;
      part.archive = true;
      part.bytes = file.bytes;
      part.files.push_back(std::move(file));
      parts_.push_back(std::move(part));
      open_ = false;
      return;
    }
    if (!open_ || parts_.back().files.size() >= kFilesPerPart || parts_.back().bytes >= kBytesPerPart)
      parts_.emplace_back();
    open_ = true;
    parts_.back().bytes += file.bytes;
    parts_.back().files.push_back(std::move(file));
  }
  std::vector<InputPart> take() { return std::move(parts_); }

 private:
  std::vector<InputPart> parts_;
  bool open_ = false;
};

}  // namespace

bool is_article_name(std::string_view name) {
  std::string text = lower(name);
  for (std::string_view packed : {".gz", ".zst"})
    if (ends_with(text, packed)) text.resize(text.size() - packed.size());
  return ends_with(text, ".xml") || ends_with(text, ".nxml") || ends_with(text, ".jats");
}

Result<std::vector<InputPart>> plan_inputs(const std::vector<std::string>& inputs) {
  if (inputs.empty())
    return bad_input("no input given",
                     "Name folders, .xml, .nxml, .xml.gz files or .tar, .tar.gz, .tar.zst, .zip archives.");
  Planner planner;
  size_t articles = 0;
  for (const std::string& input : inputs) {
    if (!exists(input)) return bad_input("does not exist").in(input);
    bool folder = is_directory(input);
    BM_TRY(std::vector<std::string> files, list_files(input));
    std::string name = shown_name(input);
    for (const std::string& path : files) {
      InputFile file;
      file.path = path;
      BM_TRY(file.bytes, file_size(path));
      std::string rest = folder ? path.substr(std::min(path.size(), input.size())) : "";
      while (!rest.empty() && rest[0] == '/') rest.erase(0, 1);
      file.source = !folder ? path_name(path) : name.empty() ? rest : name + "/" + rest;
      // A file named by the user is read whatever its name; in a folder the name tells.
      file.article = !folder || is_article_name(path) || is_archive_name(path);
      articles += file.article ? 1 : 0;
      planner.add(std::move(file));
    }
  }
  if (articles == 0)
    return bad_input("no article file among the inputs",
                     "Articles are .xml, .nxml or .jats (also .gz, .zst), or archives of them.")
        .in(inputs.front());
  return planner.take();
}

bool PartReader::next_file(RawArticle& article) {
  if (position_ >= part_.files.size()) return false;
  const InputFile& file = part_.files[position_++];
  article = {};
  article.source = file.source;
  article.is_article = file.article;
  if (!file.article) return true;
  Result<std::string> bytes = read_decompressed(file.path, max_article_);
  if (bytes.ok())
    article.bytes = std::move(bytes).value();
  else
    article.problem = bytes.error().paragraph();
  return true;
}

bool PartReader::next_member(RawArticle& article) {
  const InputFile& file = part_.files.front();
  article = {};
  article.source = file.source;
  auto fail = [&](const Error& error) {
    article.problem = error.paragraph();
    article.is_container = true;
    ended_ = true;
    return true;
  };
  if (ended_) return false;
  if (!archive_) {
    Result<ArchiveReader> opened = ArchiveReader::open(file.path);
    if (!opened.ok()) return fail(opened.error());
    archive_ = std::make_unique<ArchiveReader>(std::move(opened).value());
  }
  ArchiveMember member;
  Result<bool> more = archive_->next(member);
  if (!more.ok()) return fail(more.error());
  if (!more.value()) {
    ended_ = true;
    return false;
  }
  article.source = file.source + "/" + member.name;
  article.is_article = is_article_name(member.name);
  if (!member.hostile.empty()) {
    article.problem = "its name in the archive is refused: " + member.hostile;
    return true;
  }
  if (!article.is_article) return true;
  Result<std::string> bytes = archive_->read(max_article_);
  if (bytes.ok() && (ends_with(lower(member.name), ".gz") || ends_with(lower(member.name), ".zst"))) {
    const std::string& packed = bytes.value();
    bytes = decompress(std::as_bytes(std::span(packed.data(), packed.size())), max_article_);
  }
  if (bytes.ok())
    article.bytes = std::move(bytes).value();
  else
    article.problem = bytes.error().paragraph();
  return true;
}

bool PartReader::next(std::vector<RawArticle>& batch, uint64_t bytes, size_t count) {
  uint64_t held = 0;
  while (held < bytes && batch.size() < count) {
    RawArticle article;
    if (!(part_.archive ? next_member(article) : next_file(article))) return false;
    held += article.bytes.size() + 256;
    batch.push_back(std::move(article));
  }
  return true;
}

double PartReader::share_read() const {
  if (part_.archive) return ended_ ? 1.0 : archive_ ? archive_->share_read() : 0.0;
  return part_.files.empty() ? 1.0 : static_cast<double>(position_) / static_cast<double>(part_.files.size());
}

}  // namespace bm
