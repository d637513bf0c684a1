// The parts of the page. Each adds its blocks, and to `facts` what the summary says.
#pragma once

#include <string>
#include <vector>

#include "report/document.h"
#include "report/gather.h"

namespace bm {

// What the page says first.
struct Facts {
  std::vector<std::string> sentences;  // plain words, in the order of the stages
  std::vector<std::string> warnings;   // what a reader must not miss
  double parameters = 0;               // of the trained model; 0 = not known
};

// Small readers of manifests: a value of another type counts as missing.
std::optional<double> number_of(const Json& value);
std::string string_of(const Json& value);
Cell text_cell(std::string text);
Cell number_cell(std::string text);
Cell number_cell(const Json& value, int decimals = -1);  // −1 = as short_number

void add_corpus(const Stage& stage, Document& page, Facts& facts);
void add_training(const Stage& stage, Document& page, Facts& facts);
void add_models(const Run& run, Document& page, Facts& facts);  // merges, quantized models, sizes
void add_comparison(const Stage& stage, Document& page, Facts& facts);
struct RunSummary;
struct PredictionsFile;
// Languages × models, when there are several languages.
void add_languages(const std::vector<RunSummary>& runs, Document& page);
// Every item with every model's answer, first draw.
void add_items(const std::vector<PredictionsFile>& files, Document& page);
Status add_evaluation(const Stage& stage, Document& page, Facts& facts);
void add_provenance(const std::vector<Run>& runs, Document& page, Facts& facts);

}  // namespace bm
