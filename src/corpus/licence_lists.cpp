// NLM's lists of the open-access articles and their licences.
#include <algorithm>

#include "base/file.h"
#include "corpus/licence.h"
#include "formats/jsonl.h"

namespace bm {

namespace {

std::vector<std::string> csv_fields(std::string_view line, char separator) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (c == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"')
        fields.back() += line[++i];
      else
        quoted = !quoted;
    } else if (c == separator && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

// "PMC123" → 123; 0 for anything else, as the folder "PMC001xxxxxx/PMC123.xml".
uint64_t pmc_number(std::string_view id) {
  constexpr size_t kLongest = 3 + 12;
  if (!starts_with(id, "PMC") || id.size() < 4 || id.size() > kLongest) return 0;
  uint64_t number = 0;
  for (char c : id.substr(3)) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

uint64_t entry_of(uint64_t number, LicenceKind kind, bool retracted) {
  return (number << 16) | (static_cast<uint64_t>(licence_narrowness(kind)) << 12) |
         (static_cast<uint64_t>(retracted) << 8) | static_cast<uint64_t>(kind);
}

struct Row {
  uint64_t number = 0;
  LicenceKind kind = LicenceKind::unknown;
  bool retracted = false;
};

// Lists of all years have an own column for the PMCID and one for the licence; their order differs.
Row read_row(std::string_view line, std::optional<size_t> retracted_column) {
  Row row;
  std::vector<std::string> fields = csv_fields(line, line.find('\t') != std::string_view::npos ? '\t' : ',');
  for (size_t i = 0; i < fields.size(); ++i) {
    std::string_view field = trim(fields[i]);
    if (uint64_t value = pmc_number(field); value && !row.number) row.number = value;
    if (field == "NO-CC CODE" || field == "none")
      row.kind = LicenceKind::custom;
    else if (std::optional<LicenceKind> named = parse_licence_kind(field))
      row.kind = *named;
    if (retracted_column == i) row.retracted = field == "yes" || field == "Yes" || field == "true";
  }
  return row;
}

std::optional<size_t> column_named(std::string_view header, std::string_view name) {
  std::vector<std::string> fields =
      csv_fields(header, header.find('\t') != std::string_view::npos ? '\t' : ',');
  for (size_t i = 0; i < fields.size(); ++i)
    if (trim(fields[i]) == name) return i;
  return std::nullopt;
}

}  // namespace

Status LicenceLists::add(const std::string& path) {
  BM_TRY(JsonlReader reader, JsonlReader::open(path));
  std::optional<size_t> retracted;
  std::string line;
  size_t before = entries_.size();
  while (true) {
    BM_TRY(bool more, reader.next_line(line));
    if (!more) break;
    if (!retracted) retracted = column_named(line.substr(0, 400), "Retracted");
    Row row = read_row(line, retracted);
    if (row.number && row.kind != LicenceKind::unknown)
      entries_.push_back(entry_of(row.number, row.kind, row.retracted));
  }
  if (entries_.size() == before)
    return bad_input("holds no line with a PMCID and a licence",
                     "Give NLM's oa_file_list or a bulk package's filelist (.csv or .txt).")
        .in(path);
  std::sort(entries_.begin(), entries_.end());
  entries_.erase(std::unique(entries_.begin(), entries_.end()), entries_.end());
  return {};
}

std::optional<ListedLicence> LicenceLists::find(std::string_view pmcid) const {
  uint64_t number = pmc_number(pmcid);
  if (number == 0) return std::nullopt;
  auto behind = std::lower_bound(entries_.begin(), entries_.end(), (number + 1) << 16);
  if (behind == entries_.begin() || *(behind - 1) >> 16 != number) return std::nullopt;
  uint64_t entry = *(behind - 1);
  return ListedLicence{static_cast<LicenceKind>(entry & 0xFF), ((entry >> 8) & 1) != 0};
}

}  // namespace bm
