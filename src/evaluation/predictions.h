// Predictions files: one line an item, everything in the results can be recomputed from them. A superset
// of what the original scripts store ({identifier, correct_letter, predictions, best_prediction}).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tasks/item.h"

namespace bm {

struct LetterProbability {
  std::string letter;
  double probability = 0;  // of the whole vocabulary: the largest over the ids that decode to the letter
  double logprob = 0;      // natural log; -inf is stored as null
};

struct Prediction {
  std::string identifier;
  std::string correct_letter;
  std::string best_prediction;  // decoded top token of the whole vocabulary
  std::vector<LetterProbability> letters;
  std::string letters_prediction;  // the likeliest letter, the first one on ties
  int64_t prompt_tokens = 0;
  int64_t truncated_tokens = 0;  // cut from the left
  bool tie = false;              // several letters share the largest probability
  Json extra;                    // rule lm-eval: choices and its scores; option orders: "order"

  bool right() const { return best_prediction == correct_letter; }
  bool letters_right() const { return letters_prediction == correct_letter; }
};

Json prediction_json(const Prediction& prediction);
// Reads a line of ours or of the original's; letters_prediction and tie are made again from the
// probabilities. bad_input: no identifier, no correct_letter, a probability that is no number.
Result<Prediction> read_prediction(const Json& line);
// Sets letters_prediction and tie from the letters.
void decide_letters(Prediction& prediction);

struct PredictionsFile {
  std::string name;  // path below the folder without .jsonl/.json
  std::string path;
  std::vector<Prediction> predictions;
  // Taken from the name: "<run>/<task>.<language>.draw<k>", or the original's
  // results_<model>_FewShot<v>_<corpus>_<language>.json. What the name does not say stays empty.
  std::string run, task, language;
  int64_t draw = 1;
  std::string group() const { return run + "\n" + task + "\n" + language; }  // draws of one run share it
};

// Splits a predictions file's name.
void parse_predictions_name(PredictionsFile& file);

struct PredictionsFolder {
  std::vector<PredictionsFile> files;  // ordered by name
  std::vector<BrokenRow> broken;
};

// Every predictions file below the folder: .jsonl, the original's .json lists, and the published
// layouts of foreign_predictions.h. Other files (results, manifests, ledgers) are passed over.
// bad_input: no predictions in it.
Result<PredictionsFolder> read_predictions_folder(const std::string& folder);

}  // namespace bm
