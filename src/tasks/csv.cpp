#include "tasks/csv.h"

namespace bm {

Result<std::vector<CsvRow>> parse_csv(std::string_view text) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  std::vector<CsvRow> rows;
  CsvRow row;
  std::string cell;
  int64_t line = 1, quote_line = 0;
  bool quoted = false, any = false;  // inside quotes; the row has content
  row.line = 1;
  auto end_row = [&] {
    if (any) {
      row.cells.push_back(std::move(cell));
      rows.push_back(std::move(row));
    }
    row = {};
    cell.clear();
    any = false;
    row.line = line;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '\n') ++line;
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cell.empty()) {
      quoted = any = true;
      quote_line = line;
    } else if (c == ',') {
      any = true;
      row.cells.push_back(std::move(cell));
      cell.clear();
    } else if (c == '\n' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n')) {
      if (c == '\r') ++i;
      ++line;
      end_row();
    } else {
      any = true;
      cell += c;
    }
  }
  if (quoted)
    return bad_input("a quoted cell is never closed", "the file seems cut off: download it again")
        .in("line " + std::to_string(quote_line));
  end_row();
  return rows;
}

}  // namespace bm
