// RFC 4180 rows: quoted cells with commas, doubled quotes and line breaks in them; CRLF or LF; UTF-8,
// a byte order mark is skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

struct CsvRow {
  std::vector<std::string> cells;
  int64_t line = 0;  // 1-based line its first cell stands on
};

// bad_input: a quote that is never closed (names the line it opened on). Empty lines are skipped.
Result<std::vector<CsvRow>> parse_csv(std::string_view text);

}  // namespace bm
