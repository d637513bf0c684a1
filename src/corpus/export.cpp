#include "corpus/export.h"

#include <cstring>

#include "base/file.h"
#include "base/json.h"
#include "formats/compressed.h"
#include "formats/jsonl.h"
#include "formats/megatron.h"

namespace bm {

namespace {

std::string with_ending(const std::string& out, const std::string& ending) {
  return ends_with(out, ending) ? out : out + ending;
}

std::string human_count(uint64_t tokens) {
  auto text = [](double value, const char* unit) {
    std::string digits = std::to_string(static_cast<uint64_t>(value * 100 + 0.5));
    while (digits.size() < 3) digits.insert(0, "0");
    return digits.substr(0, digits.size() - 2) + "." + digits.substr(digits.size() - 2) + " " + unit;
  };
  double value = static_cast<double>(tokens);
  if (value >= 1e9) return text(value / 1e9, "BT");
  if (value >= 1e6) return text(value / 1e6, "MT");
  if (value >= 1e3) return text(value / 1e3, "KT");
  return std::to_string(tokens) + " T";
}

// The tokens of document d, joined.
void read_document(const MegatronReader& reader, uint64_t d, std::vector<int32_t>& ids) {
  ids.clear();
  auto starts = reader.document_starts();
  for (int64_t s = starts[d]; s < starts[d + 1]; ++s) {
    size_t at = ids.size();
    ids.resize(at + static_cast<size_t>(reader.length(static_cast<uint64_t>(s))));
    reader.read(static_cast<uint64_t>(s), ids.data() + at);
  }
}

std::vector<std::byte> token_bytes(const std::vector<int32_t>& ids, bool wide) {
  std::vector<std::byte> bytes;
  bytes.reserve(ids.size() * (wide ? 4 : 2));
  for (int32_t id : ids)
    for (int shift = 0; shift < (wide ? 32 : 16); shift += 8)
      bytes.push_back(static_cast<std::byte>((static_cast<uint32_t>(id) >> shift) & 0xFF));
  return bytes;
}

std::vector<std::byte> u64_bytes(uint64_t value) {
  std::vector<std::byte> bytes;
  for (int shift = 0; shift < 64; shift += 8)
    bytes.push_back(static_cast<std::byte>((value >> shift) & 0xFF));
  return bytes;
}

Result<std::vector<std::string>> article_files(const std::string& corpus) {
  BM_TRY(std::vector<std::string> all, list_files(corpus));
  std::vector<std::string> files;
  for (const std::string& path : all)
    if (starts_with(path_name(path), "articles-") && ends_with(path, ".jsonl.zst")) files.push_back(path);
  return files;
}

std::string csv_field(std::string text) {
  if (text.find_first_of(",\"") == std::string::npos) return text;
  for (size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '"');
  return "\"" + text + "\"";
}

// The article each document of the token file is from: one after the other, or as tokens.articles says where
// articles were cut and packed (packing.h). "" for what only fills a block.
Result<std::vector<std::string>> document_names(const std::string& corpus, uint64_t documents) {
  BM_TRY(std::vector<std::string> files, article_files(corpus));
  std::vector<std::string> ids;
  for (const std::string& file : files)
    BM_CHECK_OK(for_each_jsonl(file, [&](const Json& record, uint64_t) -> Status {
      ids.push_back(csv_field(record["id"].as_string()));
      return {};
    }));
  std::string owners = path_join(corpus, "tokens.articles");
  if (!exists(owners)) {
    if (ids.size() != documents)
      return bad_input("has another number of articles than its token file has documents").in(corpus);
    return ids;
  }
  BM_TRY(MappedFile file, MappedFile::open(owners));
  if (file.size() != documents * 4)
    return bad_input("has another number of entries than the token file has documents").in(owners);
  std::vector<std::string> names;
  for (uint64_t d = 0; d < documents; ++d) {
    uint32_t owner = 0;
    std::memcpy(&owner, file.bytes().data() + 4 * d, 4);
    names.push_back(owner < ids.size() ? ids[owner] : "");
  }
  return names;
}

Result<ExportReport> export_ds(const std::string& corpus, const std::string& out, int64_t vocabulary,
                               const std::string& tokenizer) {
  BM_TRY(MegatronReader reader, MegatronReader::open(path_join(corpus, "tokens")));
  std::string path = with_ending(out, ".ds");
  bool wide = vocabulary >= 65536;
  BM_TRY(AtomicFile tokens, AtomicFile::create(path));
  BM_TRY(AtomicFile index, AtomicFile::create(path + ".index"));
  ExportReport report;
  std::vector<int32_t> ids;
  for (uint64_t d = 0; d < reader.documents(); ++d) {
    read_document(reader, d, ids);
    BM_CHECK_OK(tokens.append(token_bytes(ids, wide)));
    report.tokens += ids.size();
    BM_CHECK_OK(index.append(u64_bytes(report.tokens)));
  }
  report.documents = reader.documents();
  BM_CHECK_OK(tokens.commit());
  BM_CHECK_OK(index.commit());
  std::string metadata = tokenizer + "|" + (wide ? "4" : "2") + "\n" + std::to_string(report.tokens) + "\n" +
                         human_count(report.tokens);
  BM_CHECK_OK(write_file_atomic(path + ".metadata", metadata));
  report.files = path + ", " + path + ".index, " + path + ".metadata";
  return report;
}

Result<ExportReport> export_npy(const std::string& corpus, const std::string& out, int64_t vocabulary) {
  BM_TRY(MegatronReader reader, MegatronReader::open(path_join(corpus, "tokens")));
  std::string path = with_ending(out, ".npy");
  bool wide = vocabulary >= 65536;
  // The header's length is fixed, so that tokens are written as they come: magic, version 1.0, padded to 128
  // bytes.
  std::string header = "{'descr': '" + std::string(wide ? "<u4" : "<u2") +
                       "', 'fortran_order': False, 'shape': (" + std::to_string(reader.tokens()) + ",), }";
  header.append(118 - 1 - std::min<size_t>(header.size(), 117), ' ');
  header += '\n';
  BM_TRY(AtomicFile tokens, AtomicFile::create(path));
  BM_CHECK_OK(tokens.append(std::string_view("\x93NUMPY\x01\x00\x76\x00", 10)));
  BM_CHECK_OK(tokens.append(header));
  std::string rows_path = path.substr(0, path.size() - 4) + ".csv.gz";
  BM_TRY(ByteWriter rows, ByteWriter::create(rows_path));
  BM_TRY(std::vector<std::string> names, document_names(corpus, reader.documents()));
  ExportReport report;
  std::vector<int32_t> ids;
  for (uint64_t document = 0; document < reader.documents(); ++document) {
    read_document(reader, document, ids);
    BM_CHECK_OK(tokens.append(token_bytes(ids, wide)));
    uint64_t end = report.tokens + ids.size();
    BM_CHECK_OK(
        rows.write(std::to_string(report.tokens) + "," + std::to_string(end) + "," + names[document] + "\n"));
    report.tokens = end;
  }
  report.documents = reader.documents();
  BM_CHECK_OK(rows.commit());
  BM_CHECK_OK(tokens.commit());
  report.files = path + ", " + rows_path;
  return report;
}

Result<ExportReport> export_jsonl(const std::string& corpus, const std::string& out) {
  BM_TRY(JsonlWriter writer, JsonlWriter::create(out));
  BM_TRY(std::vector<std::string> files, article_files(corpus));
  ExportReport report;
  for (const std::string& file : files) {
    BM_TRY(JsonlReader reader, JsonlReader::open(file));
    std::string line;
    while (true) {
      BM_TRY(bool more, reader.next_line(line));
      if (!more) break;
      BM_CHECK_OK(writer.write_line(line));
      ++report.documents;
    }
  }
  BM_CHECK_OK(writer.commit());
  report.files = out;
  return report;
}

}  // namespace

Result<ExportReport> export_corpus(const std::string& corpus, const std::string& out, const std::string& to,
                                   const CommonOptions& common) {
  BM_TRY(Json manifest, read_manifest(corpus));
  if (!(manifest["verb"] == Json("corpus build")))
    return bad_input("is the output of " + manifest["verb"].dump() + ", not a corpus").in(corpus);
  std::string target = to == "jsonl" ? out : with_ending(out, to == "ds" ? ".ds" : ".npy");
  if (exists(target) && !common.overwrite)
    return bad_input("exists already", "Use --overwrite to replace it.").in(target);
  BM_TRY(int64_t vocabulary, manifest["results"].get_int("vocabulary_size"));
  ExportReport plan;
  if (common.dry_run) {
    plan.files = target;
    return plan;
  }
  if (to == "jsonl") return export_jsonl(corpus, out);
  if (to == "npy") return export_npy(corpus, out, vocabulary);
  std::string tokenizer;
  for (const Json& input : manifest["inputs"].items())
    if (input["role"] == Json("tokenizer")) tokenizer = input["path"].as_string();
  return export_ds(corpus, out, vocabulary, tokenizer);
}

}  // namespace bm
