// Importers of the benchmarks' files exactly as their authors publish them. Each reads one file into
// items; rows that cannot become items are listed with file, place and reason. Sources, sizes and
// licences: docs/data.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tasks/item.h"

namespace bm {

struct ImportedFile {
  std::string path;
  int64_t rows = 0;  // read, broken ones included
  std::vector<Item> items;
  std::vector<BrokenRow> broken;
};

// Identifiers are PREFIX-NNNN with the 0-based row unless the file has its own.
struct ImportLabels {
  std::string identifier_prefix, corpus, language = "en";
};

// MedQA: JSON lines {question, options {A: …}, answer, answer_idx}; or a JSON array with options
// ["A. text", …] and the answer's text.
Result<ImportedFile> import_medqa(const std::string& path, const ImportLabels& labels);
// MedMCQA: JSON lines {question, opa … opd, cop 1–4, id, subject_name}.
Result<ImportedFile> import_medmcqa(const std::string& path, const ImportLabels& labels);
// PubMedQA's ori_pqal.json: object by PMID {QUESTION, CONTEXTS, final_decision}.
Result<ImportedFile> import_pubmedqa(const std::string& path, const ImportLabels& labels);
// MMLU CSV: question, A, B, C, D, letter without a header; or with a header naming the columns in any
// order (question, A–D, answer as letter or 0–3, an index and a subject column are allowed).
Result<ImportedFile> import_mmlu(const std::string& path, const ImportLabels& labels);
// TruthfulQA.csv. Letters: the best answer and up to three wrong ones, drawn and shuffled by seed.
Result<ImportedFile> import_truthfulqa(const std::string& path, const ImportLabels& labels, uint64_t seed);
// Apollo's array {question, options "(A) …\n(B) …", answer "(X)", source}: HEAD-QA and others.
Result<ImportedFile> import_apollo(const std::string& path, const ImportLabels& labels);
// FrenchMedMCQA: array {id, question, answers {a: …}, correct_answers [...]}; only questions with one right
// answer fit a one-letter rule, the others are counted as broken rows with that reason.
Result<ImportedFile> import_frenchmedmcqa(const std::string& path, const ImportLabels& labels);
// RuMedDaNet: JSON lines {context, question, answer "да"|"нет", pairID}.
Result<ImportedFile> import_rumeddanet(const std::string& path, const ImportLabels& labels);
// medLLM_QA_benchmark: JSON lines {problem_id, problem_text, choices [...], answer ["c"], text_only}.
Result<ImportedFile> import_choice_list(const std::string& path, const ImportLabels& labels);
// {subject: [{question, options {A: …}, answer_idx}]}: translated MMLU shots. HTML entities are resolved.
Result<ImportedFile> import_translated_shots(const std::string& path, const std::string& subject,
                                             const ImportLabels& labels);
// WorldMedQA: JSON lines {index, question, options {A: …}, answer_idx}.
Result<ImportedFile> import_worldmedqa(const std::string& path, const ImportLabels& labels);

// BioInstructQA layout, one item a line: identifier, corpus, lang, context (or null), question, options
// (letter → text), correct_answer_letter; few_shot_samples [draw][shot] when given; the translated fields
// question_translated, options_translated, context_translated win when lang is not English.
Result<ImportedFile> import_items(const std::string& path);
Json item_json(const Item& item);  // its inverse

// Checks an item: a question, two or more distinct letters with text, the right letter among them.
// "" when it is sound, else the reason.
std::string item_defect(const Item& item);

// "english" → "en"; codes stay; unknown names stay as they are.
std::string language_code(const std::string& language);

}  // namespace bm
