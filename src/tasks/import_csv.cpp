// Importers of CSV files: MMLU in both column layouts, TruthfulQA.
#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "tasks/csv.h"
#include "tasks/import_helpers.h"

namespace bm {
namespace {

std::string lower(std::string_view text) {
  std::string out(trim(text));
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Columns of question, A, B, C, D, answer.
using MmluColumns = std::array<size_t, 6>;

// A header names its columns; without one they stand in this order.
bool header_columns(const CsvRow& row, MmluColumns& columns) {
  static const std::array<const char*, 6> names = {"question", "a", "b", "c", "d", "answer"};
  for (size_t n = 0; n < names.size(); ++n) {
    auto found = std::find_if(row.cells.begin(), row.cells.end(),
                              [&](const std::string& cell) { return lower(cell) == names[n]; });
    if (found == row.cells.end()) return false;
    columns[n] = static_cast<size_t>(found - row.cells.begin());
  }
  return true;
}

Result<Item> mmlu_item(const CsvRow& row, const MmluColumns& columns, size_t width) {
  if (row.cells.size() != width)
    return bad_input(std::to_string(row.cells.size()) + " columns where " + std::to_string(width) +
                     " are expected");
  Item item;
  item.question = row.cells[columns[0]];
  for (size_t i = 0; i < 4; ++i)
    item.options.push_back({std::string(1, static_cast<char>('A' + i)), row.cells[columns[i + 1]]});
  std::string answer(trim(row.cells[columns[5]]));
  if (answer.size() == 1 && answer[0] >= '0' && answer[0] <= '3')
    answer[0] = static_cast<char>(answer[0] - '0' + 'A');
  item.correct_letter = answer;
  return item;
}

std::vector<std::string> answers_of(const std::string& cell) {
  std::vector<std::string> answers;
  for (const auto& part : split(cell, ';'))
    if (!trim(part).empty()) answers.emplace_back(trim(part));
  return answers;
}

}  // namespace

Result<ImportedFile> import_mmlu(const std::string& path, const ImportLabels& labels) {
  BM_TRY(std::string text, read_file(path));
  auto parsed = parse_csv(text);
  if (!parsed.ok()) return std::move(parsed.error()).in(path);
  auto& rows = *parsed;
  ImportedFile file;
  file.path = path;
  if (rows.empty()) return bad_input("no rows").in(path);
  MmluColumns columns = {0, 1, 2, 3, 4, 5};
  bool header = header_columns(rows[0], columns);
  size_t width = header ? rows[0].cells.size() : 6;
  ItemCollector collector(file, labels);
  for (size_t r = header ? 1 : 0; r < rows.size(); ++r)
    collector.add("line " + std::to_string(rows[r].line), mmlu_item(rows[r], columns, width));
  return file;
}

Result<ImportedFile> import_truthfulqa(const std::string& path, const ImportLabels& labels, uint64_t seed) {
  BM_TRY(std::string text, read_file(path));
  auto parsed = parse_csv(text);
  if (!parsed.ok()) return std::move(parsed.error()).in(path);
  auto& rows = *parsed;
  static const std::array<const char*, 5> names = {"category", "question", "best answer", "correct answers",
                                                   "incorrect answers"};
  std::array<size_t, 5> columns{};
  for (size_t n = 0; n < names.size(); ++n) {
    bool found = false;
    for (size_t c = 0; !rows.empty() && c < rows[0].cells.size(); ++c) {
      if (lower(rows[0].cells[c]) != names[n]) continue;
      columns[n] = c;
      found = true;
    }
    if (!found)
      return bad_input(std::string("no column \"") + names[n] + "\"", "give TruthfulQA.csv").in(path);
  }
  ImportedFile file;
  file.path = path;
  ItemCollector collector(file, labels);
  for (size_t r = 1; r < rows.size(); ++r) {
    const auto& cells = rows[r].cells;
    std::string place = "line " + std::to_string(rows[r].line);
    if (cells.size() != rows[0].cells.size()) {
      collector.add(place, bad_input(std::to_string(cells.size()) + " columns where the header has " +
                                     std::to_string(rows[0].cells.size())));
      continue;
    }
    Item item;
    item.category = cells[columns[0]];
    item.question = cells[columns[1]];
    std::string best(trim(cells[columns[2]]));
    item.true_answers = answers_of(cells[columns[3]]);
    item.true_answers.erase(std::remove(item.true_answers.begin(), item.true_answers.end(), best),
                            item.true_answers.end());
    item.true_answers.insert(item.true_answers.begin(), best);  // mc1's first choice
    item.false_answers = answers_of(cells[columns[4]]);
    uint64_t purpose = hash64("truthfulqa options\n" + item.question);
    auto order = counter_permutation(item.false_answers.size(), seed, purpose);
    std::vector<std::string> shown = {best};
    for (size_t i = 0; i < std::min<size_t>(3, order.size()); ++i)
      shown.push_back(item.false_answers[order[i]]);
    auto places = counter_permutation(shown.size(), seed, purpose + 1);
    for (size_t i = 0; i < shown.size(); ++i) {
      std::string letter(1, static_cast<char>('A' + i));
      if (places[i] == 0) item.correct_letter = letter;
      item.options.push_back({letter, shown[places[i]]});
    }
    collector.add(place, std::move(item));
  }
  return file;
}

}  // namespace bm
