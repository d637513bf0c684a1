// Figures of one predictions file, and their JSON with exactly the keys of the interface.
#pragma once

#include <optional>

#include "base/json.h"
#include "evaluation/predictions.h"
#include "statistics/calibration.h"
#include "statistics/intervals.h"

namespace bm {

struct FileMetrics {
  int64_t n = 0;
  double accuracy = 0;          // of best_prediction
  double accuracy_letters = 0;  // of the likeliest letter
  int64_t ties = 0;             // items whose largest letter probability is shared
  Interval accuracy_wilson_95;
  bool has_probabilities = false;
  CalibrationSummary raw, renormalized;  // mass as it is; over the item's letters
  std::optional<double> auroc;           // of raw confidence against the letter argmax
  // lm-eval's scores when the file has them: mean and standard error.
  struct Mean {
    std::string name;
    double value = 0, error = 0;
  };
  std::vector<Mean> lm_eval;
};

// Letters of a file: all that occur in it, sorted; a letter an item lacks has probability 0.
LetterProbabilities letter_probabilities(const PredictionsFile& file);
FileMetrics file_metrics(const PredictionsFile& file);
Json metrics_json(const FileMetrics& metrics);
// {file name: metrics} over all files, in parallel.
Json all_metrics_json(const std::vector<PredictionsFile>& files, std::vector<FileMetrics>& metrics);

}  // namespace bm
