// Options of the corpus room. The defaults keep running text readable; docs/corpus.md shows each choice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/stage.h"

namespace bm {

// How an article's XML becomes text.
struct TextOptions {
  std::string section_titles = "plain";       // plain | path | markdown | drop
  std::string citations = "drop-numbers";     // drop-numbers | keep | drop | mark
  std::string cross_references = "keep";      // keep | drop: "Figure 1", "Section 2"
  std::string figures = "caption";            // caption | drop
  std::string tables = "caption";             // caption | drop | markdown | tsv
  std::string footnotes = "drop";             // drop | after (their paragraph)
  std::string formulas = "text";              // text | tex | mark | drop
  std::string supplements = "drop";           // drop | caption
  std::string back_matter = "appendices";     // appendices | drop | all
  std::string abstracts = "all";              // all | own-language | drop
  std::string sub_articles = "own-language";  // own-language | keep | drop
};
void describe(Fields& fields, TextOptions& options);

struct CorpusOptions {
  std::vector<std::string>
      inputs;             // files and folders; not a flag: the verb's positionals, a recipe's `inputs`
  std::string out;        // folder to write
  std::string tokenizer;  // model folder, tokenizer.json or tokenizer.model
  TextOptions text;
  std::vector<std::string> licenses = {"cc0", "by", "by-sa", "by-nd"};
  std::vector<std::string> file_lists;    // NLM's oa_file_list.csv / .txt
  std::optional<std::string> duplicates;  // near | exact | keep; unset: as the mode says
  std::string keep_member = "first";      // first | longest: which of a cluster of duplicates stays
  int64_t near_min_words = 50;            // shorter articles are not compared as near-duplicates
  int64_t min_words = 1;
  std::vector<std::string> languages;      // to keep; empty: all
  std::vector<std::string> filters;        // rules of quality.h
  std::vector<std::string> decontaminate;  // tasks and files of items as `evaluate` names them, or "all"
  std::string benchmark_data;              // folder of the published files
  std::vector<std::string> benchmark_languages;
  int64_t decontamination_words = 13;       // length of a run of words that gives an item away
  std::optional<std::string> contaminated;  // drop | keep; unset: as the mode says
  ByteSize max_article_size{256ull << 20};
  int64_t sequence_length = 2048;
  int64_t piece_words = 1000;
  std::string packing = "pieces";       // pieces | documents | best-fit
  std::optional<bool> split_on_spaces;  // unset: as the mode says
  std::optional<bool> parse_special;    // unset: as the mode says
  double holdout = 0;
  int64_t holdout_articles = 0;
  int64_t articles_per_file = 10000;
};
// Which articles are taken: licences, file lists, duplicates, sizes (part of the listing below).
void describe_selection(Fields& fields, CorpusOptions& options);
// Benchmarks to look for.
void describe_decontamination(Fields& fields, CorpusOptions& options);
void describe(Fields& fields, CorpusOptions& options);

// Named switches of the mode (architecture rule 4), resolved once.
struct CorpusSwitches {
  bool split_on_spaces =
      false;  // pieces: words are what stands between single spaces (the original's text.split(" "))
  bool parse_special =
      false;  // "</s>" inside an article becomes the control token (the original's tokenizer call)
  bool drop_exact = true, drop_near = true;  // duplicates
  bool drop_contaminated = true;             // articles that hold items of a benchmark
};
Result<CorpusSwitches> resolve_switches(const CorpusOptions& options, const CommonOptions& common);

// Words of a piece: 0 (the whole article) unless the packing is by pieces.
int64_t piece_words_of(const CorpusOptions& options);

// Refuses values that describe() lets through (shares outside 0..1, zero lengths, unknown licences).
Status check_options(const CorpusOptions& options);

}  // namespace bm
